"""Known noise is taken off a known voice, a clean one is left as it is."""

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from autosing.signal.decode import decode, to_mono
from autosing.signal.denoise import Denoising, denoised
from autosing.signal.errors import UsageError
from autosing.signal.resample import resample
from autosing.signal.singer import song
from autosing.signal.voice import voices
from autosing.training.metrics.waveform import si_sdr

HZ = 24_000
Wave = npt.NDArray[np.float32]


@cache
def voice() -> Wave:
    return song(5, voices(4)[1], 15.0).wave


def noise(kind: str, n_samples: int) -> Wave:
    """Returns white or pink noise, or mains hum with five harmonics, (T,) at unit power."""
    if kind == "hum":
        times_s = np.arange(n_samples) / HZ
        wave = np.sum([np.sin(2 * np.pi * 50 * k * times_s + k) / k for k in range(1, 7)], axis=0)
    else:
        spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(n_samples))
        wave = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** (0.5 if kind == "pink" else 0), n_samples)
    return (wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


def noisy(wave: Wave, kind: str, snr_db: float) -> Wave:
    level = np.sqrt(np.mean(wave**2)) * 10 ** (-snr_db / 20)
    return (wave + level * noise(kind, len(wave))).astype(np.float32)


def cleaned(wave: Wave, block: int = 100_000, stretch: int = 512, **settings: float) -> Wave:
    blocks = [wave[start : start + block, None] for start in range(0, len(wave), block)]
    return np.concatenate(list(denoised(blocks, HZ, Denoising(**settings), stretch)))[:, 0]


@pytest.mark.parametrize(("kind", "least_db"), [("white", 5), ("pink", 4), ("hum", 8)])
def test_known_noise_is_lowered(kind: str, least_db: float) -> None:
    wave = noisy(voice(), kind, 10)
    found = cleaned(wave)
    assert found.shape == wave.shape and found.dtype == np.float32
    assert si_sdr(found, voice()) > si_sdr(wave, voice()) + least_db


def test_more_reduction_lowers_pure_noise_further() -> None:
    wave = 0.1 * noise("white", 10 * HZ)
    levels = [np.sqrt(np.mean(cleaned(wave, reduction_db=db)[HZ:] ** 2)) for db in (6.0, 20.0)]
    assert 0.5 < levels[0] / 0.1 < 0.75 and 0.1 < levels[1] / 0.1 < 0.4


def test_a_clean_voice_hardly_changes() -> None:
    assert si_sdr(cleaned(voice()), voice()) > 20


def test_real_voices_hardly_change(shared_data: Path) -> None:
    for path in sorted(shared_data.glob("pjs/pjs00[13]/*_song.flac")):
        audio = decode(path.read_bytes())
        wave = resample(to_mono(audio.samples), audio.sample_rate, HZ)[: 15 * HZ]
        assert si_sdr(cleaned(wave), wave) > 20, path.name


def test_where_blocks_and_stretches_begin_does_not_show() -> None:
    wave = noisy(voice(), "pink", 10)
    whole = cleaned(wave, len(wave), 10_000)
    assert np.abs(cleaned(wave, 1_001, 7) - whole).max() < 1e-5
    assert np.abs(cleaned(wave, 50_000, 100, reach_s=0.1) - cleaned(wave, len(wave), 9_999, reach_s=0.1)).max() < 1e-5


@pytest.mark.parametrize("n_samples", [1, 7_200])
@pytest.mark.parametrize("level", [0.0, 0.1])
def test_short_and_silent_recordings_have_an_outcome(n_samples: int, level: float) -> None:
    wave = (level * noise("white", n_samples + 1)[:n_samples]).astype(np.float32)
    found = cleaned(wave)
    assert found.shape == wave.shape and np.isfinite(found).all()
    assert found.any() == (level > 0)


def test_channels_are_cleaned_by_themselves() -> None:
    wave = np.stack([voice(), noisy(voice(), "white", 10)], axis=1)
    found = np.concatenate(list(denoised([wave], HZ, Denoising())))
    assert np.allclose(found[:, 0], cleaned(voice()), atol=1e-5) and np.allclose(
        found[:, 1], cleaned(wave[:, 1]), atol=1e-5
    )


@pytest.mark.parametrize("settings", [{"reduction_db": 0}, {"reach_s": -1}, {"steadiness": 1}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="denoise"):
        Denoising(**settings)
