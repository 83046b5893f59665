"""The log-mel spectrogram equals two independent ones, wherever a frame lies in a file, and can be made sound again."""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchaudio

from autosing.signal.errors import UsageError
from autosing.signal.mel import MelSpec, log_mel, log_mel_torch, mel_filters, slaney_filters

SPEC = MelSpec()
SOFT_VC = MelSpec(sample_rate=16_000, hop=160, n_mels=128, fmax_hz=8_000.0)
VOCOS = MelSpec(floor=1e-7, filters="htk")


pytestmark = pytest.mark.usefixtures("one_thread")


def song(n_samples: int) -> npt.NDArray[np.float32]:
    """Returns harmonics under noise, with pauses."""
    t = np.arange(n_samples) / 24_000
    tones = sum(np.sin(2 * np.pi * 220 * k * t) / k for k in range(1, 9))
    hiss = np.random.default_rng(0).standard_normal(n_samples) / 50
    return ((0.1 * tones + hiss) * (t % 0.5 < 0.4)).astype(np.float32)


def by_formula(wave: npt.NDArray[np.float32], spec: MelSpec) -> npt.NDArray[np.float64]:
    """Returns the definition of BigVGAN's mel, term by term in float64."""
    pad = (spec.n_fft - spec.hop) // 2
    padded = np.pad(wave.astype(np.float64), pad, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.win) / spec.win)
    frames = np.lib.stride_tricks.sliding_window_view(padded, spec.n_fft)[:: spec.hop] * window
    magnitude = np.sqrt(np.abs(np.fft.rfft(frames)) ** 2 + 1e-9)
    return np.log(np.maximum(magnitude @ slaney_filters(spec).T, 1e-5))


