"""Energy is the RMS of 20 ms about each frame's centre."""

from fractions import Fraction

import numpy as np
import pytest

from autosing.signal.energy import energy
from autosing.signal.framing import frames


def test_a_constant_has_its_own_energy_up_to_the_ends() -> None:
    assert np.array_equal(energy(np.full(16_000, -0.25, np.float32), 16_000, 100), np.full(100, 0.25, np.float32))


def test_a_sine_of_whole_periods_has_its_effective_value() -> None:
    sine = np.sin(2 * np.pi * 100 * np.arange(48_000) / 48_000).astype(np.float32)
    assert np.allclose(energy(sine, 48_000, 100)[1:-1], np.sqrt(0.5), atol=1e-6)


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 1_234])
def test_a_frame_counts_the_samples_of_its_20_ms(sample_rate: int) -> None:
    wave = np.random.default_rng(0).standard_normal(sample_rate // 16 + 3).astype(np.float32)
    n_frames = frames(len(wave), sample_rate, Fraction(100))
    times_s = [Fraction(t, sample_rate) for t in range(len(wave))]
    for i, value in enumerate(energy(wave, sample_rate, n_frames)):
        inside = [
            w for w, t in zip(wave, times_s, strict=True) if Fraction(2 * i - 1, 200) <= t < Fraction(2 * i + 3, 200)
        ]
        assert value == pytest.approx(np.sqrt(np.mean(np.square(inside, dtype=np.float64))), rel=1e-6)


def test_a_part_has_the_energy_that_it_has_in_the_whole() -> None:
    wave = np.random.default_rng(0).standard_normal(441 * 4000).astype(np.float32)
    whole = energy(wave, 44_100, 4000)
    part = energy(wave[441 * 777 : 441 * 3500], 44_100, 3500 - 777)
    assert np.array_equal(part[1:-1], whole[778:3499])


def test_loud_music_far_away_does_not_disturb_quiet_frames() -> None:
    wave = np.full(160_000, 1e-6, np.float32)
    quiet = energy(wave, 16_000, 1000)
    wave[:8_000] = 1e3
    assert np.array_equal(energy(wave, 16_000, 1000)[60:], quiet[60:])


@pytest.mark.parametrize("n_samples", [0, 1, 2])
def test_frames_without_samples_have_no_energy(n_samples: int) -> None:
    expected = [1.0 if n_samples else 0.0, 0.0, 0.0]
    assert energy(np.ones(n_samples, np.float32), 16_000, 3).tolist() == expected
