"""What models are given of a window: its words, the tokens that are sung, and its backing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.models.lyric_tokens import LyricSpeller, SungWord, pace_row
from autosing.models.sources import SourceTokens, Stream, source_of
from autosing.synthesis.singing.plan import Window

Codes = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Grid:
    """Where windows lie among tokens and codes.

    Attributes:
        period_s: of windows.
        token_rate: tokens per second.
        code_rates: codes per second of each level.
    """

    period_s: Fraction
    token_rate: Fraction
    code_rates: tuple[Fraction, ...]

    def tokens(self, periods: int) -> int:
        """Returns how many tokens there are until then, half a token rounded up."""
        return int(periods * self.period_s * self.token_rate + Fraction(1, 2))

    def codes(self, periods: int) -> list[int]:
        """Returns how many codes of each level there are until then."""
        return [int(periods * self.period_s * rate) for rate in self.code_rates]


@dataclass(frozen=True)
class Spelling:
    """How the words of windows are told.

    Attributes:
        speller: of the model.
        language: ISO 639-1 code, for classes.
        has_times: whether more is known of when lines are sung than in which window.
    """

    speller: LyricSpeller
    language: str | None
    has_times: bool

    def text(self, window: Window, period_s: Fraction) -> tuple[SourceTokens, int]:
        """Returns the tokens of a window's words with their times, and the row of their pace.

        Where a model is told no times in training, words are spread evenly: those that were sung before over the
        context, new ones over the rest, or over the stretch that they have of it.
        """
        from_s, start_s, end_s = (float(at * period_s) for at in (window.context, window.start, window.end))
        words = [_clipped(word, from_s, end_s) for word in (*window.before, *window.words)]
        new = words[len(window.before) :]
        stretch = (start_s - from_s, end_s - from_s)
        if self.has_times and new:
            stretch = new[0].start_s or 0.0, new[-1].end_s or 0.0
        stretches = [(len(window.before), 0.0, start_s - from_s), (len(new), *stretch)]
        spelled = self.speller.spell(words, end_s - from_s, self.language, stretches)
        return (spelled.tokens, spelled.times_s), pace_row(words, end_s - from_s)


def semantic_source(tokens: Codes, rate: Fraction, n_tokens: int) -> SourceTokens:
    """Returns the tokens that are sung as a source."""
    return source_of([Stream(tokens, rate, n_tokens)])


@dataclass(frozen=True)
class BackingCodes:
    """The backing of a whole song, in the codes that a model hears of it.

    Attributes:
        streams: of each level that the model hears, from the song's start; none where there is no backing.
        period_s: of windows.
    """

    streams: Sequence[Stream]
    period_s: Fraction

    def source(self, window: Window) -> SourceTokens:
        """Returns the codes of a window as a source."""
        found = []
        for stream in self.streams:
            first, last = (int(at * self.period_s * stream.rate) for at in (window.context, window.end))
            found.append(stream._replace(tokens=stream.tokens[first:last]))
        return source_of(found)


def _clipped(word: SungWord, from_s: float, end_s: float) -> SungWord:
    """Returns a word with times from the start of a window, as the words of training samples have them."""
    start_s, stop_s = (min(max(at_s or 0.0, from_s), end_s) - from_s for at_s in (word.start_s, word.end_s))
    return replace(word, start_s=start_s, end_s=stop_s)