@pytest.mark.parametrize("spec", [SPEC, SOFT_VC], ids=["bigvgan", "soft-vc"])
def test_mel_is_torchaudios(spec: MelSpec) -> None:
    wave = song(300 * spec.hop)
    reference = torchaudio.transforms.MelSpectrogram(
        spec.sample_rate, spec.n_fft, spec.win, spec.hop, spec.fmin_hz, spec.fmax_hz,
        n_mels=spec.n_mels, power=1.0, center=False, norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    padded = np.pad(wave, (spec.n_fft - spec.hop) // 2, mode="reflect")
    expected = reference(torch.from_numpy(padded)).clamp(min=1e-5).log().T.numpy()
    assert np.abs(np.exp(log_mel(wave, spec, 300)) - np.exp(expected)).max() < 1e-4  # torchaudio has no 1e-9


@pytest.mark.parametrize("spec", [SPEC, SOFT_VC], ids=["bigvgan", "soft-vc"])
def test_mel_is_the_formula(spec: MelSpec) -> None:
    wave = song(600 * spec.hop)
    assert np.abs(log_mel(wave, spec, 600) - by_formula(wave, spec)).max() < 1e-4


def test_htk_filters_are_torchaudios() -> None:
    expected = torchaudio.functional.melscale_fbanks(513, 0.0, 12_000.0, 100, 24_000, norm=None, mel_scale="htk")
    assert np.abs(mel_filters(VOCOS) - expected.T.numpy()).max() < 2e-5
    assert np.array_equal(mel_filters(SPEC), slaney_filters(SPEC)) and not np.array_equal(mel_filters(SPEC), expected.T)


def test_the_mel_of_vocos_is_torchaudios_in_sound_and_in_silence() -> None:
    wave = song(300 * 256)
    wave[100 * 256 : 200 * 256] = 0
    reference = torchaudio.transforms.MelSpectrogram(24_000, 1024, 1024, 256, n_mels=100, power=1.0, center=False)
    expected = reference(torch.from_numpy(np.pad(wave, 384, mode="reflect"))).clamp(min=1e-7).log().T.numpy()
    assert np.abs(log_mel(wave, VOCOS, 300) - expected).max() < 2e-3
    assert log_mel(wave, VOCOS, 300)[150].max() == pytest.approx(np.log(1e-7))


def test_a_spec_comes_back_from_its_mapping_and_says_nothing_of_what_older_ones_did_not() -> None:
    assert MelSpec(**VOCOS.as_mapping()) == VOCOS and VOCOS.as_mapping()["filters"] == "htk"
    assert MelSpec(**SPEC.as_mapping()) == SPEC and "filters" not in SPEC.as_mapping()


def test_the_torch_form_is_the_same() -> None:
    wave = song(256 * 600)
    assert np.allclose(log_mel_torch(torch.from_numpy(wave)[None], SPEC)[0].T, log_mel(wave, SPEC, 600), atol=1e-5)


def test_the_default_rate_is_93_and_three_quarters() -> None:
    assert SPEC.rate == Fraction(375, 4)


def test_a_part_has_the_bits_that_it_has_in_the_whole() -> None:
    wave = song(256 * 1500)
    whole = log_mel(wave, SPEC, 1500)
    for first, n_frames in ((0, 700), (1, 600), (137, 1100), (512, 512)):
        part = log_mel(wave[256 * first : 256 * (first + n_frames)], SPEC, n_frames)
        assert np.array_equal(part[2:-2], whole[first : first + n_frames][2:-2])


@pytest.mark.parametrize("n_samples", [0, 1, 2, 100, 256, 384, 385, 700])
def test_waves_shorter_than_the_padding_work(n_samples: int) -> None:
    n_frames = max(n_samples // 256, 1)
    mel = log_mel(song(n_samples), SPEC, n_frames)
    assert mel.shape == (n_frames, 100)
    assert np.isfinite(mel).all()
    if n_samples >= SPEC.hop:
        assert torch.isfinite(log_mel_torch(torch.from_numpy(song(n_samples))[None], SPEC)).all()


def test_a_wave_is_zero_padded_or_cut_to_its_frames() -> None:
    wave = song(256 * 20)
    assert np.array_equal(log_mel(wave, SPEC, 10), log_mel(wave[:2560], SPEC, 10))
    assert np.array_equal(log_mel(wave, SPEC, 40), log_mel(np.pad(wave, (0, 5120)), SPEC, 40))
    assert log_mel(wave, SPEC, 40)[-5:].max() < -5
    assert log_mel(wave, SPEC, 0).shape == (0, 100)


def test_gradients_are_finite_in_silence_and_right_in_sound() -> None:
    for spec in (SPEC, VOCOS):
        silence = torch.zeros(1, 2048, requires_grad=True)
        log_mel_torch(silence, spec).sum().backward()  # type: ignore[no-untyped-call]
        assert silence.grad is not None
        assert torch.isfinite(silence.grad).all()

    wave = torch.from_numpy(song(2048))[None].requires_grad_()
    log_mel_torch(wave, SPEC).mean().backward()  # type: ignore[no-untyped-call]
    direction = torch.randn(1, 2048, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ahead, behind = (log_mel_torch(wave + step * direction, SPEC).double().mean() for step in (1e-4, -1e-4))
    assert wave.grad is not None
    assert float((wave.grad * direction).sum()) == pytest.approx(float(ahead - behind) / 2e-4, rel=0.02)


def test_autocast_does_not_lower_the_precision() -> None:
    wave = torch.from_numpy(song(256 * 40))[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = log_mel_torch(wave, SPEC)
    assert torch.equal(inside, log_mel_torch(wave, SPEC))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"hop": 0}, "hop is 0; it must be above 0"),
        ({"win": 2048}, "neither may be above n_fft, 1024"),
        ({"sample_rate": 16_000}, "not inside 0 to 8000 Hz, half the sample rate"),
        ({"fmin_hz": -1.0}, "from -1 to 12000 Hz"),
        ({"filters": "bark"}, "filters is 'bark'; there are: slaney, htk"),
    ],
)
def test_a_spec_that_cannot_be_computed_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        MelSpec(**wrong)
