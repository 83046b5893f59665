"""A song as windows that are sung one after the other, each going on from what was sung before it.

Times are counted in periods, of which each is a whole number of codes of every level, so that windows neither overlap
nor leave anything out.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from autosing.models.lyric_tokens import SungWord
from autosing.signal.errors import UsageError

# Nothing shorter is sung by itself, unless a line is.
SHORTEST_S = 1.0
# Where nobody sings for so long, nothing is asked of the models, which know no rests longer than those they heard: from
# so long after a word, which may be held, until so long before the next.
REST_S, TAIL_S, LEAD_S = 2.0, 1.0, 0.3


@dataclass(frozen=True)
class Limits:
    """How long windows are.

    Attributes:
        period_s: of the grid that they lie on.
        window_s: at most so much is heard at once, what was sung before included.
        context_s: at most so much of what was sung before is heard again.
        by_line: whether each line has a window of its own, as for models that know nothing of times inside one.

    Raises:
        UsageError: windows leave no room for something new.
    """

    period_s: Fraction
    window_s: float
    context_s: float
    by_line: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.context_s <= self.window_s / 2 or self.window_s < 2 * max(SHORTEST_S, float(self.period_s)):
            raise UsageError(
                f"--window is {self.window_s:g} and --context {self.context_s:g}; give a window of at least "
                f"{2 * max(SHORTEST_S, float(self.period_s)):g} s and a context of at most half of it"
            )

    def periods(self, seconds: float) -> int:
        """Returns how many whole periods there are in a time."""
        return round(seconds * 1_000_000) * self.period_s.denominator // (1_000_000 * self.period_s.numerator)


@dataclass(frozen=True)
class Window:
    """A stretch of a song that is sung at once, in periods.

    Attributes:
        context: where what is heard again of the song begins.
        start: where what is new begins.
        end: of both.
        before: the words of the context.
        words: the new ones.
        is_rest: whether it is not sung.
    """

    context: int
    start: int
    end: int
    before: tuple[SungWord, ...]
    words: tuple[SungWord, ...]
    is_rest: bool = False


def plan(words: Sequence[SungWord], n_periods: int, limits: Limits) -> list[Window]:
    """Returns windows of a song: each word is new in exactly one, and what is new covers the song exactly.

    Windows end where a line begins, where one is in reach; else where nobody sings, or a word begins, or they must.
    Long rests are windows of their own, and what is sung behind them hears nothing of before.

    Args:
        words: with times, in the order in which they are sung.
        n_periods: of the song.
        limits: how long windows are.
    """
    windows = list[Window]()
    for begin, end, inside in _stretches(words, n_periods, limits):
        windows += _sung(inside, begin, end, limits) if inside else [Window(begin, begin, end, (), (), is_rest=True)]
    return windows


def _stretches(
    words: Sequence[SungWord], n_periods: int, limits: Limits
) -> Iterator[tuple[int, int, Sequence[SungWord]]]:
    """Yields where stretches of a song begin and end, in periods, and their words; a long rest is one without words."""
    begin = first = 0
    # A window of one line begins with it.
    lead_s = 0.0 if limits.by_line else LEAD_S
    for n in range(len(words) + 1):
        rest = limits.periods((words[n - 1].end_s or 0.0) + TAIL_S) if n else 0
        end = limits.periods((words[n].start_s or 0.0) - lead_s) if n < len(words) else n_periods
        if end - rest < limits.periods(REST_S):
            continue
        if n:
            yield begin, rest, words[first:n]
        yield rest, end, ()
        begin, first = end, n
    if begin < n_periods:
        yield begin, n_periods, words[first:]


def _sung(words: Sequence[SungWord], begin: int, end: int, limits: Limits) -> list[Window]:
    borders = _Borders.of(words, end, limits)
    windows, start, first = list[Window](), begin, 0
    longest, context = limits.periods(limits.window_s), limits.periods(limits.context_s)
    while start < end:
        heard_from = max(start - context, begin)
        stop, last = borders.next(start, first, heard_from + longest)
        heard = first
        while heard and borders.middles[heard - 1] >= heard_from:
            heard -= 1
        windows.append(Window(heard_from, start, stop, tuple(words[heard:first]), tuple(words[first:last])))
        start, first = stop, last
    return windows


@dataclass(frozen=True)
class _Borders:
    """Where windows may end, by the periods in which words begin, have their middle, and end."""

    begins: Sequence[int]
    middles: Sequence[int]
    ends: Sequence[int]
    is_line: Sequence[bool]
    n_periods: int
    shortest: int
    by_line: bool

    @classmethod
    def of(cls, words: Sequence[SungWord], n_periods: int, limits: Limits) -> "_Borders":
        times_s = [(word.start_s or 0.0, word.end_s or 0.0) for word in words]
        begins = [limits.periods(start_s) for start_s, _ in times_s]
        middles = [limits.periods((start_s + end_s) / 2) for start_s, end_s in times_s]
        ends = [limits.periods(end_s) for _, end_s in times_s]
        lines = [word.line for word in words]
        is_line = [n == 0 or line != lines[n - 1] for n, line in enumerate(lines)]
        shortest = max(limits.periods(SHORTEST_S), 1)
        return cls(begins, middles, ends, is_line, n_periods, shortest, limits.by_line)

    def next(self, start: int, first: int, limit: int) -> tuple[int, int]:
        """Returns where a window ends, at the latest at a limit, and the number of the first word behind it."""
        n_words = len(self.begins)
        near = range(first, bisect_right(self.begins, limit))
        lines = [n for n in near if self.is_line[n] and start < self.begins[n] < self.n_periods]
        if self.by_line and lines:
            return self.begins[lines[0]], lines[0]
        if self.n_periods <= limit:
            return self.n_periods, n_words
        # What is left for the last window is not less than it takes to sing something.
        reach = max(min(limit, self.n_periods - self.shortest), start + 1)
        behind = next((n for n in near if self.middles[n] >= reach), near.stop)
        is_pause = (behind == first or self.ends[behind - 1] <= reach) and (
            behind == n_words or self.begins[behind] >= reach
        )
        for choice in (lines, () if is_pause else near):
            found = [n for n in choice if start + self.shortest <= self.begins[n] <= reach]
            if found:
                return self.begins[found[-1]], found[-1]
        return reach, behind
