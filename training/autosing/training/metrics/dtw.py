"""Dynamic time warping of two series of vectors."""

from typing import Any

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.floating[Any]]


def warp(first: Series, second: Series) -> tuple[float, int]:
    """Returns the least sum of distances along a path through the pairs of two series, and the path's number of pairs.

    A path goes from the first frames to the last ones in steps of one frame in either series or in both; of equally
    good steps it takes the one in both. The distance is Euclidean. Works along antidiagonals and remembers two of
    them, so memory is that of the series; 20 s against 20 s at 100 frames per second take about a second.

    Args:
        first: (F, D).
        second: (G, D).

    Raises:
        ValueError: a series has no frame, or their widths differ.
    """
    if not (len(first) and len(second)) or first.shape[1:] != second.shape[1:]:
        raise ValueError(f"series of shapes {first.shape} and {second.shape} cannot be warped onto each other")
    rows, columns = len(first), len(second)
    # The totals, and the pairs, of the best paths to the cells of the last two antidiagonals. Row i is at i + 1;
    # what is outside the rectangle stays at infinity.
    before, last = np.full(rows + 1, np.inf), np.full(rows + 1, np.inf)
    n_before, n_last = np.zeros(rows + 1, np.int64), np.zeros(rows + 1, np.int64)
    before[0] = 0
    for diagonal in range(rows + columns - 1):
        start, stop = max(0, diagonal - columns + 1), min(rows, diagonal + 1)
        facing = second[diagonal - stop + 1 : diagonal - start + 1][::-1]
        distance = np.sqrt(np.square(first[start:stop] - facing).sum(1))
        ways = np.stack([before[start:stop], last[start:stop], last[start + 1 : stop + 1]])
        n_ways = np.stack([n_before[start:stop], n_last[start:stop], n_last[start + 1 : stop + 1]])
        best = ways.argmin(0)[None]
        before, n_before = last, n_last
        last, n_last = np.full(rows + 1, np.inf), np.zeros(rows + 1, np.int64)
        last[start + 1 : stop + 1] = np.take_along_axis(ways, best, 0)[0] + distance
        n_last[start + 1 : stop + 1] = np.take_along_axis(n_ways, best, 0)[0] + 1
    return float(last[rows]), int(n_last[rows])
