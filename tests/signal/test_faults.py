"""Clipping, silence, offsets and phase of signals whose values can be computed by hand."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from autosing.signal.decode import decode, encode
from autosing.signal.faults import Clipping, clipping, dc_offset, peak, silence_ratio, stereo, top_range_db

Samples = npt.NDArray[np.float32]


def sine(dbfs: float, sample_rate: int, duration_s: float, hz: float = 1000.0, channels: int = 2) -> Samples:
    wave = 10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * np.arange(round(duration_s * sample_rate)) / sample_rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def noise(n_samples: int, channels: int = 1, seed: int = 0) -> Samples:
    return (np.random.default_rng(seed).standard_normal((n_samples, channels)) / 10).astype(np.float32)


def test_peak_is_the_largest_absolute_value() -> None:
    assert peak(np.array([[0.25, -1.5], [0.5, 1.0]], np.float32)) == 1.5
    assert peak(np.zeros((0, 2), np.float32)) == 0.0


def test_runs_of_three_at_the_peak_are_clipped() -> None:
    full = 32767 / 32768
    wave = np.array([0, full, full, 0, -1, -1, -1, -1, 0, full, full, full], np.float32)
    assert clipping(wave[:, None]) == Clipping(7 / 12, 2)
    assert clipping(0.98 * wave[:, None]) == Clipping(0.0, 0)
    assert clipping(np.zeros((0, 1), np.float32)) == Clipping(0.0, 0)
    assert clipping(np.stack([wave, wave[::-1]], axis=1)) == Clipping(14 / 24, 4)


@pytest.mark.parametrize("first", range(-6, 3))
def test_clipping_across_the_border_of_blocks_is_counted_once(first: int) -> None:
    samples = np.zeros((2**20 + 10, 1), np.float32)
    samples[2**20 + first : 2**20 + first + 4] = 1.0
    found = clipping(samples)
    assert (found.ratio * samples.size, found.runs) == (pytest.approx(4), 1)


def test_a_sine_of_full_scale_is_not_clipped_but_a_louder_one_is() -> None:
    loud = sine(0.0, 44_100, 1.0, 440.0)
    assert clipping(loud) == Clipping(0.0, 0)
    found = clipping(np.clip(2 * loud, -1, 1))
    assert found.ratio == pytest.approx(2 / 3, abs=0.01)  # |sin| > 1/2
    assert found.runs == 2 * 880  # two tops a period, two channels


def test_the_top_of_noise_is_wide_and_that_of_clipped_noise_is_not() -> None:
    wave = noise(200_000)
    reference = 20 * np.log10(np.divide(*np.quantile(np.abs(wave), [0.9999, 0.999])))
    found = top_range_db(wave)
    assert found == pytest.approx(reference, abs=0.05) and found is not None and found > 1
    clipped = np.clip(wave, -0.2, 0.2)
    assert top_range_db(clipped) == pytest.approx(0, abs=1e-3)
    assert top_range_db(0.01 * clipped) == pytest.approx(0, abs=1e-3)
    assert top_range_db(np.concatenate([wave, np.zeros_like(wave)])) == pytest.approx(found, abs=1e-6)
    assert top_range_db(np.zeros((100, 1), np.float32)) is None
    assert top_range_db(np.zeros((0, 1), np.float32)) is None


def test_clipped_singing_is_told_after_it_was_turned_down_and_coded(shared_data: Path) -> None:
    singer = shared_data / "nc" / "gtsinger" / "EN-Alto-1" / "EN-Alto-1_00_control.flac"
    audio = decode(singer.read_bytes())
    wave = audio.samples / peak(audio.samples)
    found = top_range_db(wave)
    assert found is not None and found > 0.7
    clipped = (0.5 * np.clip(2 * wave, -1, 1)).astype(np.float32)
    coded = decode(encode(clipped, audio.sample_rate, "MP3")).samples
    for damaged in (clipped, coded):
        assert clipping(damaged).runs == 0
        told = top_range_db(damaged)
        assert told is not None and told < 0.5


def test_the_offset_is_that_of_the_worst_channel() -> None:
    samples = sine(-6.0, 16_000, 1.0) + np.array([0.02, -0.05], np.float32)
    assert dc_offset(samples) == pytest.approx(-0.05, abs=1e-6)
    assert dc_offset(np.zeros((0, 2), np.float32)) == 0.0


def test_channels_are_the_same_unrelated_or_opposite() -> None:
    one, other = noise(50_000, seed=1), noise(50_000, seed=2)
    for channels, correlation, opposite in (
        ([one, 0.3 * one], 1, False),
        ([one, other], 0, False),
        ([one, -one], -1, True),
        ([one, -0.9 * one], -1, True),
        ([one, -0.05 * one], -1, False),  # Their mean is next to the louder one.
        ([one, one + other], np.sqrt(0.5), False),
    ):
        found = stereo(np.concatenate(channels, axis=1))
        assert found.correlation == pytest.approx(correlation, abs=0.02)
        assert found.opposite == opposite


def test_one_channel_and_silence_have_no_correlation() -> None:
    one = noise(1000)
    for samples in (one, np.concatenate([one, 0 * one], axis=1), np.zeros((0, 2), np.float32)):
        found = stereo(samples)
        assert found.correlation is None and not found.opposite


def test_silence_is_the_share_of_quiet_frames() -> None:
    # A sine's RMS is 3 dB below its peak.
    samples = np.concatenate([sine(-20.0, 16_000, 1.0), sine(-58.0, 16_000, 3.0)])
    assert silence_ratio(samples, 16_000) == pytest.approx(0.75)
    assert silence_ratio(samples[:0], 16_000) == 1.0


def test_a_float_file_beyond_full_scale_is_measured_as_it_is() -> None:
    file = io.BytesIO()
    soundfile.write(file, 3 * sine(0.0, 16_000, 0.5), 16_000, subtype="FLOAT", format="WAV")
    samples = decode(file.getvalue()).samples
    assert peak(samples) == pytest.approx(3, abs=0.01) and clipping(samples).runs == 0
