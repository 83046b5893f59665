"""Phones of Mandarin singing as M4Singer and Opencpop write them: initials, finals, and finals on further notes."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from autosing.pipeline.ingest.annotation import Lyrics, Note, Timed, TimedLine, lyrics_of
from autosing.signal.errors import RowError
from autosing.signal.lyrics import split_words

INITIALS = frozenset([*"bpmfdtnlgkhjqxrzcsyw", "zh", "ch", "sh"])
UNSUNG = frozenset(["SP", "AP", "SIL", "rest", "pau"])
"""Silence, breath and rests, without the brackets that M4Singer puts around them."""
_PAUSES = re.compile(r"(?<![A-Za-z])(?:SP|AP)+(?![A-Za-z])")


class Phone(NamedTuple):
    """A phone, how long it lasts, its note (0: none), and whether it is the final before once more, on another note."""

    text: str
    duration_s: float
    midi: float
    is_slur: bool


class Sung(NamedTuple):
    """The same as intervals: phones, syllables by their phones, and notes."""

    phones: list[Timed]
    syllables: list[Timed]
    notes: list[Note]


def sung(phones: Iterable[Phone]) -> Sung:
    """Returns phones, syllables and notes of phones that follow each other without gaps.

    A slurred final is one phone on several notes. A syllable begins with an initial, or with a final that follows none.
    """
    made = Sung([], [], [])
    end_s, before = 0.0, ""
    for phone in phones:
        text, start_s, end_s = phone.text.strip("<>"), end_s, end_s + phone.duration_s
        interval = Timed(text, start_s, end_s)
        is_held = phone.is_slur and bool(before)
        if is_held:
            made.phones[-1] = made.phones[-1]._replace(end_s=end_s)
        else:
            made.phones.append(interval)
        if text in UNSUNG:
            before = ""
            continue
        if is_held or (before in INITIALS and text not in INITIALS):
            last = made.syllables[-1]
            made.syllables[-1] = Timed(last.text + ("" if is_held else text), last.start_s, end_s)
        else:
            made.syllables.append(interval)
        _add_note(made, interval, phone, is_held)
        before = text
    return made


def _add_note(made: Sung, interval: Timed, phone: Phone, is_held: bool) -> None:
    """Adds a phone's note, or makes the one before longer where both are of one syllable and no slur parts them."""
    syllable, last = made.syllables[-1], made.notes[-1] if made.notes else None
    if last and last.start_s >= syllable.start_s and last.midi == phone.midi and not is_held:
        made.notes[-1] = Note(syllable.text, last.start_s, interval.end_s, last.midi)
    elif phone.midi:
        made.notes.append(Note(syllable.text, interval.start_s, interval.end_s, phone.midi))


def without_pauses(text: str) -> str:
    """Returns a text without the `SP` and `AP` that stand for pauses and breaths in it."""
    return " ".join(_PAUSES.sub(" ", text).split())


def line_of(text: str, syllables: list[Timed]) -> Lyrics:
    """Returns the lyrics of one line whose words are sung on a syllable each.

    Raises:
        RowError: there are more or fewer words than syllables, as where two characters are sung as one.
    """
    words = split_words(text)
    if len(words) != len(syllables):
        raise RowError(f"{len(words)} words ({text}) are sung on {len(syllables)} syllables")
    parts = [Timed(w, s.start_s, s.end_s) for w, s in zip(words, syllables, strict=True)]
    return lyrics_of([TimedLine(text, parts)])
