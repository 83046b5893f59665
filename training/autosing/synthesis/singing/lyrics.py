"""Lyrics as people hand them over: plain text, LRC, or JSON; each line with its time where that is known."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from autosing.signal.errors import UsageError
from autosing.signal.lyrics import LrcLine, LrcWord, parse_lrc, split_words
from autosing.signal.typed import of_mapping

JSON_FORMS = 'a list of lines: texts, or {"text": ..., "start_s": ..., "end_s": ...} with times or without'
MOST_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Line:
    """A line that is sung, from `start_s` to `end_s` where that is known, with stamps of its words where it has any."""

    text: str
    start_s: float | None = None
    end_s: float | None = None
    words: tuple[LrcWord, ...] | None = None

    @property
    def n_characters(self) -> int:
        """Letters and signs of its words."""
        return sum(map(len, split_words(self.text)))

    def earlier(self, by_s: float) -> "Line":
        """Returns the line with all its times moved."""
        start_s, end_s = (None if at_s is None else at_s - by_s for at_s in (self.start_s, self.end_s))
        words = self.words and tuple(replace(word, start_s=word.start_s - by_s) for word in self.words)
        return Line(self.text, start_s, end_s, words)


@dataclass(frozen=True)
class Lyrics:
    """Lines that have something to sing, in the order in which they are sung, and what is to be said of them."""

    lines: tuple[Line, ...]
    warnings: tuple[str, ...] = ()

    @property
    def n_characters(self) -> int:
        """Letters and signs of all words."""
        return sum(line.n_characters for line in self.lines)

    @property
    def has_times(self) -> bool:
        """Whether the time of any line is known."""
        return any(line.start_s is not None for line in self.lines)

    def since(self, start_s: float) -> "Lyrics":
        """Returns what is sung from a time on, which becomes 0; lines without times stay.

        Raises:
            UsageError: nothing is.
        """
        kept = tuple(line.earlier(start_s) for line in self.lines if line.start_s is None or line.start_s >= start_s)
        if not kept:
            raise UsageError(f"all lyrics begin before --start {start_s:g} s; give an earlier one")
        left_out = len(self.lines) - len(kept)
        told = (f"lines that begin before --start {start_s:g} s are left out: {left_out}",) if left_out else ()
        return Lyrics(kept, (*self.warnings, *told))


def plain_lyrics(text: str) -> Lyrics:
    """Returns the lyrics of a text, a line each; marks like `[Chorus]` and blank lines are not sung.

    Raises:
        UsageError: there is nothing to sing, or too much.
    """
    return _checked([Line(row.strip()) for row in text.splitlines()])


def lrc_lyrics(text: str) -> Lyrics:
    """Returns the lyrics of an LRC text, in order of time; a text without stamps is a plain one.

    Raises:
        UsageError: there is nothing to sing, or too much.
    """
    lrc = parse_lrc(text)
    if not lrc.lines:
        plain = plain_lyrics(text)
        return replace(plain, warnings=(*plain.warnings, "the LRC has no stamps: it is taken for plain text"))
    lines = [_of_stamp(line, after) for line, after in zip(lrc.lines, [*lrc.lines[1:], None], strict=True)]
    found = _checked(lines)
    told = ["the stamps go backwards: lines are sung in order of time"] if _goes_backwards(text) else []
    told += [f"rows without a stamp are left out: {lrc.ignored_rows}"] if lrc.ignored_rows else []
    return replace(found, warnings=(*found.warnings, *told))


def json_lyrics(text: str) -> Lyrics:
    """Returns the lyrics of a JSON text; see `JSON_FORMS`.

    Raises:
        UsageError: it is of another form, times go backwards, or there is nothing to sing, or too much.
    """
    try:
        told = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--lyrics is no JSON ({error}); give {JSON_FORMS}") from error
    if not isinstance(told, list):
        raise UsageError(f"--lyrics is no list of lines; give {JSON_FORMS}")
    lines = [_of_entry(entry, number) for number, entry in enumerate(told)]
    known = [(n, line.start_s) for n, line in enumerate(lines) if line.start_s is not None]
    for (_, before_s), (n, start_s) in pairwise(known):
        if start_s < before_s:
            raise UsageError(
                f"--lyrics, line {n + 1} begins at {start_s:g} s, before one that stands before it ({before_s:g} s); "
                "give lines in the order in which they are sung"
            )
    return _checked(lines)


def _of_stamp(line: LrcLine, after: LrcLine | None) -> Line:
    """Returns a stamped line; a stamp without text behind it is its end."""
    end_s = after.start_s if after is not None and not after.text and after.start_s > line.start_s else None
    return Line(line.text, line.start_s, end_s, line.words)


def _goes_backwards(text: str) -> bool:
    """Says whether a row is before the one above it; rows of several stamps are sung several times, and do not tell."""
    rows = [parse_lrc(row).lines for row in text.splitlines()]
    starts_s = [row[0].start_s for row in rows if len(row) == 1]
    return any(after < before for before, after in pairwise(starts_s))


@dataclass(frozen=True)
class _Entry:
    """A line in JSON."""

    text: str
    start_s: float | None = None
    end_s: float | None = None


def _of_entry(entry: Any, number: int) -> Line:
    where = f"--lyrics, line {number + 1}"
    if isinstance(entry, str):
        return Line(entry.strip())
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {entry!r}; give {JSON_FORMS}")
    made = of_mapping(_Entry, entry, where)
    times = [time_s for time_s in (made.start_s, made.end_s) if time_s is not None]
    if not all(np.isfinite(time_s) and time_s >= 0 for time_s in times) or (len(times) == 2 and times[1] <= times[0]):
        raise UsageError(f"{where} is from {made.start_s} to {made.end_s} s; give seconds from 0 on, the end last")
    if made.start_s is None and made.end_s is not None:
        raise UsageError(f"{where} has an end and no start; give start_s, too")
    return Line(" ".join(made.text.split()), made.start_s, made.end_s)


def _checked(lines: Sequence[Line]) -> Lyrics:
    sung = tuple(line for line in lines if split_words(line.text))
    if not sung:
        raise UsageError("--lyrics has no word to sing; give at least one, and marks like [Chorus] besides")
    found = Lyrics(sung)
    if found.n_characters > MOST_CHARACTERS:
        raise UsageError(f"--lyrics has {found.n_characters} characters; give at most {MOST_CHARACTERS}, in parts")
    return found
