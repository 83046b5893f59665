"""Rates and frames: the one place that counts frames and says when a frame is.

A rate is a `Fraction` in frames per second. Frame `i` covers `[i/rate, (i+1)/rate)` seconds and its centre is
`(i + 1/2)/rate`. Counts are made with integers from the sample count of the original audio, so that every
series of a song agrees whatever sample rate it was computed at.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]


def frames(n_samples: int, sample_rate: int, rate: Fraction) -> int:
    """Returns the number of frames of `n_samples` at `sample_rate` Hz: duration times rate, half rounded up."""
    return (2 * n_samples * rate.numerator + sample_rate * rate.denominator) // (2 * sample_rate * rate.denominator)


def common_period(rates: Sequence[Fraction]) -> Fraction:
    """Returns the shortest time in seconds that is a whole number of frames at every one of `rates`."""
    periods = [1 / rate for rate in rates]
    denominator = math.lcm(*(p.denominator for p in periods))
    return Fraction(math.lcm(*(int(p * denominator) for p in periods)), denominator)


def tied_frames(n_samples: int, sample_rate: int, rates: Sequence[Fraction]) -> list[int]:
    """Returns the frame counts of streams that belong together, exactly in the ratio of their rates.

    The common period of the group (the coarsest stream's, where it divides the others) is counted with `ceil`,
    and every stream gets its whole number of frames per period.
    """
    period = common_period(rates)
    periods = math.ceil(Fraction(n_samples, sample_rate) / period)
    return [int(periods * period * rate) for rate in rates]


def centres_s(n_frames: int, rate: Fraction) -> npt.NDArray[np.float64]:
    """Returns the centre times in seconds of `n_frames` frames, shape (F,)."""
    return np.asarray((np.arange(n_frames) + 0.5) / float(rate), np.float64)


def fit_length(series: Array, n_frames: int) -> Array:
    """Returns `series` (F, ...) cut, or lengthened by repeating its last frame, to `n_frames`.

    An empty series becomes zeros.
    """
    missing = n_frames - len(series)
    if missing <= 0:
        return series[:n_frames]
    if not len(series):
        return np.zeros((n_frames, *series.shape[1:]), series.dtype)
    return np.concatenate([series, np.repeat(series[-1:], missing, axis=0)])


def nearest_frames(n_frames: int, rate: Fraction, source_frames: int, source_rate: Fraction) -> npt.NDArray[np.int64]:
    """Returns for each of `n_frames` frames at `rate` the source frame that its centre falls in, shape (F,)."""
    centres = (2 * np.arange(n_frames, dtype=np.int64) + 1) * (rate.denominator * source_rate.numerator)
    index = centres // (2 * rate.numerator * source_rate.denominator)
    return np.clip(index, 0, max(source_frames - 1, 0))


def slice_start(start_ms: int, length: int, total: int, rate: Fraction) -> int:
    """Returns the first frame of a cut that starts at `start_ms` and has `length` of the `total` frames.

    It is the frame boundary nearest to the start, moved back where the series would be too short.
    """
    nearest = (2 * start_ms * rate.numerator + 1000 * rate.denominator) // (2000 * rate.denominator)
    return max(min(nearest, total - length), 0)
