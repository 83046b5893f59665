"""What an annotation knows about a song as columns: lyrics with line stamps, words, phones and notes with times.

`ref_words` are exactly the words that `split_words` finds in the lyrics, in that order, and their `line` is the index
of the line in `lrc_lyrics`. So what an aligner makes of the lyrics can be compared word by word.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from autosing.pipeline.schema import NOTES, PHONES, WORDS, Column
from autosing.signal.errors import RowError
from autosing.signal.lyrics import parse_lrc, split_words

REFERENCE_COLUMNS = (
    Column("ref_words", WORDS, meaning="annotated word times", nullable=True),
    Column("ref_phones", PHONES, meaning="annotated phone times", nullable=True),
    Column("ref_notes", NOTES, meaning="annotated notes; none where words are spoken or rapped", nullable=True),
)
LONGEST_S = 1e6

_BETWEEN_IDEOGRAMS = re.compile(r"(?<=[\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff])\s+(?=[\u3005-\u30ff\u3400-\u9fff])")
_NOTE_NAME = re.compile(r"([A-Ga-g])(##?|bb?|s)?(-?\d)(?:/.*)?")
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "s": 1, "##": 2, "b": -1, "bb": -2}


class Timed(NamedTuple):
    """A word, phone or syllable and when it is sung."""

    text: str
    start_s: float
    end_s: float


class Note(NamedTuple):
    """A note of the melody; A4 = 440 Hz is 69."""

    text: str
    start_s: float
    end_s: float
    midi: float


class TimedLine(NamedTuple):
    """A line of lyrics and the times of what it is made of.

    Args:
        text: as it is written.
        parts: words or syllables in order; together they have the letters of `text`.
        start_s: when the line begins; None: with its first part.
    """

    text: str
    parts: Sequence[Timed]
    start_s: float | None = None


class Lyrics(NamedTuple):
    """Lyrics as they go into the index, and their words."""

    lrc: str
    raw: str
    words: list[Timed]
    line_of: list[int]


def lyrics_of(lines: Iterable[TimedLine]) -> Lyrics:
    """Returns the lyrics of timed lines in order of time; lines without a word are left out.

    Raises:
        RowError: a line's parts and its text do not have the same letters, or a text is taken for LRC stamps.
    """
    sung = sorted((line for line in lines if split_words(line.text)), key=_start_ms)
    words = [_words(line) for line in sung]
    line_of = [number for number, its in enumerate(words) for _ in its]
    raw = "\n".join(" ".join(line.text.split()) for line in sung)
    return Lyrics(stamped(sung), raw, [word for its in words for word in its], line_of)


def stamped(lines: Iterable[TimedLine]) -> str:
    """Returns lines as LRC in order of time, each with one stamp to the millisecond; those without a word are left out.

    Raises:
        RowError: a text is taken for LRC stamps.
    """
    sung = sorted((line for line in lines if split_words(line.text)), key=_start_ms)
    rows = [(_start_ms(line), " ".join(line.text.split())) for line in sung]
    lrc = "".join(f"[{ms // 60_000:02}:{ms // 1000 % 60:02}.{ms % 1000:03}]{text}\n" for ms, text in rows)
    read = [(round(1000 * line.start_s), split_words(line.text)) for line in parse_lrc(lrc).lines]
    if read != [(ms, split_words(text)) for ms, text in rows]:
        raise RowError("a line of its lyrics holds something like an LRC stamp ([mm:ss]); remove it")
    return lrc


def _start_ms(line: TimedLine) -> int:
    start_s = line.start_s if line.start_s is not None else min((p.start_s for p in line.parts), default=0.0)
    return max(math.floor(1000 * start_s + 0.5), 0)


def _words(line: TimedLine) -> list[Timed]:
    """Returns the words of a line's text with the times of the parts that their letters are in.

    A part that is several words, or a word that is several parts, is divided in proportion to its letters.
    """
    words = split_words(line.text)
    letters = [letter for part in line.parts for letter in _letters(part)]
    if "".join(map(_plain, words)) != "".join(letter.text for letter in letters):
        parts = " ".join(part.text for part in line.parts)
        raise RowError(f"the line {line.text!r} has other letters than its timed parts {parts!r}")
    placed, at = [], 0
    for word in words:
        its = letters[at : at + len(_plain(word))]
        placed.append(Timed(word, its[0].start_s, max(its[-1].end_s, its[0].start_s)))
        at += len(its)
    return placed


def _letters(part: Timed) -> list[Timed]:
    plain = "".join(map(_plain, split_words(part.text)))
    step_s = (part.end_s - part.start_s) / max(len(plain), 1)
    return [
        Timed(c, part.start_s + i * step_s, part.end_s if i + 1 == len(plain) else part.start_s + (i + 1) * step_s)
        for i, c in enumerate(plain)
    ]


def _plain(text: str) -> str:
    """Returns the letters, marks and digits of a text, without case."""
    return "".join(c for c in text.casefold() if unicodedata.category(c)[0] in "LMN")


def reference(
    lyrics: Lyrics | None = None, phones: Sequence[Timed] | None = None, notes: Sequence[Note] | None = None
) -> dict[str, Any]:
    """Returns the reference columns of what is known; phones and notes that last no time are left out.

    Raises:
        RowError: a time is not finite.
    """
    known: dict[str, Any] = {}
    if lyrics is not None:
        known["ref_words"] = [{**_interval(w), "line": n} for w, n in zip(lyrics.words, lyrics.line_of, strict=True)]
    if phones is not None:
        known["ref_phones"] = [_interval(p) for p in phones if p.end_s > p.start_s]
    if notes is not None:
        lasting = sorted((n for n in notes if n.end_s > n.start_s), key=lambda note: note.start_s)
        known["ref_notes"] = [_interval(n) | {"midi": float(n.midi)} for n in lasting]
    return known


def _interval(it: Timed | Note) -> dict[str, Any]:
    """Returns an interval as a struct; what begins before the sound begins with it."""
    return {"text": it.text, "start_s": max(seconds(it.start_s), 0.0), "end_s": max(seconds(it.end_s), 0.0)}


def seconds(value: Any) -> float:
    """Returns a time in seconds.

    Raises:
        RowError: it is no number of seconds.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not abs(number) <= LONGEST_S:
        raise RowError(f"{value!r} is no time in seconds")
    return number


def joined(words: Iterable[str]) -> str:
    """Returns words as text: with spaces, but for those between Han characters and kana."""
    return _BETWEEN_IDEOGRAMS.sub("", " ".join(words))


def midi_of(name: str) -> float | None:
    """Returns the number of a note by name (`C4` is 60, `D#4/Eb4`, `F#3`, `Bb5`), None of a rest and the like."""
    match = _NOTE_NAME.fullmatch(name.strip())
    if not match:
        return None
    letter, accidental, octave = match.groups(default="")
    return 12.0 * (int(octave) + 1) + _SEMITONES[letter.upper()] + _ACCIDENTALS[accidental]
