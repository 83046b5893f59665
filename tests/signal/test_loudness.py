"""Loudness, clipping, silence, noise and bandwidth of signals whose values can be computed by hand."""

import numpy as np
import numpy.typing as npt
import pyloudnorm
import pytest

from autosing.signal.loudness import bandwidth_hz, clipped_ratio, integrated_loudness, peak, silence_ratio, snr_db
from autosing.signal.resample import resample

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


def test_peak_is_the_largest_absolute_value() -> None:
    assert peak(np.array([[0.25, -1.5], [0.5, 1.0]], np.float32)) == 1.5
    assert peak(np.zeros((0, 2), np.float32)) == 0.0


def test_runs_of_three_at_the_peak_are_clipped() -> None:
    full = 32767 / 32768
    wave = np.array([0, full, full, 0, -1, -1, -1, -1, 0, full, full, full], np.float32)
    assert clipped_ratio(wave[:, None]) == 7 / 12
    assert clipped_ratio(0.98 * wave[:, None]) == 0.0
    assert clipped_ratio(np.zeros((0, 1), np.float32)) == 0.0


def test_clipping_across_the_border_of_blocks_is_counted_once() -> None:
    samples = np.zeros((2**20 + 10, 1), np.float32)
    samples[2**20 - 2 : 2**20 + 1] = 1.0
    assert clipped_ratio(samples) * samples.size == pytest.approx(3)


def test_a_sine_of_full_scale_is_not_clipped_but_a_louder_one_is() -> None:
    loud = sine(0.0, 44_100, 1.0, 440.0)
    assert clipped_ratio(loud) == 0.0
    assert clipped_ratio(np.clip(2 * loud, -1, 1)) == pytest.approx(2 / 3, abs=0.01)  # |sin| > 1/2


def test_silence_is_the_share_of_quiet_frames() -> None:
    samples = np.concatenate(
        [sine(-20.0, 16_000, 1.0), sine(-58.0, 16_000, 3.0)]
    )  # a sine's RMS is 3 dB below its peak
    assert silence_ratio(samples, 16_000) == pytest.approx(0.75)
    assert silence_ratio(samples[:0], 16_000) == 1.0


@pytest.mark.parametrize("true_db", [10.0, 30.0, 50.0])
def test_snr_is_that_of_a_voice_with_pauses_in_noise(true_db: float) -> None:
    voice = sine(-10.0, 16_000, 8.0, 200.0, channels=1)
    voice[: 16_000 * 3] = 0
    hiss = noise(len(voice)) * np.float32(10 * 10 ** ((-13.01 - true_db) / 20))
    assert snr_db(voice + hiss, 16_000) == pytest.approx(true_db, abs=1.5)


def test_digital_silence_has_no_snr_and_does_not_count_as_a_pause() -> None:
    assert snr_db(np.zeros((16_000, 1), np.float32), 16_000) is None
    recording = np.concatenate([sine(-10.0, 16_000, 2.0, 200.0, 1), np.zeros((16_000, 1), np.float32)])
    hiss = noise(len(recording)) * (np.abs(recording) > 0)
    quiet_file = recording + np.float32(0.01) * hiss
    assert snr_db(quiet_file, 16_000) == snr_db(quiet_file[: 2 * 16_000], 16_000)


def test_bandwidth_finds_the_low_pass_of_an_upsampled_file() -> None:
    wave = resample(noise(16_000 * 4)[:, 0], 16_000, 44_100)
    rounded = (np.round(wave * 2**15) / 2**15).astype(np.float32)
    assert bandwidth_hz(rounded[:, None], 44_100) == pytest.approx(7_900, abs=150)
    assert bandwidth_hz(noise(44_100), 44_100) == pytest.approx(22_050, abs=20)


def test_bandwidth_of_a_sine_is_its_frequency_and_an_offset_is_not_heard() -> None:
    assert bandwidth_hz(sine(-6.0, 44_100, 2.0, 3000.0) + np.float32(0.5), 44_100) == pytest.approx(3000, abs=150)
    assert bandwidth_hz(np.zeros((44_100, 2), np.float32), 44_100) is None
    assert bandwidth_hz(noise(100), 44_100) is not None
