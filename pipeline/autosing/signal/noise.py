"""How much noise a recording has, and how high its sound reaches.

Both take samples (T, C) and work through them in blocks, so that memory is flat.
"""

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

LOWEST_SNR_DB, HIGHEST_SNR_DB = -20.0, 100.0

# The noise is looked for in cells of some 16 Hz and 0.1 s, as many as there are in ten minutes at most.
_WINDOW_S, _CELL_S, _SHORTEST_S, _LONGEST_S = 0.064, 0.1, 0.5, 600.0
_CELLS_AT_ONCE = 32
_BANDS = 128
_QUANTILE = 0.05
_ROUNDS = 6
# Half-overlapping Hann windows are nearly independent: each brings two degrees of freedom, less this much.
_INDEPENDENT = 0.95

_FFT = 4096
_LOWEST_HZ = 20.0
_FFTS_AT_ONCE = 64
_BANDWIDTH_DB = -70.0


def snr_db(samples: Samples, sample_rate: int) -> float | None:
    """Returns the ratio of the mean powers of sound and steady noise, from -20 to 100 dB.

    In each of 128 bands the quietest cells, in pauses and between the harmonics, hold noise alone. Its power follows a
    gamma distribution; what share of the cells is noise alone, and with that the noise's mean, is found by iteration.
    Digital silence is left out. Noise that comes and goes with the sound, as an echo does, is not noise.

    Returns:
        None for digital silence, and below half a second.
    """
    channels = [_cells(samples[:, c], sample_rate) for c in range(samples.shape[1])]
    found = [
        (float(cells.sum(1, dtype=np.float64).mean()), _noise_power(cells, n)) for cells, n in channels if len(cells)
    ]
    if not found:
        return None
    total, noise = np.sum(found, axis=0)
    ratio = max(total / max(noise, total * 1e-12) - 1, 1e-9)
    return float(np.clip(10 * np.log10(ratio), LOWEST_SNR_DB, HIGHEST_SNR_DB))


def _cells(channel: Floats, sample_rate: int) -> tuple[Floats, int]:
    """Returns the power of cells (F, N) that are no digital silence, and how many windows each is the mean of.

    Of a long recording they are evenly spaced; of one that is too short there are none.
    """
    from scipy.fft import rfft

    size = 1 << round(np.log2(_WINDOW_S * sample_rate))
    windows = max(round(_CELL_S * sample_rate / (size // 2)), 1)
    span = size // 2 * (windows + 1)
    n_cells = (len(channel) - size // 2) // (span - size // 2)
    if n_cells < 1 or len(channel) < _SHORTEST_S * sample_rate:
        return np.empty((0, size // 2), np.float32), windows
    wanted = min(n_cells, round(_LONGEST_S / _CELL_S))
    starts = np.linspace(0, n_cells - 1, wanted).astype(int) * (span - size // 2)
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    cells = np.empty((wanted, size // 2), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(channel, size)
    hops = np.arange(windows) * (size // 2)
    for first in range(0, wanted, _CELLS_AT_ONCE):
        some = slice(first, first + _CELLS_AT_ONCE)
        spectrum = rfft(frames[starts[some, None] + hops] * window)[..., 1:]
        cells[some] = (spectrum.real**2 + spectrum.imag**2).mean(1)
    return cells[cells.any(axis=1)], windows


def _noise_power(cells: Floats, windows: int) -> float:
    """Returns the mean power of the noise in cells (F, N), summed over frequencies."""
    from scipy.stats import chi2

    width = max(cells.shape[1] // _BANDS, 1)
    used = cells[:, : cells.shape[1] // width * width]
    bands = np.sort(used.reshape(len(cells), -1, width).transpose(1, 0, 2).reshape(-1, len(cells) * width), axis=1)
    degrees = 2 * _INDEPENDENT * windows
    at = round(_QUANTILE * bands.shape[1])
    quantiles = bands[:, min(at, bands.shape[1] - 1)]
    noisy = np.full(len(bands), 0.5)
    for _ in range(_ROUNDS):
        noise = quantiles * degrees / chi2.ppf(_QUANTILE / np.maximum(noisy, 1.05 * _QUANTILE), degrees)
        below = np.array([band.searchsorted(mean) for band, mean in zip(bands, noise, strict=True)]) / bands.shape[1]
        noisy = np.clip(below / chi2.cdf(degrees, degrees), 1.05 * _QUANTILE, 1)
    return float(noise.sum() * width)


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
