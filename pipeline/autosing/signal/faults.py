"""What can be wrong with a recording: clipping, silence, an offset, channels that cancel.

All take samples (T, C) and work through them in blocks, so that memory is flat; where they say `Rows`, these may lie on
disk.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autosing.signal.rows import Rows, slices

Samples = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_BLOCK = 2**20
_FULL_SCALE = 0.99
_ONE_STEP = 2.0**-15
_RUN = 3
_LEVELS, _TOP = 2**16, (1e-4, 1e-3)
_SILENT_POWER = 1e-6
_CANCELLED = 1e-2


def peak(samples: Rows) -> float:
    """Returns the largest absolute sample value, 0 where there are no samples."""
    return max((float(max(b.max(initial=0), -b.min(initial=0))) for b in slices(samples, _BLOCK)), default=0.0)


@dataclass(frozen=True)
class Clipping:
    """How much of a recording is cut off at full scale.

    ratio: share of samples in runs of three or more at the peak.
    runs: how many such runs there are, over all channels.
    """

    ratio: float
    runs: int


def clipping(samples: Rows) -> Clipping:
    """Returns runs of three or more samples at the file's peak, if that is 0.99 or more, else none.

    At the peak means within one 16-bit step, which is how far the largest and the smallest value of 16 bits differ.
    """
    level = peak(samples) - _ONE_STEP
    if level < _FULL_SCALE - _ONE_STEP:
        return Clipping(0.0, 0)
    n_clipped = n_runs = 0
    before = np.zeros((_RUN, samples.shape[1]), np.bool_)
    for start in range(0, len(samples), _BLOCK):
        first = max(start - _RUN + 1, 0)
        clipped = _in_runs(np.abs(samples[first : start + _BLOCK + _RUN - 1]) >= level)
        clipped = clipped[start - first : start - first + _BLOCK]
        n_clipped += int(np.count_nonzero(clipped))
        n_runs += int(np.count_nonzero(clipped & ~np.concatenate([before[-1:], clipped[:-1]])))
        before = clipped
    return Clipping(n_clipped / (len(samples) * samples.shape[1]), n_runs)


def _in_runs(full: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Returns which flags (T, C) are in runs of three or more true ones along time."""
    runs = full[:-2] & full[1:-1] & full[2:]
    found = np.zeros_like(full)
    for k in range(_RUN):
        found[k : len(full) - _RUN + 1 + k] |= runs
    return found


def top_range_db(samples: Samples) -> float | None:
    """Returns how far the loudest ten-thousandth of the samples is above the loudest thousandth; None for silence.

    Clipping and hard limiting make them meet (below 0.5 dB; 95 % of real recordings have more than 0.6 dB), and they
    stay close where the recording was turned down, resampled or coded since. Digital silence is left out.
    """
    highest = peak(samples)
    if not highest:
        return None
    counts = np.zeros(_LEVELS + 1, np.int64)
    for block in _blocks(samples):
        levels = np.ceil(np.abs(block.ravel()) * np.float32(_LEVELS / highest))
        counts += np.bincount(np.minimum(levels, _LEVELS).astype(np.int32), minlength=_LEVELS + 1)
    counts[0] = 0
    upper, lower = np.searchsorted(np.cumsum(counts), (1 - np.array(_TOP)) * counts.sum())
    return float(20 * np.log10(upper / lower))


def dc_offset(samples: Samples) -> float:
    """Returns the mean of the channel whose mean is farthest from 0; 0 where there are no samples."""
    means = (float(channel.sum(dtype=np.float64)) / max(len(channel), 1) for channel in samples.T)
    return max(means, key=abs)


@dataclass(frozen=True)
class Stereo:
    """How the first two channels go together.

    correlation: 1 where they are the same but for their levels, 0 where they have nothing in common, -1 where they
        cancel; None for one channel and where either is silent.
    opposite: whether their mean is 20 dB below the louder one though neither is: to mono they must not be mixed.
    """

    correlation: float | None
    opposite: bool


def stereo(samples: Samples) -> Stereo:
    """Returns how the channels of a recording go together."""
    if samples.shape[1] < 2:
        return Stereo(None, False)
    sums = np.zeros((2, 2))
    for block in _blocks(samples[:, :2]):
        pair = block.astype(np.float64)
        sums += pair.T @ pair
    left, right, both = float(sums[0, 0]), float(sums[1, 1]), float(sums[0, 1])
    if not min(left, right):
        return Stereo(None, False)
    mean = (left + right + 2 * both) / 4
    cancels = mean < _CANCELLED * max(left, right) <= min(left, right)
    return Stereo(float(np.clip(both / np.sqrt(left * right), -1, 1)), bool(cancels))


def silence_ratio(samples: Samples, sample_rate: int) -> float:
    """Returns the share of frames of 20 ms whose RMS over all channels is below -60 dBFS; 1 where there are none."""
    power = _frame_powers(samples, sample_rate)
    return float((power < _SILENT_POWER).mean()) if len(power) else 1.0


def _frame_powers(samples: Samples, sample_rate: int) -> Doubles:
    """Returns the mean square of every whole frame of 20 ms, or of all samples where they are fewer."""
    length = min(max(sample_rate // 50, 1), max(len(samples), 1))
    frames = samples[: len(samples) // length * length].reshape(-1, length * samples.shape[1])
    energy: Doubles = np.einsum("ft,ft->f", frames, frames).astype(np.float64)
    return energy / frames.shape[1]


def _blocks(samples: Samples) -> Iterator[Samples]:
    return slices(samples, _BLOCK)
