"""Published vocoders compute what the papers say, in pieces as in one, and see nothing beyond their context."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import published_checkpoints as made
import published_references as reference
import pytest
import torch

from autosing.models import vocoders
from autosing.models.directory import load_model
from autosing.models.published.bigvgan import doubled, halved, low_pass
from autosing.models.published.config import GanConfig
from autosing.models.published.importing import import_vocoder
from autosing.models.published.nsf_hifigan import N_HARMONICS, NsfHifiGan, nsf_hifigan_fields, pitch_everywhere
from autosing.models.vocoders import load_vocoder
from autosing.signal.errors import CheckpointError, RowError, UsageError
from autosing.signal.mel import MelSpec

GAN_MEL = MelSpec(8000, 128, 32, 128, 20, 40.0, 4000.0)
VOCOS_MEL = MelSpec(8000, 128, 32, 128, 20, 0.0, 4000.0, 1e-7, "htk")
N_FRAMES = 70


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Returns the model directory of a kind, imported once."""
    folder = tmp_path_factory.mktemp("published")

    def directory(kind: str) -> str:
        if not (folder / kind).exists():
            import_vocoder(made.save(kind, folder / f"{kind}_published"), folder / kind)
        return str(folder / kind)

    return directory


def mel(n_frames: int = N_FRAMES) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).normal(-3, 1.5, (n_frames, 20)).astype(np.float32)


def pitch(n_frames: int = N_FRAMES) -> npt.NDArray[np.float32]:
    """Returns F0 of samples (F hop,) that glides, with a gap."""
    found = np.geomspace(150, 320, n_frames * 32).astype(np.float32)
    found[20 * 32 : 31 * 32] = 0
    return found


def wave_of(model: str) -> npt.NDArray[np.float32]:
    return np.concatenate(list(load_vocoder(model, device="cpu").synthesise({"mel": mel()}, pitch(), 5)))


@pytest.mark.parametrize("kind", made.KINDS)
def test_a_published_layout_becomes_a_model_directory(kind: str, directories: Callable[[str], str]) -> None:
    model = directories(kind)
    assert sorted(file.name for file in Path(model).iterdir()) == ["config.json", "model.safetensors"]
    info = load_vocoder(model, device="cpu").info
    expected = {"vocos": VOCOS_MEL, "bigvgan": replace(GAN_MEL, fmax_hz=3000.0)}
    expected["bigvgan_v2"] = expected["bigvgan"]
    assert info.spec == expected.get(kind, GAN_MEL) and info.use_f0 == ("nsf" in kind)
    assert not info.streams
    wave = wave_of(model)
    assert wave.shape == (N_FRAMES * 32,) and wave.dtype == np.float32 and 0.02 < wave.std() < 1


