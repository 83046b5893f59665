"""A cut in whole milliseconds, and what it is of every series: the one rule of construction and of training's crops."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from autosing.signal.errors import RowError
from autosing.signal.framing import common_period, frames, slice_start, tied_frames

LONGEST_SNAP_S = Fraction(1, 2)


class Series(Protocol):
    """What is known of a column: frames per second, None for a value, and the rates that it is tied to."""

    @property
    def name(self) -> str: ...

    @property
    def rate(self) -> Fraction | None: ...

    @property
    def tied(self) -> tuple[Fraction, ...]: ...


@dataclass(frozen=True)
class Cut:
    """The interval [start_ms, end_ms) of a song, with what is sung in it."""

    start_ms: int
    end_ms: int
    text: str | None = None

    @property
    def length_ms(self) -> int:
        """Its length."""
        return self.end_ms - self.start_ms


@dataclass(frozen=True)
class Span:
    """The frames of a series that a cut is.

    Args:
        first: the first frame.
        length: number of frames.
        residual_s: how much later than the cut the first frame begins (negative: earlier).
    """

    first: int
    length: int
    residual_s: float


def floor_ms(seconds: float) -> int:
    """Returns whole milliseconds; rounded to microseconds first, as the float 1.001 lies just below 1.001."""
    return round(seconds * 1_000_000) // 1000


def snap_period(columns: Iterable[Series]) -> Fraction | None:
    """Returns the grid in seconds on which all series begin a frame (or a whole period of tied streams).

    None where there is no series, or where the grid is coarser than half a second.
    """
    rates = [_tied_rate(c) if c.tied else c.rate for c in columns if c.rate is not None]
    period = common_period([r for r in rates if r is not None]) if rates else None
    return period if period is not None and period <= LONGEST_SNAP_S else None


def snapped_ms(start_ms: int, period: Fraction) -> int:
    """Returns the last point of the grid that is not after `start_ms`, so that nothing of the cut is lost."""
    points = start_ms * period.denominator // (1000 * period.numerator)
    return points * 1000 * period.numerator // period.denominator


def span(cut: Cut, column: Series, total: int) -> Span:
    """Returns which of the `total` frames of a series a cut is; tied streams are cut by their common period.

    Raises:
        RowError: the series is shorter than the song.
    """
    rate = column.rate
    assert rate is not None, column.name
    if column.tied:
        slow = _tied_rate(column)
        per_period = int(rate / slow)
        (n_periods,) = tied_frames(cut.length_ms, 1000, [slow])
        first = per_period * slice_start(cut.start_ms, n_periods, total // per_period, slow)
        length = per_period * n_periods
    else:
        length = frames(cut.length_ms, 1000, rate)
        first = slice_start(cut.start_ms, length, total, rate)
    if first + length > total:
        raise RowError(f"{total} frames, but the cut from {cut.start_ms} to {cut.end_ms} ms has {length}")
    later = 1000 * first * rate.denominator - cut.start_ms * rate.numerator
    return Span(first, length, later / (1000 * rate.numerator))


def _tied_rate(column: Series) -> Fraction:
    return 1 / common_period(column.tied)


def sample_span(cut: Cut, sample_rate: int, n_samples: int) -> tuple[int, int]:
    """Returns first sample and number of samples of a cut of `n_samples` at `sample_rate` Hz."""
    rate = Fraction(sample_rate)
    length = min(frames(cut.length_ms, 1000, rate), n_samples)
    return slice_start(cut.start_ms, length, n_samples, rate), length


def restrict(intervals: Sequence[Mapping[str, Any]], cut: Cut) -> list[dict[str, Any]]:
    """Returns the intervals whose middle lies in the cut, clipped to it, with times relative to its start."""
    start_s, end_s = cut.start_ms / 1000, cut.end_ms / 1000
    inside = [i for i in intervals if start_s <= (i["start_s"] + i["end_s"]) / 2 < end_s]
    return [
        {
            **i,
            "start_s": round(max(i["start_s"], start_s) - start_s, 6),
            "end_s": round(min(i["end_s"], end_s) - start_s, 6),
        }
        for i in inside
    ]


def clipped(start_s: float, end_s: float, duration_ms: int, text: str | None) -> Cut:
    """Returns a cut in whole milliseconds that lies within the song."""
    return Cut(min(max(floor_ms(start_s), 0), duration_ms), min(max(floor_ms(end_s), 0), duration_ms), text)


def duration_ms(n_samples: int, sample_rate: int) -> int:
    """Returns the length of a song, floored to milliseconds."""
    return math.floor(Fraction(1000 * n_samples, sample_rate))
