"""The loudness contour of a wave: linear RMS at frames of 10 ms."""

from fractions import Fraction
from typing import TypeVar

import numpy as np
import numpy.typing as npt

RATE = Fraction(100)

_Number = TypeVar("_Number", np.float64, np.int64)

# The window of 20 ms is made of four quarters of 5 ms, each summed by itself: no frame depends on distant samples.
_QUARTERS_PER_S = 200
_BLOCK_FRAMES = 3000


def energy(wave: npt.NDArray[np.float32], sample_rate: int, n_frames: int) -> npt.NDArray[np.float32]:
    """Returns the RMS (n_frames,) of `wave` (T,) in a rectangular window of 20 ms about the centre of each frame.

    Frame `i` is the root of the mean square of the samples `t` of the wave with
    `(2i - 1)/200 <= t / sample_rate < (2i + 3)/200`, at every sample rate; where there are none it is 0.
    """
    rms = np.zeros(n_frames, np.float32)
    for start in range(0, n_frames, _BLOCK_FRAMES):
        frames = np.arange(start, min(start + _BLOCK_FRAMES, n_frames))
        quarters = np.arange(2 * frames[0] - 1, 2 * frames[-1] + 4)
        edges = np.clip(-(-quarters * sample_rate // _QUARTERS_PER_S), 0, len(wave))
        counts = np.diff(edges)
        totals = _totals(wave[edges[0] : edges[-1]], edges[:-1] - edges[0]) * (counts > 0)
        rms[frames] = np.sqrt(_windows(totals) / np.maximum(_windows(counts), 1))
    return rms


def _totals(wave: npt.NDArray[np.float32], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Returns the sum of squares from each of `starts` to the next; where that is empty, anything."""
    squares = np.zeros(len(wave) + 1)
    np.square(wave, out=squares[:-1], dtype=np.float64)
    totals: npt.NDArray[np.float64] = np.add.reduceat(squares, starts)
    return totals


def _windows(quarters: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """Returns the sums of four quarters, at every second quarter."""
    pairs = quarters[:-1] + quarters[1:]
    return pairs[:-2:2] + pairs[2::2]
