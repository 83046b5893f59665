"""What the page shows of one song, and of one held-out example of a training run."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from autosing.page.media import contrast, data_uri
from autosing.page.numerals import duration, number
from autosing.pipeline.columnfile import INHERITED
from autosing.pipeline.report.figures import overview_figure, song_figure
from autosing.pipeline.report.kept import colour_of
from autosing.pipeline.report.lanes import Span, Track, inside, stack, time_scale
from autosing.pipeline.report.songs import SongView
from autosing.pipeline.report.sound import mp3
from autosing.pipeline.report.spectrogram import mel_lane
from autosing.pipeline.report.summary import Example
from autosing.signal.errors import RowError
from autosing.signal.mel import MelSpec

FACTS = {
    "index.title": ("title", ""),
    "index.singer": ("singer", ""),
    "index.artist": ("artist", ""),
    "index.language": ("language", ""),
    "probe.duration_s": ("length", "s"),
    "probe.sample_rate_hz": ("sample rate", "Hz"),
    "probe.channels": ("channels", ""),
    "probe.codec": ("coding", ""),
    "quality.loudness_lufs": ("loudness", "LUFS"),
}
EXAMPLE_WIDTH = 560.0
LEGEND = {
    "f0_hz": ("f0", "F0"),
    "ref_f0_hz": ("truth", "true F0"),
    "ref_notes": ("note", "score"),
    "voice_activity": ("voice", "voice"),
    "energy": ("energy", "level"),
    "words": ("word", "words"),
    "ref_words": ("true-word", "true words"),
    "cuts": ("span", "cuts"),
}
OVERVIEW = ("voice_activity", "words", "cuts")


@dataclass(frozen=True)
class Player:
    """A figure with the sound that it shows: a data URI, or why there is none."""

    title: str
    figure: Markup | None
    sound: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Overview:
    """The cuts of a whole song: its id, its figure, and class and name of the colours in it."""

    id: str
    figure: Markup | None
    legend: Sequence[tuple[str, str]]


def overview_of(view: SongView) -> Overview:
    """Returns the cuts of a whole song."""
    return Overview(view.id, overview_figure(view), _legend(view, OVERVIEW))


def _legend(view: SongView, names: Collection[str]) -> list[tuple[str, str]]:
    """Returns class and name of what is drawn of a song, and of each reason why something is in no cut."""
    reasons = dict.fromkeys(piece["text"] for piece in view.spans.get("dropped", ()))
    shown = {*view.tracks, *view.spans}
    drawn = [entry for name, entry in LEGEND.items() if name in shown and name in names]
    return [*drawn, *((colour_of(reason), reason) for reason in reasons)]


@dataclass(frozen=True)
class SongCard:
    """One song on the page.

    Args:
        id: its id.
        stretch: which part is shown, "" for the whole.
        facts: name and value of what is known of the song.
        player: its figure and sound.
        overview: its whole length, where the player shows a part.
        legend: class and name of what the figure shows.
        words: the words of the stretch.
        errors: error by instance, where it arose.
    """

    id: str
    stretch: str
    facts: Sequence[tuple[str, str]]
    player: Player
    overview: Markup | None = None
    legend: Sequence[tuple[str, str]] = ()
    words: Sequence[Span] = ()
    errors: Mapping[str, str] = field(default_factory=dict)


def song_card(view: SongView, values: Mapping[str, Any], spec: MelSpec | None) -> SongCard:
    """Returns the card of a song; `values` are its short values by address."""
    x = time_scale(view.start_s, view.end_s)
    duration_s = values.get("probe.duration_s") or view.end_s
    is_part = view.start_s > 0 or view.end_s < duration_s
    stretch = f"{view.start_s:g} to {view.end_s:g} s of {duration(duration_s)}" if is_part else ""
    return SongCard(
        view.id,
        stretch,
        _facts(view, values),
        _player("", song_figure(view, spec), view.audio, view.start_s, view.end_s),
        overview_figure(view) if is_part else None,
        _legend(view, LEGEND),
        inside(view.spans.get("words", ()), x),
        {name: error for name, error in view.errors.items() if not error.startswith(INHERITED)},
    )


def _facts(view: SongView, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [("partition", str(view.partition))]
    for address, (name, unit) in FACTS.items():
        value = values.get(address)
        if value is not None and (name != "artist" or value != values.get("index.singer")):
            found.append((name, value if isinstance(value, str) else number(value, unit)))
    return found


def _player(title: str, figure: Markup | None, sound: bytes, start_s: float, end_s: float) -> Player:
    try:
        return Player(title, figure, data_uri(mp3(sound, start_s, end_s), "audio/mpeg"))
    except RowError as error:
        return Player(title, figure, problem=str(error))


@dataclass(frozen=True)
class ExampleCard:
    """A held-out sample beside what the model made of it."""

    id: str
    difference: float
    players: Sequence[Player]


def example_card(example: Example, spec: MelSpec) -> ExampleCard:
    """Returns the card of an example: both spectrograms with the same colours, and their mean absolute difference."""
    id, target, predicted, target_wav, predicted_wav = example
    n_frames = min(len(target), len(predicted))
    difference = float(np.abs(target[:n_frames] - predicted[:n_frames]).mean()) if n_frames else 0.0
    limits, end_s = contrast(target), n_frames / float(spec.rate)
    x = time_scale(0.0, end_s, EXAMPLE_WIDTH)
    players = []
    for title, mel, wav in (("recording", target, target_wav), ("model", predicted, predicted_wav)):
        lane = mel_lane(Track(mel, spec.rate), spec, None, None, x, limits)
        players.append(_player(title, stack([lane], x, (), f"mel of the {title}, {id}"), wav, 0.0, end_s))
    return ExampleCard(id, difference, players)
