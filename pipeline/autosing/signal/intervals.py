"""Stretches of a song as (N, 2) arrays of start and end in seconds: their union, their gaps, and what is inside."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]


def intervals_of(spans: Iterable[Mapping[str, Any]], duration_s: float) -> Floats:
    """Returns start and end (N, 2) of labelled spans, clipped to the song; those outside of it are left out."""
    return clipped([(span["start_s"], span["end_s"]) for span in spans], duration_s)


def clipped(intervals: Floats | Sequence[Interval], duration_s: float) -> Floats:
    """Returns the parts of intervals (N, 2) that lie in [0, duration_s], empty ones left out."""
    inside = np.clip(np.asarray(intervals, np.float64).reshape(-1, 2), 0.0, duration_s)
    return inside[inside[:, 1] > inside[:, 0]]


def active(flags: npt.NDArray[np.generic], rate_hz: float, duration_s: float) -> Floats:
    """Returns the stretches (N, 2) of true flags (F,), frame i being [i / rate_hz, (i + 1) / rate_hz)."""
    steps = np.diff(np.concatenate([[0], flags.astype(bool).astype(np.int8), [0]]))
    return clipped(np.flatnonzero(steps).reshape(-1, 2) / rate_hz, duration_s)


def union(intervals: Floats, bridge_s: float = 0.0) -> Floats:
    """Returns the disjoint intervals (N, 2) in order of time that cover the same.

    Intervals that only touch stay apart, as the moment between them is inside neither; those closer than `bridge_s`
    become one.
    """
    if not len(intervals):
        return np.empty((0, 2))
    ordered = intervals[np.lexsort((intervals[:, 1], intervals[:, 0]))]
    reach = np.maximum.accumulate(ordered[:, 1])
    first = np.concatenate([[True], ordered[1:, 0] >= reach[:-1] + bridge_s])
    return np.stack([ordered[first, 0], reach[np.concatenate([first[1:], [True]])]], axis=1)


def gaps(intervals: Floats, duration_s: float) -> Floats:
    """Returns the stretches (N, 2) of [0, duration_s] that no interval covers."""
    covered = union(clipped(intervals, duration_s))
    starts, ends = np.append(0.0, covered[:, 1]), np.append(covered[:, 0], duration_s)
    return np.stack([starts, ends], axis=1)[ends > starts]


def are_inside(times_s: Floats, disjoint: Floats) -> npt.NDArray[np.bool_]:
    """Returns which times (N,) lie inside one of the disjoint intervals, their borders excluded."""
    at = np.searchsorted(disjoint[:, 0], times_s, "left") - 1
    ends = np.append(disjoint[:, 1], -np.inf)  # The last one is what -1 finds: no interval begins before.
    return np.asarray(times_s < ends[at], np.bool_)


def crossed(a: Floats, b: Floats) -> npt.NDArray[np.bool_]:
    """Returns which intervals of `a` (N, 2) have more than a border in common with one of the disjoint `b`."""
    before_its_end = np.searchsorted(b[:, 0], a[:, 1], "left")
    over_at_its_start = np.searchsorted(b[:, 1], a[:, 0], "right")
    return before_its_end > over_at_its_start


@dataclass(frozen=True)
class Singing:
    """When somebody sings.

    Args:
        spans: disjoint stretches (N, 2) in order of time.
    """

    spans: Floats

    @classmethod
    def of(cls, intervals: Floats) -> "Singing":
        """Returns the singing of any intervals (N, 2)."""
        return cls(union(intervals, bridge_s=1e-9))

    @cached_property
    def _until(self) -> tuple[Floats, Floats]:
        lengths = self.spans[:, 1] - self.spans[:, 0]
        after = np.cumsum(lengths)
        return self.spans.ravel(), np.stack([after - lengths, after], axis=1).ravel()

    def until(self, times_s: Floats) -> Floats:
        """Returns how many seconds are sung before each time."""
        times, seconds = self._until
        return np.asarray(np.interp(times_s, times, seconds) if len(times) else np.zeros_like(times_s))

    def between(self, intervals: Floats) -> Floats:
        """Returns how many seconds are sung in each interval (N, 2)."""
        return self.until(intervals[:, 1]) - self.until(intervals[:, 0])
