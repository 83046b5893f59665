"""What a recording's quality column is made of: loudness, peak, clipping, silence, noise and bandwidth.

All take samples (T, C) and work through them in blocks, so that memory is flat.
"""

import math

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_BLOCK_S = 10

# BS.1770-4: gates, and the weights of channels beside and behind the listener and of the low-frequency channel.
_ABSOLUTE_GATE_LUFS, _RELATIVE_GATE_LU = -70.0, -10.0
_CHANNEL_WEIGHTS = {5: (1, 1, 1, 1.41, 1.41), 6: (1, 1, 1, 0, 1.41, 1.41)}
_SHELF_HZ, _HIGHPASS_HZ = 1681.974450955533, 38.13547087602444

# Keeps the filters from denormal numbers, which in digital silence slow them down twentyfold.
_INAUDIBLE = 1e-20

_BLOCK = 2**20
_FULL_SCALE = 0.99
_ONE_STEP = 2.0**-15
_SILENT_POWER = 1e-6
_QUIETEST_POWER = 1e-10

_FFT = 4096
_LOWEST_HZ = 20.0
_FFTS_AT_ONCE = 64
_BANDWIDTH_DB = -70.0


def integrated_loudness(samples: Samples, sample_rate: int) -> float | None:
    """Returns the gated loudness in LUFS (ITU-R BS.1770-4), or None where no block of 0.4 s is louder than -70 LUFS.

    None too below 4 kHz, where the weighting filter does not exist. Channels are in the order of WAVE files.
    """
    tenths = _weighted_tenths(samples, sample_rate) if sample_rate >= 4000 else np.zeros(0)
    if len(tenths) < 4:
        return None
    power = (tenths[:-3] + tenths[1:-2] + tenths[2:-1] + tenths[3:]) / (0.4 * sample_rate)
    power = power[power >= _power(_ABSOLUTE_GATE_LUFS)]
    if not len(power):
        return None
    power = power[power >= power.mean() * 10 ** (_RELATIVE_GATE_LU / 10)]
    return float(-0.691 + 10 * np.log10(power.mean()))


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


def _weighted_tenths(samples: Samples, sample_rate: int) -> Doubles:
    """Returns the sum over channels of the K-weighted energy of every whole 0.1 s."""
    from scipy.signal import sosfilt

    sections = _k_weighting(sample_rate)
    channels = samples.shape[1]
    state = np.zeros((channels, 2, 2))
    totals = []
    n_tenths = len(samples) * 10 // sample_rate
    for first in range(0, n_tenths, 10 * _BLOCK_S):
        edges = np.arange(first, min(first + 10 * _BLOCK_S, n_tenths) + 1) * sample_rate // 10
        total = np.zeros(len(edges) - 1)
        for c, weight in enumerate(_CHANNEL_WEIGHTS.get(channels, (1,) * channels)):
            wave = samples[edges[0] : edges[-1], c].astype(np.float64) + _INAUDIBLE
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


def peak(samples: Samples) -> float:
    """Returns the largest absolute sample value, 0 where there are no samples."""
    return float(max(samples.max(initial=0), -samples.min(initial=0)))


def clipped_ratio(samples: Samples) -> float:
    """Returns the share of samples in runs of three or more at the file's peak, if that is 0.99 or more, else 0.

    At the peak means within one 16-bit step, which is how far the largest and the smallest value of 16 bits differ.
    """
    level = peak(samples) - _ONE_STEP
    if level < _FULL_SCALE - _ONE_STEP:
        return 0.0
    n_clipped = 0
    for start in range(0, len(samples), _BLOCK):
        first = max(start - 2, 0)
        full = np.abs(samples[first : start + _BLOCK + 2]) >= level
        runs = full[:-2] & full[1:-1] & full[2:]
        clipped = np.zeros_like(full)
        for k in range(3):
            clipped[k : len(full) - 2 + k] |= runs
        n_clipped += int(np.count_nonzero(clipped[start - first : start - first + _BLOCK]))
    return n_clipped / samples.size


def silence_ratio(samples: Samples, sample_rate: int) -> float:
    """Returns the share of frames of 20 ms whose RMS over all channels is below -60 dBFS; 1 where there are none."""
    power = _frame_powers(samples, sample_rate)
    return float((power < _SILENT_POWER).mean()) if len(power) else 1.0


def snr_db(samples: Samples, sample_rate: int) -> float | None:
    """Returns an estimate of the signal-to-noise ratio from -20 to 100 dB, or None for digital silence.

    The powers of frames of 20 ms that are not digital silence tell it: their 10th percentile is taken for the noise,
    what their 95th is above that for the signal. It needs pauses: without any it says how even the music is.
    """
    power = _frame_powers(samples, sample_rate)
    power = power[power > 0]
    if not len(power):
        return None
    noise, loud = np.percentile(power, [10, 95])
    noise = max(noise, _QUIETEST_POWER)
    return float(10 * np.log10(max(loud / noise - 1, 0.01)))


def _frame_powers(samples: Samples, sample_rate: int) -> Doubles:
    """Returns the mean square of every whole frame of 20 ms, or of all samples where they are fewer."""
    length = min(max(sample_rate // 50, 1), max(len(samples), 1))
    frames = samples[: len(samples) // length * length].reshape(-1, length * samples.shape[1])
    energy: Doubles = np.einsum("ft,ft->f", frames, frames).astype(np.float64)
    return energy / frames.shape[1]


def bandwidth_hz(samples: Samples, sample_rate: int) -> float | None:
    """Returns the highest frequency within 70 dB of the strongest one of the long-term spectrum, or None for silence.

    It finds the low-pass of an upsampled or lossily coded file. At 80 dB the rounding noise of 16 bits would count.
    """
    spectrum = _long_term_spectrum(samples)
    hz = np.arange(len(spectrum)) * sample_rate / _FFT
    strongest = spectrum[hz >= _LOWEST_HZ].max()
    return float(hz[spectrum >= strongest * 10 ** (_BANDWIDTH_DB / 10)].max()) if strongest else None


def _long_term_spectrum(samples: Samples) -> Doubles:
    """Returns the power spectrum (2049,) summed over channels and adjacent Hann windows of 4096 samples."""
    from scipy.fft import rfft

    window = np.hanning(_FFT + 1)[:-1].astype(np.float32)
    total = np.zeros(_FFT // 2 + 1)
    for start in range(0, max(len(samples) - _FFT, 0) + 1, _FFTS_AT_ONCE * _FFT):
        block = samples[start : start + _FFTS_AT_ONCE * _FFT]
        block = block[: max(len(block) // _FFT * _FFT, min(len(block), _FFT))]
        block = np.pad(block, ((0, -len(block) % _FFT), (0, 0)))
        for channel in block.T:
            spectrum = rfft(channel.reshape(-1, _FFT) * window)
            total += (spectrum.real**2 + spectrum.imag**2).sum(0, dtype=np.float64)
    return total
