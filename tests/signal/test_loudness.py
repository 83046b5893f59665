"""Loudness, its range and true peaks: the signals of EBU Tech 3341 and 3342, and other implementations."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyloudnorm
import pytest

from autosing.signal.decode import decode
from autosing.signal.loudness import integrated_loudness, loudness_range_lu, true_peak_db

Samples = npt.NDArray[np.float32]


def sine(dbfs: float, sample_rate: int, duration_s: float, hz: float = 1000.0, channels: int = 2) -> Samples:
    t = np.arange(round(duration_s * sample_rate)) / sample_rate
    wave = 10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * t)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def noise(n_samples: int, channels: int = 1) -> Samples:
    return (np.random.default_rng(0).standard_normal((n_samples, channels)) / 10).astype(np.float32)


@pytest.mark.parametrize("sample_rate", [16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("dbfs", [-23.0, -33.0])
def test_a_stereo_sine_has_its_level_in_lufs(sample_rate: int, dbfs: float) -> None:
    """EBU Tech 3341, cases 1 and 2."""
    assert integrated_loudness(sine(dbfs, sample_rate, 5.0), sample_rate) == pytest.approx(dbfs, abs=0.1)


def test_997_hz_of_full_scale_in_one_channel_has_minus_3_lufs() -> None:
    """The calibration of ITU-R BS.1770-4, annex 1."""
    assert integrated_loudness(sine(0.0, 48_000, 5.0, 997.0, channels=1), 48_000) == pytest.approx(-3.01, abs=0.005)


@pytest.mark.parametrize("levels", [(-36.0, -23.0, -36.0), (-72.0, -36.0, -23.0, -36.0, -72.0)])
def test_quiet_passages_are_gated(levels: tuple[float, ...]) -> None:
    """EBU Tech 3341, cases 3 and 4 (at a third of their length)."""
    parts = [sine(dbfs, 48_000, 20.0 if dbfs == -23 else 3.0) for dbfs in levels]
    assert integrated_loudness(np.concatenate(parts), 48_000) == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_loudness_is_pyloudnorms(channels: int) -> None:
    samples = noise(44_100 * 12, channels) * (1 + np.sin(np.arange(44_100 * 12) / 22_050))[:, None].astype(np.float32)
    reference = pyloudnorm.Meter(44_100, filter_class="DeMan").integrated_loudness(samples.astype(np.float64))
    assert integrated_loudness(samples, 44_100) == pytest.approx(reference, abs=1e-3)


def test_silent_and_short_files_have_no_loudness() -> None:
    assert integrated_loudness(np.zeros((48_000, 2), np.float32), 48_000) is None
    assert integrated_loudness(sine(-23.0, 48_000, 0.39), 48_000) is None
    assert integrated_loudness(np.zeros((0, 1), np.float32), 48_000) is None
    assert integrated_loudness(sine(-75.0, 48_000, 1.0), 48_000) is None


@pytest.mark.parametrize(
    ("levels", "range_lu"),
    [((-20, -30), 10), ((-20, -15), 5), ((-40, -20), 20), ((-50, -35, -20, -35, -50), 15)],
)
def test_the_loudness_range_is_that_of_the_signals_of_ebu_tech_3342(levels: tuple[float, ...], range_lu: float) -> None:
    samples = np.concatenate([sine(float(dbfs), 48_000, 20.0) for dbfs in levels])
    assert loudness_range_lu(samples, 48_000) == pytest.approx(range_lu, abs=1)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_loudness_range_is_pyloudnorms(channels: int) -> None:
    swell = 10 ** (np.sin(np.arange(44_100 * 60) / 200_000) - 1)[:, None].astype(np.float32)
    samples = noise(44_100 * 60, channels) * swell
    reference = pyloudnorm.Meter(44_100, filter_class="DeMan").loudness_range(samples.astype(np.float64))
    assert reference > 10
    assert loudness_range_lu(samples, 44_100) == pytest.approx(reference, abs=0.2)


def test_the_loudness_range_of_a_real_song_is_pyloudnorms(shared_data: Path) -> None:
    audio = decode((shared_data / "nc" / "ultrastar" / "coulton_monkey_shines" / "audio.mp3").read_bytes())
    reference = pyloudnorm.Meter(audio.sample_rate, filter_class="DeMan").loudness_range(audio.samples)
    found = loudness_range_lu(audio.samples, audio.sample_rate)
    assert found == pytest.approx(reference, abs=0.4)  # pyloudnorm puts 1.5 s of silence behind the song.


def test_steady_silent_and_short_files_have_no_or_no_wide_range() -> None:
    assert loudness_range_lu(sine(-23.0, 48_000, 10.0), 48_000) == pytest.approx(0, abs=0.01)
    assert loudness_range_lu(sine(-23.0, 48_000, 2.9), 48_000) is None
    assert loudness_range_lu(np.zeros((480_000, 1), np.float32), 48_000) is None
    assert loudness_range_lu(np.zeros((0, 1), np.float32), 48_000) is None


@pytest.mark.parametrize("sample_rate", [16_000, 44_100, 48_000, 96_000])
def test_a_true_peak_lies_between_the_samples(sample_rate: int) -> None:
    """EBU Tech 3341, case 16: a sine of a quarter of the sample rate, sampled off its peaks, here between pauses."""
    phase = np.pi / 4 + np.pi / 2 * np.arange(2 * sample_rate)
    fade = np.minimum(1, np.minimum(np.arange(len(phase)), np.arange(len(phase))[::-1]) / 500)
    wave = (0.5 * fade * np.sin(phase)).astype(np.float32)[:, None]
    assert np.abs(wave).max() == pytest.approx(0.5 * np.sqrt(0.5), abs=1e-4)
    assert true_peak_db(wave, sample_rate) == pytest.approx(-6.02, abs=0.1)


def test_blocks_make_no_peaks_and_a_late_one_is_found() -> None:
    wave = sine(-6.02, 44_100, 25.0, 997.0)
    assert true_peak_db(wave, 44_100) == pytest.approx(-6.02, abs=0.15)  # its abrupt start overshoots a little
    wave[44_100 * 21] = 0.99
    found = true_peak_db(wave, 44_100)
    assert found is not None and -0.5 < found < 1


def test_silence_has_no_true_peak() -> None:
    assert true_peak_db(np.zeros((1000, 2), np.float32), 16_000) is None
    assert true_peak_db(np.zeros((0, 2), np.float32), 16_000) is None
    assert true_peak_db(np.full((1, 1), 0.5, np.float32), 16_000) is not None
