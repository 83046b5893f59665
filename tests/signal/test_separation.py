"""The weight-free separator: better than the mix on songs whose voice is known, the same wherever windows fall."""

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from autosing.signal.decode import decode, to_mono
from autosing.signal.errors import UsageError
from autosing.signal.resample import resample
from autosing.signal.score import accompaniment
from autosing.signal.separation import Center, separate_center
from autosing.signal.singer import balance, song
from autosing.signal.voice import voices
from autosing.training.metrics.waveform import si_sdr

HZ = 24_000
Samples = npt.NDArray[np.float32]


@cache
def parts(seed: int = 1, seconds: float = 20.0) -> tuple[Samples, Samples, Samples]:
    """Returns a voice and two accompaniments (T,), each as loud as the voice."""
    made = song(seed, voices(4)[seed % 4], seconds)
    left, right = (accompaniment(made.score, HZ, seed + k) for k in (0, 100))
    return made.wave, balance(made.wave, left, 0)[1], balance(made.wave, right, 0)[1]


def separated(mix: Samples, block: int = 50_000, stretch: int = 512, **settings: float) -> Samples:
    blocks = [mix[start : start + block] for start in range(0, len(mix), block)]
    return np.concatenate(list(separate_center(blocks, HZ, Center(**settings), stretch)))  # type: ignore[arg-type]


def gain_db(mix: Samples, voice: Samples) -> float:
    """Returns the improvement of SI-SDR, of the means of the channels."""
    found = separated(mix)
    assert found.shape == mix.shape and found.dtype == np.float32
    return si_sdr(found.mean(axis=1), voice) - si_sdr(mix.mean(axis=1), voice)


def stereo(voice: Samples, left: Samples, right: Samples) -> Samples:
    """Returns a mix with the voice in its centre and the instruments on its sides."""
    return np.stack([voice + 0.9 * left + 0.3 * right, voice + 0.3 * left + 0.9 * right], axis=1).astype(np.float32)


def test_a_voice_in_the_centre_of_a_stereo_mix_is_cleaner_than_the_mix() -> None:
    voice, left, right = parts()
    assert gain_db(stereo(voice, left, right), voice) > 4


def test_a_voice_over_a_repeating_mono_accompaniment_is_cleaner_than_the_mix() -> None:
    voice, left, _ = parts()
    assert gain_db((voice + left)[:, None], voice) > 2


def test_a_real_voice_over_real_music_is_cleaner_than_the_mix(shared_data: Path) -> None:
    music = decode((shared_data / "nc/ultrastar/pornophonique_space_invaders/instrumental.mp3").read_bytes())
    sung = decode((shared_data / "pjs/pjs001/pjs001_song.flac").read_bytes())
    voice = resample(to_mono(sung.samples), sung.sample_rate, HZ)[: 15 * HZ]
    backing = resample(music.samples[60 * music.sample_rate :][: 16 * music.sample_rate], music.sample_rate, HZ)
    backing = backing[: len(voice)] * np.sqrt(np.mean(voice**2) / np.mean(backing**2))
    assert gain_db((voice[:, None] + backing).astype(np.float32), voice) > 3


def test_where_blocks_and_stretches_begin_does_not_show() -> None:
    voice, left, right = parts()
    mix = stereo(voice, left, right)[: 8 * HZ]
    whole = separated(mix, len(mix), 10_000, reach_s=2.0)
    for block, stretch in ((1_001, 7), (50_000, 64)):
        difference = separated(mix, block, stretch, reach_s=2.0) - whole
        assert 10 * np.log10(np.sum(difference**2) / np.sum(whole**2) + 1e-20) < -60


def test_what_is_on_one_side_only_is_no_voice() -> None:
    voice, left, _ = parts()
    mix = np.stack([voice + left, voice], axis=1)
    with_stereo, without = separated(mix), separated(mix, stereo=0)
    assert si_sdr(with_stereo.mean(axis=1), voice) > si_sdr(without.mean(axis=1), voice) + 1


def test_channels_in_opposite_phase_have_their_voice_in_the_difference() -> None:
    voice, left, _ = parts()
    mono = voice + left
    as_one, opposite = separated(np.stack([mono, mono], 1)), separated(np.stack([mono, -mono], 1))
    assert np.sum(as_one**2) > 0
    assert np.allclose(opposite[:, 0], as_one[:, 0], atol=1e-4) and np.allclose(
        opposite[:, 1], -as_one[:, 0], atol=1e-4
    )


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("n_frames", [1, 7_200])
def test_what_is_too_short_to_repeat_passes(n_frames: int, channels: int) -> None:
    tone = np.sin(2 * np.pi * 440 / HZ * np.arange(n_frames)).astype(np.float32)
    mix = np.repeat(tone[:, None], channels, axis=1)
    found = separated(mix)
    assert found.shape == mix.shape and np.isfinite(found).all()
    if n_frames > 1:
        assert si_sdr(found[:, 0], tone) > 20


def test_silence_stays_silent() -> None:
    assert not separated(np.zeros((HZ, 2), np.float32)).any()


def test_silence_after_loud_sound_stays_quiet() -> None:
    voice, left, right = parts()
    mix = stereo(voice, left, right)[: 10 * HZ]
    mix[5 * HZ :] = 0
    assert np.abs(separated(mix, reach_s=2.0)[6 * HZ :]).max() < 1e-6


def test_what_is_below_a_voice_is_left_out() -> None:
    bass = np.sin(2 * np.pi * 60 / HZ * np.arange(HZ)).astype(np.float32)[:, None]
    assert np.sqrt(np.mean(separated(bass) ** 2)) < 0.02
    assert np.sqrt(np.mean(separated(bass, low_hz=0) ** 2)) > 0.5


@pytest.mark.parametrize("settings", [{"moments": 0}, {"reach_s": 0}, {"low_hz": -1}, {"stereo": float("nan")}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"center.{next(iter(settings))}"):
        Center(**settings)  # type: ignore[arg-type]
