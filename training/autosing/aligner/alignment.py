"""What an aligner finds: words, lines and phones with times, and how far they are to be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class SungWord:
    """A word to be aligned: its text, the number of its line, and its labels in the net's alphabet."""

    text: str
    line: int
    labels: tuple[int, ...]


@dataclass(frozen=True)
class TimedWord:
    """A word's times in seconds, and the mean log probability of its sounds; None where nothing was heard."""

    text: str
    start_s: float
    end_s: float
    line: int
    score: float | None = None


@dataclass(frozen=True)
class TimedPhone:
    """When a sound is sung."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class TimedLine:
    """A line from its first word's start to its last word's end; `confidence` from 0 (derailed) to 1, or None."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None


@dataclass(frozen=True)
class Alignment:
    """The alignment of a song's lyrics.

    Attributes:
        words: in the order of the lyrics; starts never go back.
        lines: with at least one word.
        phones: sounds in the alphabet of the net.
        offset_s: how much later the song is than its stamps; None without stamps.
        inlier_ratio: share of lines whose stamps agree on `offset_s`; None without stamps.
        is_derailed: whether most of it is not to be trusted: lyrics of another song, or a lost aligner; None where
            nothing tells, as of the rule.
    """

    words: Sequence[TimedWord]
    lines: Sequence[TimedLine]
    phones: Sequence[TimedPhone] = ()
    offset_s: float | None = None
    inlier_ratio: float | None = None
    is_derailed: bool | None = None

    def later(self, by_s: float, by_lines: int) -> "Alignment":
        """Returns its words, lines and phones at their places in a longer song."""
        words = [
            replace(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s, line=word.line + by_lines)
            for word in self.words
        ]
        lines = [replace(line, start_s=line.start_s + by_s, end_s=line.end_s + by_s) for line in self.lines]
        phones = [replace(phone, start_s=phone.start_s + by_s, end_s=phone.end_s + by_s) for phone in self.phones]
        return replace(self, words=words, lines=lines, phones=phones)
