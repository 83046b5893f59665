"""Noise and bandwidth: known noise on known voices, and low-passes at known frequencies."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import firwin, lfilter, oaconvolve

from autosing.signal.decode import decode
from autosing.signal.noise import bandwidth_hz, snr_db
from autosing.signal.resample import resample
from autosing.signal.singer import song
from autosing.signal.voice import voices

Samples = npt.NDArray[np.float32]


def white(n_samples: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal(n_samples)


def pink(n_samples: int) -> npt.NDArray[np.float64]:
    """Returns noise of about 3 dB less per octave (Paul Kellet's filter)."""
    numerator = [0.049922035, -0.095993537, 0.050612699, -0.004408786]
    coloured: npt.NDArray[np.float64] = lfilter(
        numerator, [1, -2.494956002, 2.017265875, -0.522189400], white(n_samples)
    )
    return coloured


def with_noise(voice: Samples, noise: npt.NDArray[np.float64], ratio_db: float) -> Samples:
    """Returns a voice (T,) with noise this far below its mean power, (T, 1)."""
    powers = np.mean(np.square(voice, dtype=np.float64)), np.mean(np.square(noise))
    gain = np.sqrt(powers[0] / powers[1] / 10 ** (ratio_db / 10))
    return (voice + gain * noise).astype(np.float32)[:, None]


@pytest.mark.parametrize(("ratio_db", "within_db"), [(0.0, 2.5), (10.0, 1.5), (20.0, 1.5), (30.0, 2.0)])
def test_the_ratio_is_that_of_a_synthetic_voice_and_noise(ratio_db: float, within_db: float) -> None:
    voice = song(0, voices(1)[0], 15.0).wave
    for noise in (white(len(voice)), pink(len(voice))):
        assert snr_db(with_noise(voice, noise, ratio_db), 24_000) == pytest.approx(ratio_db, abs=within_db)


@pytest.mark.parametrize(("ratio_db", "within_db"), [(0.0, 2.5), (10.0, 1.5), (20.0, 1.5), (30.0, 2.0)])
def test_the_ratio_is_that_of_a_real_voice_and_noise(ratio_db: float, within_db: float, shared_data: Path) -> None:
    for name in ("EN-Alto-2/EN-Alto-2_03_control.flac", "ZH-Tenor-1/ZH-Tenor-1_00_control.flac"):
        audio = decode((shared_data / "nc" / "gtsinger" / name).read_bytes())
        voice = audio.samples[:, 0]
        noisy = with_noise(voice, white(len(voice)), ratio_db)
        assert snr_db(noisy, audio.sample_rate) == pytest.approx(ratio_db, abs=within_db)


def test_a_gain_channels_and_digital_silence_change_nothing() -> None:
    voice = song(0, voices(1)[0], 8.0).wave
    noisy = with_noise(voice, white(len(voice)), 20.0)
    found = snr_db(noisy, 24_000)
    silence = np.zeros((24_000 * 5, 1), np.float32)
    for other in (0.01 * noisy, np.repeat(noisy, 2, axis=1), np.concatenate([noisy, silence])):
        assert snr_db(other, 24_000) == pytest.approx(found, abs=0.2)


def test_a_long_recording_is_sampled_evenly() -> None:
    voice = np.tile(song(0, voices(1)[0], 20.0, sample_rate=8000).wave, 40)
    assert snr_db(with_noise(voice, white(len(voice)), 20.0), 8000) == pytest.approx(20, abs=1.5)


def test_silence_and_what_is_shorter_than_half_a_second_have_no_ratio() -> None:
    for n_samples, scale in ((16_000, 0), (0, 1), (1, 1), (7_000, 1)):
        assert snr_db(scale * white(n_samples)[:, None].astype(np.float32), 16_000) is None
    found = snr_db(0.1 * white(16_000)[:, None].astype(np.float32), 16_000)
    assert found is not None and found < -5


def test_bandwidth_finds_the_low_pass_of_an_upsampled_file() -> None:
    wave = resample(0.1 * white(16_000 * 4).astype(np.float32), 16_000, 44_100)
    rounded = (np.round(wave * 2**15) / 2**15).astype(np.float32)
    assert bandwidth_hz(rounded[:, None], 44_100) == pytest.approx(7_900, abs=150)
    assert bandwidth_hz(0.1 * white(44_100)[:, None].astype(np.float32), 44_100) == pytest.approx(22_050, abs=20)


@pytest.mark.parametrize("cut_hz", [4_000, 8_000, 11_000, 16_000])
@pytest.mark.parametrize("name", ["nc/gtsinger/EN-Alto-2/EN-Alto-2_03_control.flac", "pjs/pjs001/pjs001_song.flac"])
def test_bandwidth_finds_the_low_pass_of_real_singing(cut_hz: int, name: str, shared_data: Path) -> None:
    audio = decode((shared_data / name).read_bytes())
    low_pass = firwin(1001, cut_hz, fs=audio.sample_rate, window=("kaiser", 10))
    dull = oaconvolve(audio.samples[:, 0], low_pass, "same")
    rounded = (np.round(dull * 2**15) / 2**15).astype(np.float32)
    assert bandwidth_hz(rounded[:, None], audio.sample_rate) == pytest.approx(cut_hz, abs=150)
    whole = bandwidth_hz(audio.samples, audio.sample_rate)
    assert whole is not None and whole > 20_000


def test_bandwidth_of_a_sine_is_its_frequency_and_an_offset_is_not_heard() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 3000 * np.arange(88_200) / 44_100)[:, None].astype(np.float32)
    assert bandwidth_hz(tone + np.float32(0.5), 44_100) == pytest.approx(3000, abs=150)
    assert bandwidth_hz(np.zeros((44_100, 2), np.float32), 44_100) is None
    assert bandwidth_hz(white(100)[:, None].astype(np.float32), 44_100) is not None
