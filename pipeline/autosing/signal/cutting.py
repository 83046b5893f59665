"""Where to cut a song: at fixed lengths, or at quiet moments between a shortest and a longest length."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from autosing.signal.dropped import NOT_TRUSTED, TOO_SHORT, Cause, Dropped, tiled
from autosing.signal.errors import UsageError
from autosing.signal.intervals import Floats, Interval, crossed, union

GRID_HZ = 20
LOUDNESS_SMOOTHING_S = 0.1
QUIETEST_DB = -100.0
COST_PER_CUT_DB = 1.0
COST_OF_A_SHORT_END_DB = 200.0


def trusted_cuts(
    cuts: Sequence[Interval], distrusted: Floats, duration_s: float
) -> tuple[list[Interval], list[Dropped]]:
    """Returns the cuts that touch no distrusted interval (N, 2), and what lies in none of them with the reason."""
    every = np.asarray(cuts, np.float64).reshape(-1, 2)
    is_doubtful = crossed(every, union(distrusted))
    dropped = tiled(duration_s, every[~is_doubtful], [Cause(NOT_TRUSTED, every[is_doubtful])], TOO_SHORT)
    return [cut for cut, doubtful in zip(cuts, is_doubtful, strict=True) if not doubtful], dropped


def fixed_cuts(duration_s: float, length_s: float, min_s: float) -> list[Interval]:
    """Returns consecutive intervals of `length_s` from second 0; the rest is kept where it has at least `min_s`."""
    starts = np.arange(0.0, duration_s, length_s)
    cuts = [(float(start), float(min(start + length_s, duration_s))) for start in starts]
    return [c for c in cuts if c[1] - c[0] >= min_s]


def quiet_cuts(
    energy: npt.NDArray[np.floating], rate_hz: float, duration_s: float, min_s: float, max_s: float
) -> list[Interval]:
    """Returns consecutive intervals that cover [0, duration_s] and meet at the quietest possible moments.

    A dynamic programme over a 50 ms grid minimises the summed level (dB, smoothed over 0.1 s) at the inner cuts.
    Every interval has `min_s` to `max_s`; only the last may be shorter, where the length of the song leaves no choice.

    Args:
        energy: (F,) linear RMS.
        rate_hz: frames per second of `energy`.
        duration_s: length of the song.
        min_s: shortest interval.
        max_s: longest interval.

    Raises:
        UsageError: there are no such lengths, see `steps_between`.
    """
    shortest, longest = steps_between(min_s, max_s)
    if duration_s <= max_s:
        return [(0.0, duration_s)] if duration_s > 0 else []
    level = _level_db(energy, rate_hz, int(duration_s * GRID_HZ) + 1)
    inner = _best_points(level, duration_s * GRID_HZ, shortest, longest)
    points = [0.0, *(p / GRID_HZ for p in inner), duration_s]
    return list(pairwise(points))


def steps_between(min_s: float, max_s: float) -> tuple[int, int]:
    """Returns the fewest and the most steps of the grid that last `min_s` to `max_s`.

    Raises:
        UsageError: `min_s` is not between 0 and `max_s`, `max_s` is below the grid, or no step ends between them.
    """
    if not 0 < min_s <= max_s or max_s < 2 / GRID_HZ:
        raise UsageError(f"cuts of {min_s} to {max_s} s: need 0 < min_s <= max_s and max_s >= {2 / GRID_HZ}")
    shortest, longest = int(np.ceil(min_s * GRID_HZ)), int(max_s * GRID_HZ)
    if shortest > longest:
        raise UsageError(
            f"cuts of {min_s} to {max_s} s: quiet cuts last multiples of {1 / GRID_HZ} s, and none lies between; "
            "give lengths that are farther apart"
        )
    return shortest, longest


def _level_db(energy: npt.NDArray[np.floating], rate_hz: float, n_points: int) -> npt.NDArray[np.float64]:
    """Returns the level in dB above `QUIETEST_DB` at each grid point, plus a constant cost per cut."""
    width = max(int(LOUDNESS_SMOOTHING_S * rate_hz), 1)
    power = np.convolve(np.asarray(energy, np.float64) ** 2, np.full(width, 1 / width), "same")[: len(energy)]
    at = np.minimum((np.arange(n_points) * rate_hz / GRID_HZ).astype(np.int64), len(power) - 1)
    level: npt.NDArray[np.float64] = np.maximum(10 * np.log10(np.maximum(power[at], 1e-12)), QUIETEST_DB)
    return level - QUIETEST_DB + COST_PER_CUT_DB


def _best_points(level: npt.NDArray[np.float64], end: float, shortest: int, longest: int) -> list[int]:
    """Returns the inner cut points on the grid; `end` (in grid steps) may fall between two points."""
    cost = np.full(len(level), np.inf)
    came_from = np.zeros(len(level), np.int64)
    cost[0] = 0.0
    for point in range(shortest, len(level)):
        first = max(point - longest, 0)
        before = cost[first : point - shortest + 1]
        best = int(before.argmin())
        cost[point], came_from[point] = before[best] + level[point], first + best
    points = np.arange(len(level))
    last = np.where((end - points <= longest) & (points < end), cost, np.inf)
    last = last + np.where(end - points < shortest, COST_OF_A_SHORT_END_DB, 0.0)
    point, chosen = int(last.argmin()), []
    while point > 0:
        chosen.append(point)
        point = int(came_from[point])
    return chosen[::-1]
