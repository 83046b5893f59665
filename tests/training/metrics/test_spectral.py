"""STFT distances against torch.stft and against gains, whose distance is known."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from autosing.training.metrics import log_spectral_distance, multi_resolution_stft
from autosing.training.metrics.spectral import RESOLUTIONS

RNG = np.random.default_rng(0)
TARGET = RNG.standard_normal(9000)
PREDICTED = TARGET + 0.3 * RNG.standard_normal(9000)
Wave = npt.NDArray[np.float64]


def magnitude(wave: Wave, n_fft: int, hop: int, win: int) -> torch.Tensor:
    """Returns the magnitudes as Parallel WaveGAN computes them."""
    window = torch.hann_window(win, dtype=torch.float64)
    spectrum = torch.stft(torch.from_numpy(wave), n_fft, hop, win, window, return_complex=True)
    return torch.sqrt(torch.clamp(spectrum.real**2 + spectrum.imag**2, min=1e-7))


def test_the_stft_distance_is_the_papers() -> None:
    convergence, log_magnitude = [], []
    for resolution in RESOLUTIONS:
        p, t = magnitude(PREDICTED, *resolution), magnitude(TARGET, *resolution)
        convergence.append(float(torch.linalg.norm(t - p) / torch.linalg.norm(t)))
        log_magnitude.append(float((t.log() - p.log()).abs().mean()))
    found = multi_resolution_stft(PREDICTED, TARGET)
    assert found.spectral_convergence == pytest.approx(np.mean(convergence), rel=1e-9)
    assert found.log_magnitude == pytest.approx(np.mean(log_magnitude), rel=1e-9)
    assert found.total == found.spectral_convergence + found.log_magnitude


def test_twice_as_loud_is_a_log_magnitude_of_ln_2_and_a_convergence_of_1() -> None:
    found = multi_resolution_stft(2 * TARGET, TARGET)
    assert found.log_magnitude == pytest.approx(math.log(2), rel=1e-9)
    assert found.spectral_convergence == pytest.approx(1.0, rel=1e-9)


def test_the_log_spectral_distance_of_a_gain_is_the_gain_in_db() -> None:
    assert log_spectral_distance(TARGET * 10 ** (-6 / 20), TARGET) == pytest.approx(6.0, rel=1e-9)


def test_the_log_spectral_distance_is_rms_over_bins_and_mean_over_frames() -> None:
    p, t = magnitude(PREDICTED, 2048, 512, 2048), magnitude(TARGET, 2048, 512, 2048)
    expected = (20 * (p / t).log10()).square().mean(0).sqrt().mean()
    assert log_spectral_distance(PREDICTED, TARGET) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("length", [1, 100, 9000])
def test_silence_and_short_waves_have_finite_distances(length: int) -> None:
    silence, sound = np.zeros(length), np.ones(length)
    assert multi_resolution_stft(silence, silence).total == 0
    assert log_spectral_distance(silence, silence) == 0
    assert math.isfinite(multi_resolution_stft(sound, silence).total)
    assert math.isfinite(log_spectral_distance(silence, sound))


@pytest.mark.parametrize("metric", [multi_resolution_stft, log_spectral_distance])
def test_two_lengths_no_sample_and_channels_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match=r"shape \(3,\) cannot be compared with a target of shape \(4,\)"):
        metric(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="are empty"):
        metric(np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="must be mono"):
        metric(np.zeros((3, 2)), np.zeros((3, 2)))
