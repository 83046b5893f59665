"""How far the short-time spectra of two waves are from each other.

Spectra are of Hann windows at every hop, centred, with the wave mirrored at its ends. Powers below 1e-7, the floor of
Parallel WaveGAN, count as 1e-7: silence is compared as if it were that loud, and nothing is infinite.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.training.metrics.shapes import paired_waves

Wave = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Resolution = tuple[int, int, int]

# Length of the FFT, hop and window in samples (Yamamoto et al., 2020, for 24 kHz).
RESOLUTIONS: tuple[Resolution, ...] = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))

POWER_FLOOR = 1e-7
# Frames transformed at once, so that memory is flat.
_BLOCK_FRAMES = 1024


@dataclass(frozen=True)
class StftDistance:
    """How far spectra are from the target's, as means over several resolutions.

    Attributes:
        spectral_convergence: norm of the difference of the magnitudes divided by the norm of the target's.
        log_magnitude: mean absolute difference of the log magnitudes, in nats.
    """

    spectral_convergence: float
    log_magnitude: float

    @property
    def total(self) -> float:
        """The sum of both: the auxiliary loss of Parallel WaveGAN."""
        return self.spectral_convergence + self.log_magnitude


def multi_resolution_stft(
    predicted: Wave, target: Wave, resolutions: Sequence[Resolution] = RESOLUTIONS
) -> StftDistance:
    """Returns the multi-resolution STFT distance of two waves (T,) (Yamamoto et al., 2020, equations 4 to 7).

    Args:
        predicted: (T,).
        target: (T,).
        resolutions: lengths of FFT, hop and window, in samples.

    Raises:
        ValueError: the waves have two lengths, or no sample.
    """
    waves = paired_waves(predicted, target)
    distances = [_stft_distance(*waves, resolution) for resolution in resolutions]
    convergence, log_magnitude = np.mean(distances, axis=0)
    return StftDistance(float(convergence), float(log_magnitude))


def log_spectral_distance(predicted: Wave, target: Wave, n_fft: int = 2048, hop: int = 512) -> float:
    """Returns the log-spectral distance of two waves (T,) in dB: over frames, the mean RMS difference of the spectrum.

    The RMS is over the bins of one frame and of 10 log10 of the power (Gray and Markel, 1976).

    Raises:
        ValueError: the waves have two lengths, or no sample.
    """
    predicted, target = paired_waves(predicted, target)
    powers = zip(_powers(predicted, (n_fft, hop, n_fft)), _powers(target, (n_fft, hop, n_fft)), strict=True)
    frames = [np.sqrt(np.mean(np.square(10 * np.log10(p / t)), axis=1)) for p, t in powers]
    return float(np.concatenate(frames).mean())


def _stft_distance(predicted: Doubles, target: Doubles, resolution: Resolution) -> tuple[float, float]:
    difference = norm = log_difference = 0.0
    count = 0
    for p, t in zip(_powers(predicted, resolution), _powers(target, resolution), strict=True):
        difference += float(np.square(np.sqrt(p) - np.sqrt(t)).sum())
        norm += float(t.sum())
        log_difference += float(np.abs(np.log(p / t)).sum() / 2)
        count += t.size
    return float(np.sqrt(difference / norm)), log_difference / count


def _powers(wave: Doubles, resolution: Resolution) -> Iterator[Doubles]:
    """Yields the power spectra (F, N) of blocks of frames, not below the floor."""
    n_fft, hop, win = resolution
    window = np.zeros(n_fft)
    before = (n_fft - win) // 2
    window[before : before + win] = np.hanning(win + 1)[:-1]
    padded = np.pad(wave, n_fft // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    for start in range(0, len(frames), _BLOCK_FRAMES):
        spectrum = np.fft.rfft(frames[start : start + _BLOCK_FRAMES] * window)
        yield np.maximum(spectrum.real**2 + spectrum.imag**2, POWER_FLOOR)