@pytest.mark.parametrize("kind", made.KINDS)
def test_pieces_are_the_whole(kind: str, directories: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = wave_of(directories(kind))
    monkeypatch.setattr(vocoders, "PIECE_FRAMES", 9)
    np.testing.assert_allclose(wave_of(directories(kind)), whole, atol=2e-5)


@pytest.mark.parametrize("kind", made.KINDS)
def test_nothing_beyond_the_context_is_seen(kind: str, directories: Callable[[str], str]) -> None:
    network: Any = load_model(directories(kind)).model
    seen = network.context_frames
    n_frames = 2 * seen + 9
    given = torch.from_numpy(mel(n_frames))[None].requires_grad_()
    beside = network.excitation(pitch(n_frames), n_frames, 0).batch(0, n_frames, given.device) if network.use_f0 else {}
    middle = n_frames // 2
    network({"mel": given, **beside})[0, middle * 32 : (middle + 1) * 32].square().sum().backward()
    assert given.grad is not None
    reached = given.grad[0].abs().sum(1) > 0
    assert reached.nonzero().min() >= middle - seen and reached.nonzero().max() <= middle + seen
    # And it is not far wider than it need be: what is computed for nothing.
    assert reached.sum() > seen


@pytest.mark.parametrize("kind", ["hifigan", "hifigan_2"])
def test_hifigan_is_the_paper_s(kind: str, directories: Callable[[str], str]) -> None:
    expected = reference.gan(mel(), made.LAYOUTS[kind][0], made.weights_of(kind))
    np.testing.assert_allclose(wave_of(directories(kind)), expected, atol=2e-6)


@pytest.mark.parametrize("kind", ["bigvgan", "bigvgan_v2", "snake"])
def test_bigvgan_is_the_paper_s_with_scipy_s_filters(kind: str, directories: Callable[[str], str]) -> None:
    weights, config = made.weights_of(kind), made.LAYOUTS[kind][0]
    expected = reference.gan(mel(), config, weights, reference.snake(weights, config["snake_logscale"]))
    np.testing.assert_allclose(wave_of(directories(kind)), expected, atol=5e-5)
    assert np.abs(expected).max() > 0.9


def test_vocos_is_torch_s_inverse_transform_half_a_hop_later(directories: Callable[[str], str]) -> None:
    layers = made.VOCOS_PARTS["backbone"][1]["num_layers"]
    expected = reference.vocos(mel(), layers, made.weights_of("vocos"))
    np.testing.assert_allclose(wave_of(directories("vocos"))[16:-16], expected, atol=1e-5)


def test_the_anti_aliasing_filter_is_scipy_s_and_doubling_is_undone() -> None:
    np.testing.assert_allclose(low_pass(), reference.kaiser_taps(), atol=1e-7)
    taps, places = torch.from_numpy(low_pass()), torch.arange(400.0)
    slow = torch.sin(2 * torch.pi * 9 * places / 400)[None, None]
    between = torch.sin(2 * torch.pi * 9 * (torch.arange(800.0) - 0.5) / 800)
    torch.testing.assert_close(doubled(slow, taps)[0, 0, 40:-40], between[40:-40], rtol=0, atol=0.01)
    again = halved(doubled(slow, taps), taps)
    torch.testing.assert_close(again[..., 20:-20], slow[..., 20:-20], rtol=0, atol=0.01)
    high = torch.cos(torch.pi * 0.9 * places)[None, None]
    assert halved(high, taps)[..., 20:-20].abs().max() < 0.02, "it would come back as another pitch"


def test_harmonics_have_the_phase_of_the_pitch_and_noise_of_its_own() -> None:
    network = made_network(made.GAN)
    excitation = network.excitation(pitch(), N_FRAMES, 0)
    given = excitation.batch(0, N_FRAMES, torch.device("cpu"))
    held = np.repeat(pitch_everywhere(pitch()[::32]).astype(np.float64), 32)
    turned = np.exp(2j * np.pi * (np.cumsum(held / 8000) - given["turns"][0].numpy()))
    np.testing.assert_allclose(turned, 1, atol=1e-4)
    assert given["voiced"].all(), "a pitch goes on where nobody sings"
    assert given["start"].shape == (1, N_HARMONICS) and given["start"][0, 0] == 0 and given["start"][0, 1:].all()
    assert not network.excitation(np.zeros(9, np.float32), 3, 0).batch(0, 3, torch.device("cpu"))["voiced"].any()
    other = network.excitation(pitch(), N_FRAMES, 1).batch(0, N_FRAMES, torch.device("cpu"))
    assert not torch.equal(other["noise"], given["noise"]) and torch.equal(other["turns"], given["turns"])


def test_a_mini_source_glides_from_frame_to_frame() -> None:
    network = made_network(made.MINI_NSF)
    given = network.excitation(pitch(), N_FRAMES, 0).batch(0, N_FRAMES, torch.device("cpu"))
    # Two steps up of four make 16 values a frame, 4000 a second.
    frames_hz = pitch_everywhere(pitch()[::32]).astype(np.float64)
    gliding = np.interp(np.arange(N_FRAMES * 16) / 16, np.arange(N_FRAMES), frames_hz)
    turned = np.exp(2j * np.pi * (np.cumsum(gliding / 4000) - given["turns"][0].numpy()))
    np.testing.assert_allclose(turned, 1, atol=1e-4)


def made_network(config: Any) -> NsfHifiGan:
    spec = GanConfig(**{name: value for name, value in config.items() if name in GanConfig.__dataclass_fields__})
    return NsfHifiGan(nsf_hifigan_fields(spec, config, "config.json")).eval()


@pytest.mark.parametrize("kind", ["nsf_hifigan", "mini_nsf"])
def test_nsf_hifigan_is_hifigan_with_harmonics(kind: str, directories: Callable[[str], str]) -> None:
    network, weights = load_model(directories(kind)).model, made.weights_of(kind)
    given = network.excitation(pitch(), N_FRAMES, 5).batch(0, N_FRAMES, torch.device("cpu"))  # type: ignore[operator]
    turns = given["turns"][0].double()
    if kind == "mini_nsf":
        source = torch.sin(2 * torch.pi * turns)
    else:
        sines = [0.1 * torch.sin(2 * torch.pi * ((n + 1) * turns + given["start"][0, n])) for n in range(9)]
        merge = weights["m_source.l_linear.weight"]
        noise = 0.003 * merge.square().sum().sqrt() * given["noise"][0]
        source = torch.tanh(merge[0].double() @ torch.stack(sines) + weights["m_source.l_linear.bias"] + noise)

    def excite(step: int, x: torch.Tensor) -> torch.Tensor:
        if kind == "mini_nsf":
            return reference.conv(source.float()[None, None], weights, "source_conv") + x if step == 1 else x
        after = (8, 2, 1)[step]
        how = {"stride": after, "padding": after // 2} if after > 1 else {}
        return x + reference.conv(source.float()[None, None], weights, f"noise_convs.{step}", **how)

    expected = reference.gan(mel(), made.LAYOUTS[kind][0], weights, excite=excite)
    np.testing.assert_allclose(wave_of(directories(kind)), expected, atol=5e-5)
    assert np.abs(expected - reference.gan(mel(), made.LAYOUTS[kind][0], weights)).max() > 0.01


def test_noise_of_a_merge_is_as_strong_as_that_of_its_harmonics(directories: Callable[[str], str]) -> None:
    network: Any = load_model(directories("nsf_hifigan")).model
    silent = {name: torch.zeros(1, 20_000) for name in ("turns", "voiced")}
    silent |= {"noise": torch.randn(1, 20_000), "start": torch.zeros(1, N_HARMONICS)}
    merge = network.m_source["l_linear"]
    each = merge(0.1 / 3 * torch.randn(20_000, N_HARMONICS))
    assert network._source(silent).atanh().std().item() == pytest.approx(each.std().item(), rel=0.03)


def test_noise_before_the_steps_up_is_added_where_a_model_had_it(directories: Callable[[str], str]) -> None:
    assert np.abs(wave_of(directories("noisy_nsf")) - wave_of(directories("mini_nsf"))).max() > 0.01


def test_a_seed_is_a_wave(directories: Callable[[str], str]) -> None:
    vocoder = load_vocoder(directories("nsf_hifigan"), device="cpu")

    def wave(seed: int) -> npt.NDArray[np.float32]:
        return np.concatenate(list(vocoder.synthesise({"mel": mel()}, pitch(), seed)))

    assert np.array_equal(wave(1), wave(1)) and not np.array_equal(wave(1), wave(2))


def test_another_mel_is_refused_by_the_name_of_its_field(directories: Callable[[str], str]) -> None:
    model = directories("vocos")
    assert load_vocoder(model, VOCOS_MEL, "cpu").info.spec == VOCOS_MEL
    for change, told in (({"filters": "slaney"}, "filters = 'htk', but it is 'slaney'"), ({"hop": 64}, "hop = 32")):
        with pytest.raises(CheckpointError, match=rf"was trained with mel\.spec\.{told}"):
            load_vocoder(model, replace(VOCOS_MEL, **change), "cpu")
    with pytest.raises(CheckpointError, match=r"mel\.spec\.n_mels = 20, but it is 100"):
        load_model(model, {"mel": {"spec": {"n_mels": 100, "filters": "htk"}}})


def test_series_that_do_not_fit_are_refused(directories: Callable[[str], str]) -> None:
    with pytest.raises(RowError, match=r"shape \(7, 12\) does not fit a vocoder of 20 bands"):
        list(load_vocoder(directories("vocos"), device="cpu").synthesise({"mel": np.zeros((7, 12))}))
    with pytest.raises(RowError, match="is given no F0"):
        list(load_vocoder(directories("nsf_hifigan"), device="cpu").synthesise({"mel": mel()}))


def test_what_is_no_vocoder_is_refused(tmp_path: Path, save_content: Callable[[Path, int, int], str]) -> None:
    with pytest.raises(UsageError, match="is a ContentEncoder and no vocoder; supported: vocoder, bigvgan"):
        load_vocoder(save_content(tmp_path / "content", 4, 0))
