"""The vocoder without weights: what is seen in its sound is what was asked for, at the time it was asked for."""

import time

import numpy as np
import numpy.typing as npt
import pytest
import torch

from autosing.signal.griffin_lim import _Framing, griffin_lim
from autosing.signal.mel import MelSpec, log_mel, slaney_filters
from autosing.signal.singer import song
from autosing.signal.voice import voices

SPEC = MelSpec()
SOFT_VC = MelSpec(sample_rate=16_000, hop=160, n_mels=128, fmax_hz=8_000.0)
ODD = MelSpec(hop=241, win=1001, n_mels=80)
Floats = npt.NDArray[np.float32]


pytestmark = pytest.mark.usefixtures("one_thread")


def error(wave: Floats, mel: Floats, spec: MelSpec) -> Floats:
    """Returns the mean absolute error in nats of each frame (F,), over the bands less than 45 dB below the tones."""
    found = np.abs(log_mel(wave, spec, len(mel)) - mel)
    is_audible = mel > -4
    return np.asarray((found * is_audible).sum(1) / np.maximum(is_audible.sum(1), 1), np.float32)


def chirp(n_samples: int, sample_rate: int) -> Floats:
    """Returns a tone and its two octaves that rise from 150 to 1 200 Hz, as loud at its ends as in its middle."""
    t = np.arange(n_samples) / sample_rate
    cycles = 150 * t + (1200 - 150) / (2 * t[-1]) * t**2
    tones = np.sum([np.sin(2 * np.pi * k * cycles) / k for k in (1, 2, 4)], axis=0)
    wave: Floats = (0.2 * tones).astype(np.float32)
    return wave


@pytest.mark.parametrize("spec", [SPEC, SOFT_VC, ODD], ids=["bigvgan", "soft-vc", "odd"])
def test_the_mel_of_a_chirp_comes_back_also_at_its_ends(spec: MelSpec) -> None:
    mel = log_mel(chirp(200 * spec.hop, spec.sample_rate), spec, 200)
    found = error(griffin_lim(mel, spec), mel, spec)
    assert found.mean() < 0.25
    assert max(found[:2].mean(), found[-2:].mean()) < 0.4


def test_the_mel_of_a_singer_comes_back_at_ten_times_real_time(capsys: pytest.CaptureFixture[str]) -> None:
    wave = song(0, voices(1)[0], 10.0).wave
    mel = log_mel(wave, SPEC, len(wave) // SPEC.hop)
    started = time.perf_counter()
    made = griffin_lim(mel, SPEC)
    seconds = time.perf_counter() - started
    difference = float(np.abs(log_mel(made, SPEC, len(mel)) - mel).mean())
    with capsys.disabled():
        print(f"\nGriffin-Lim: mel-L1 {difference:.3f}, {10 / seconds:.0f} times real time")
    assert difference < 0.1
    assert seconds < 10 / 4  # It takes less than 1 s where nothing else runs.


@pytest.mark.parametrize("at", [0, 1_000, 12_345, 23_000])
def test_a_burst_sounds_when_it_should(at: int) -> None:
    wave = np.zeros(96 * SPEC.hop, np.float32)
    length = 480
    wave[at : at + length] = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(length) / SPEC.sample_rate)
    made = griffin_lim(log_mel(wave, SPEC, 96), SPEC)
    assert made.shape == wave.shape
    power = made.astype(np.float64) ** 2
    centroid = (power * np.arange(len(power))).sum() / power.sum()
    assert abs(centroid - (at + (length - 1) / 2)) < SPEC.hop / 2


def test_silence_stays_silent_also_when_it_was_stored_in_16_bits() -> None:
    silence = log_mel(np.zeros(40 * SPEC.hop, np.float32), SPEC, 40)
    assert not griffin_lim(silence, SPEC).any()
    assert not griffin_lim(silence.astype(np.float16), SPEC).any()


def test_a_seed_is_a_wave() -> None:
    mel = log_mel(chirp(30 * SPEC.hop, SPEC.sample_rate), SPEC, 30)
    made = griffin_lim(mel, SPEC, iterations=4, seed=3)
    assert np.array_equal(made, griffin_lim(mel, SPEC, iterations=4, seed=3))
    assert not np.allclose(made, griffin_lim(mel, SPEC, iterations=4, seed=4), atol=1e-3)


def test_more_iterations_are_nearer() -> None:
    mel = log_mel(chirp(100 * SPEC.hop, SPEC.sample_rate), SPEC, 100)
    errors = [error(griffin_lim(mel, SPEC, iterations), mel, SPEC).mean() for iterations in (0, 4, 32)]
    assert errors[0] > 2 * errors[1] > 2.5 * errors[2]


@pytest.mark.parametrize("n_frames", [0, 1, 2, 3, 4, 5, 600])
def test_any_number_of_frames_becomes_as_many_hops(n_frames: int) -> None:
    mel = log_mel(chirp(600 * SPEC.hop, SPEC.sample_rate), SPEC, n_frames)
    made = griffin_lim(mel, SPEC, iterations=8)
    assert made.dtype == np.float32 and made.shape == (n_frames * SPEC.hop,)
    assert np.isfinite(made).all() and made.any() == (n_frames > 0)


@pytest.mark.parametrize("spec", [SPEC, SOFT_VC, ODD], ids=["bigvgan", "soft-vc", "odd"])
@pytest.mark.parametrize("n_frames", [1, 2, 7])
def test_the_framing_is_that_of_log_mel_and_its_inverse_exact(spec: MelSpec, n_frames: int) -> None:
    wave = torch.from_numpy(chirp(9 * spec.hop, spec.sample_rate)[: n_frames * spec.hop])
    framing = _Framing(n_frames, spec)
    spectrum = framing.spectrum(wave)
    magnitude = (spectrum.abs().square() + 1e-9).sqrt().numpy()
    mel = np.log(np.maximum(magnitude @ slaney_filters(spec).T, spec.floor))
    assert np.allclose(mel, log_mel(wave.numpy(), spec, n_frames), atol=1e-4)
    assert torch.allclose(framing.wave(spectrum), wave, atol=1e-4)


@pytest.mark.parametrize("spec", [SPEC, SOFT_VC, ODD], ids=["bigvgan", "soft-vc", "odd"])
def test_no_wave_is_nearer_to_a_spectrum_than_the_one_that_is_found(spec: MelSpec) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(9, spec.n_fft, generator=generator, dtype=torch.float64).float()
    framing = _Framing(9, spec)
    wanted = torch.fft.rfft(frames)
    nearest = framing.wave(wanted)

    def distance(wave: torch.Tensor) -> float:
        return float(torch.fft.irfft(framing.spectrum(wave) - wanted, n=spec.n_fft).double().square().sum())

    for at in (1, 3 * spec.hop, 9 * spec.hop - 40):
        for step in (-0.3, 0.3):
            other = nearest.clone()
            other[at : at + 30] += step
            assert distance(other) > distance(nearest)
