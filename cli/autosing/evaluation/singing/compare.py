"""Sung songs are judged one by one: figures of each, their means, and a page to listen to."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from autosing.evaluation.heard import Figures, Heard, Listening, Made, Table, means_of, write_figures
from autosing.evaluation.singing.figures import MEASURES, of_sound, of_voice, voice_distance
from autosing.evaluation.singing.singers import SingerEar
from autosing.evaluation.singing.songs import SungSong, find_songs
from autosing.page.numerals import songs as songs_text
from autosing.sounds.mixes import Separator
from autosing.synthesis.singing.takes import Judge

VOICE, WHOLE = "voice", "song"


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes:
        folder: that `autosing sing` left songs in.
        aligner: hears the lyrics.
        separator: takes references apart whose voice was to be sung with; None leaves them out.
        ear: compares the voice with that of the recording by a singer model; None does so by statistics.
        shown: songs on the page.
        seconds: of each song on the page.
    """

    folder: Path
    aligner: str = "shipped"
    separator: Separator | None = None
    ear: SingerEar | None = None
    shown: int = 8
    seconds: float = 30.0


@dataclass(frozen=True)
class Evaluation:
    """What came out: figures by song, their means, lines for the terminal, and the page where one was asked for."""

    songs: Mapping[str, Figures]
    means: Figures
    lines: list[str]
    page: Path | None


def evaluate_singing(request: Request, out: Path | None = None) -> Evaluation:
    """Judges the songs of a folder; leaves sounds, `figures.json` and `index.html` in `out`, if there is one.

    Raises:
        UsageError: there is no song, or one cannot be read.
    """
    songs, judge_of = find_songs(request.folder), cache(Judge(request.aligner).in_language)
    heard = [_heard(song, judge_of(song.facts.get("language")), request) for song in songs]
    figures = {
        song.name: {**one.made[1].figures, **one.made[0].figures} for song, one in zip(songs, heard, strict=True)
    }
    means = means_of([VOICE, WHOLE], MEASURES, heard)
    names, shown = (
        list(figures),
        [measure for measure in MEASURES if any(measure.key in row for row in figures.values())],
    )
    both = {**means[WHOLE], **means[VOICE]}
    folder = request.folder.resolve()
    told = f"{songs_text(len(songs))} of {folder}; figures of lyrics, pitch and voice are of the voice alone."
    cells = [[name, *(measure.shown(figures[name]) for measure in shown)] for name in names]
    table = Table("Song by song", "Means are above.", [measure.title for measure in shown], cells)
    listening = Listening(
        "autosing eval sing", folder.name or str(folder), told, shown, [VOICE, WHOLE], means, heard[: request.shown],
        request.seconds, [table],
    )  # fmt: skip
    rows = Listening("", "", "", shown, [*names, "mean"], {**figures, "mean": both}, (), 0.0).lines()
    if out is None:
        return Evaluation(figures, both, rows, None)
    out.mkdir(parents=True, exist_ok=True)
    write_figures(out, {"ways": [VOICE, WHOLE]}, means, heard)
    return Evaluation(figures, both, rows, listening.write(out))


def _heard(song: SungSong, judge: Judge, request: Request) -> Heard:
    voice, wanted = song.voice, song.model_voice(request.separator)
    told = of_voice(voice, song.lines, song.borders, judge)
    if wanted is not None and request.ear is not None:
        told["voice_similarity"] = request.ear.similarity(voice, wanted)
    elif wanted is not None:
        told["voice_distance"] = voice_distance(voice, wanted)
    whole = song.whole
    return Heard(
        song.name,
        np.zeros(0, np.float32) if wanted is None else wanted,
        [Made(voice, told), Made(whole, of_sound(whole, song.facts))],
    )
