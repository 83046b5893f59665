"""SI-SDR of mixtures made to have one; PESQ and STOI where they are installed."""

import math

import numpy as np
import pytest

from autosing.signal.errors import UsageError
from autosing.training.metrics import pesq, si_sdr, stoi
from autosing.training.metrics.waveform import optional_package

RNG = np.random.default_rng(0)
HZ = 16_000


def voice(seconds: float = 2.0, sample_rate: int = HZ) -> np.ndarray:
    """Returns a harmonic tone whose loudness goes up and down four times a second, as that of speech does."""
    t = np.arange(int(seconds * sample_rate)) / sample_rate
    return sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 12)) * np.sin(np.pi * 4 * t) ** 2 / 4


@pytest.mark.parametrize("ratio_db", [-10.0, 0.0, 20.0])
def test_orthogonal_noise_has_the_ratio_that_it_was_mixed_at(ratio_db: float) -> None:
    target, noise = RNG.standard_normal((2, 1000))
    target -= target.mean()
    noise -= noise.mean()
    noise -= (noise @ target) / (target @ target) * target
    noise *= np.linalg.norm(target) / np.linalg.norm(noise) * 10 ** (-ratio_db / 20)
    assert si_sdr(target + noise, target) == pytest.approx(ratio_db)
    assert si_sdr(-5 * (target + noise) + 0.7, target) == pytest.approx(ratio_db)


def test_the_ratio_is_that_of_torchmetrics() -> None:
    target, noise = np.cumsum(np.random.default_rng(1).standard_normal((2, 500)), axis=1)
    # From torchmetrics 1.9.0: scale_invariant_signal_noise_ratio of the float64 tensors.
    assert si_sdr(target + 0.1 * noise, target) == pytest.approx(26.561318379868926)


def test_a_perfect_prediction_a_silent_one_and_a_silent_target() -> None:
    target = RNG.standard_normal(100)
    assert si_sdr(target, target) > 200
    assert si_sdr(np.zeros(100), target) == -math.inf
    assert math.isnan(si_sdr(target, np.full(100, 0.25)))
    assert math.isnan(si_sdr(np.ones(1), np.ones(1)))


@pytest.mark.parametrize("metric", [si_sdr, lambda p, t: stoi(p, t, HZ)])
def test_two_lengths_and_no_sample_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match=r"shape \(3,\) cannot be compared with a target of shape \(4,\)"):
        metric(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="are empty"):
        metric(np.zeros(0), np.zeros(0))


def test_a_missing_package_is_named_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"PESQ needs the package no_such_package.*pip install no_such_package"):
        optional_package("no_such_package", "PESQ")


def test_stoi_falls_with_noise_and_not_with_gain_or_sample_rate() -> None:
    target, noise = voice(), RNG.standard_normal(2 * HZ)
    assert stoi(target, target, HZ) == pytest.approx(1.0)
    assert stoi(3 * target, target, HZ) == pytest.approx(1.0)
    clear, unclear = (stoi(target + level * noise, target, HZ) for level in (0.02, 0.5))
    assert unclear < clear - 0.1 < 1
    assert stoi(voice(2, 24_000), voice(2, 24_000), 24_000) == pytest.approx(1.0)
    assert stoi(target + 0.02 * noise, target, HZ, extended=True) < clear


def test_too_little_sound_has_no_stoi() -> None:
    target = voice()
    burst = np.where(np.arange(len(target)) < 2000, target, 0)
    for wave in (target[:1000], burst, np.zeros(2 * HZ)):
        assert math.isnan(stoi(wave, wave, HZ))
    assert stoi(np.zeros(2 * HZ), target, HZ) == 0
    assert math.isnan(stoi(target, burst, HZ))
    assert stoi(burst, target, HZ) < 0.5


def test_pesq_falls_with_noise_and_has_its_bounds() -> None:
    pytest.importorskip("pesq")
    target = voice(2, 24_000)
    noise = RNG.standard_normal(len(target))
    assert pesq(target, target, 24_000) == pytest.approx(4.64, abs=0.01)
    clear, unclear = (pesq(target + level * noise, target, 24_000) for level in (0.002, 0.1))
    assert 0.999 < unclear < clear < 4.64
    assert pesq(np.zeros(len(target)), target, 24_000) == 0.999


def test_pesq_is_wide_band_with_the_target_for_reference() -> None:
    package = pytest.importorskip("pesq")
    target = voice()
    predicted = target + 0.05 * RNG.standard_normal(len(target))
    arguments = [wave.astype(np.float32) for wave in (target, predicted)]
    assert pesq(predicted, target, HZ) == pytest.approx(package.pesq(HZ, *arguments, "wb"))
    assert pesq(predicted, target, HZ) != pytest.approx(pesq(target, predicted, HZ))


def test_too_little_sound_has_no_pesq() -> None:
    pytest.importorskip("pesq")
    burst = np.where(np.arange(HZ) < 500, voice(1), 0)
    for target in (np.zeros(HZ), voice(0.2), burst):
        assert math.isnan(pesq(target, target, HZ))
