"""How loud a recording is, how much its loudness changes, and how high its waveform really reaches.

All take samples (T, C) and work through them in blocks, so that memory is flat; where they say `Rows`, these may lie on
disk.
"""

import math

import numpy as np
import numpy.typing as npt

from autosing.signal.resample import resample
from autosing.signal.rows import Rows

Samples = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_BLOCK_S = 10

# BS.1770-4: gates, and the weights of channels beside and behind the listener and of the low-frequency channel.
_ABSOLUTE_GATE_LUFS, _RELATIVE_GATE_LU = -70.0, -10.0
_CHANNEL_WEIGHTS = {5: (1, 1, 1, 1.41, 1.41), 6: (1, 1, 1, 0, 1.41, 1.41)}
_LOWEST_RATE, _SHELF_HZ, _HIGHPASS_HZ = 4000, 1681.974450955533, 38.13547087602444

# Keeps the filters from denormal numbers, which in digital silence slow them down twentyfold.
_INAUDIBLE = 1e-20

# EBU Tech 3342: windows, gates and percentiles of the loudness range.
_SHORT_TERM_TENTHS, _RANGE_GATE_LU, _RANGE_PERCENTILES = 30, -20.0, (10, 95)

_OVERSAMPLED_HZ, _PEAK_BLOCK_S, _PEAK_CONTEXT = 160_000, 10, 512
_SILENT_PEAK = 1e-6


def integrated_loudness(samples: Rows, sample_rate: int) -> float | None:
    """Returns the gated loudness in LUFS (ITU-R BS.1770-4), or None where no block of 0.4 s is louder than -70 LUFS.

    None too below 4 kHz, where the weighting filter does not exist. Channels are in the order of WAVE files.
    """
    return _integrated(_weighted_tenths(samples, sample_rate), sample_rate)


def loudness_range_lu(samples: Rows, sample_rate: int) -> float | None:
    """Returns the loudness range in LU (EBU Tech 3342), or None where no window of 3 s is louder than -70 LUFS.

    That is how far the 95th percentile of the loudness of windows of 3 s is above the 10th; windows more than 20 LU
    below their mean do not count.
    """
    return _range(_weighted_tenths(samples, sample_rate), sample_rate)


def loudness_and_range(samples: Rows, sample_rate: int) -> tuple[float | None, float | None]:
    """Returns what `integrated_loudness` and `loudness_range_lu` do, by one pass over the samples."""
    tenths = _weighted_tenths(samples, sample_rate)
    return _integrated(tenths, sample_rate), _range(tenths, sample_rate)


def true_peak_db(samples: Samples, sample_rate: int) -> float | None:
    """Returns the largest value between samples in dBTP (BS.1770-4, annex 2), or None for silence.

    The wave is oversampled to at least 160 kHz, four times at 44.1 and 48 kHz.
    """
    factor = max(-(-_OVERSAMPLED_HZ // sample_rate), 1)
    step = _PEAK_BLOCK_S * sample_rate
    highest = 0.0
    for start in range(0, len(samples), step):
        first = max(start - _PEAK_CONTEXT, 0)
        inside = slice(factor * (start - first), factor * (start - first + step))
        for channel in samples[first : start + step + _PEAK_CONTEXT].T:
            wave = resample(np.ascontiguousarray(channel), sample_rate, factor * sample_rate)[inside]
            highest = max(highest, float(wave.max(initial=0)), -float(wave.min(initial=0)))
    return float(20 * np.log10(highest)) if highest > _SILENT_PEAK else None


def _integrated(tenths: Doubles, sample_rate: int) -> float | None:
    if len(tenths) < 4:
        return None
    power = _gated(tenths, 4, sample_rate)
    if not len(power):
        return None
    power = power[power >= power.mean() * 10 ** (_RELATIVE_GATE_LU / 10)]
    return float(-0.691 + 10 * np.log10(power.mean()))


def _range(tenths: Doubles, sample_rate: int) -> float | None:
    if len(tenths) < _SHORT_TERM_TENTHS:
        return None
    power = _gated(tenths, _SHORT_TERM_TENTHS, sample_rate)
    if not len(power):
        return None
    power = power[power >= power.mean() * 10 ** (_RANGE_GATE_LU / 10)]
    low, high = np.percentile(10 * np.log10(power), _RANGE_PERCENTILES)
    return float(high - low)


def _gated(tenths: Doubles, length: int, sample_rate: int) -> Doubles:
    """Returns the mean power of all windows of `length` tenths of a second that are above the absolute gate."""
    sums = np.convolve(tenths, np.ones(length), mode="valid")
    power = sums / (length / 10 * sample_rate)
    return power[power >= _power(_ABSOLUTE_GATE_LUFS)]


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


def _weighted_tenths(samples: Rows, sample_rate: int) -> Doubles:
    """Returns the sum over channels of the K-weighted energy of every whole 0.1 s; none below 4 kHz."""
    from scipy.signal import sosfilt

    if sample_rate < _LOWEST_RATE:
        return np.zeros(0)
    sections = _k_weighting(sample_rate)
    channels = samples.shape[1]
    state = np.zeros((channels, 2, 2))
    totals = []
    n_tenths = len(samples) * 10 // sample_rate
    for first in range(0, n_tenths, 10 * _BLOCK_S):
        edges = np.arange(first, min(first + 10 * _BLOCK_S, n_tenths) + 1) * sample_rate // 10
        total, block = np.zeros(len(edges) - 1), samples[edges[0] : edges[-1]]
        for c, weight in enumerate(_CHANNEL_WEIGHTS.get(channels, (1,) * channels)):
            wave = block[:, c].astype(np.float64) + _INAUDIBLE
            wave, state[c] = sosfilt(sections, wave, zi=state[c])
            total += weight * np.add.reduceat(np.square(wave), edges[:-1] - edges[0])
        totals.append(total)
    return np.concatenate(totals) if totals else np.zeros(0)


def _k_weighting(sample_rate: int) -> Doubles:
    """Returns the two sections (2, 6) of BS.1770's filter: a head's high shelf of 4 dB, and a high pass at 38 Hz.

    The recommendation tabulates 48 kHz only; these are the analogue prototypes of its coefficients, for any rate.
    """
    k, q = math.tan(math.pi * _SHELF_HZ / sample_rate), 0.7071752369554196
    gain = 10 ** (3.999843853973347 / 20)
    middle = gain**0.4996667741545416
    shelf_b = gain + middle * k / q + k * k, 2 * (k * k - gain), gain - middle * k / q + k * k
    shelf_a = 1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k
    k, q = math.tan(math.pi * _HIGHPASS_HZ / sample_rate), 0.5003270373238773
    pass_a = 1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k
    shelf = np.array([*shelf_b, *shelf_a]) / shelf_a[0]
    return np.stack([shelf, np.array([1, -2, 1, *(np.array(pass_a) / pass_a[0])])])
