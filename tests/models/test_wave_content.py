"""Content encoders on sound: they are the pretrained network at first, the same in training and in use, and alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from wave_checkpoints import save_checkpoint

from autosing.models.directory import load_model, save_model
from autosing.models.wave_content import WaveContentEncoder, WaveContentFields, architecture, contents_of
from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import UsageError
from autosing.signal.ssl import HOP, Wave, Windowing, with_margins

KINDS = ("Hubert", "Hubert-layer-norm", "WavLM", "Wav2Vec2", "Data2VecAudio")
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
WINDOWING = Windowing.of_seconds(30, 2)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one tiny random checkpoint of each kind; only wav2vec 2.0 wants normalised audio."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name in KINDS:
        kind, _, variant = name.partition("-")
        positions = {"conv_pos_kernel_size": 3} if kind == "Data2VecAudio" else {"num_conv_pos_embeddings": 4}
        more = {**positions, **(LAYER_NORM if variant else {})}
        save_checkpoint(folder / name, kind, "Model", kind == "Wav2Vec2", **more)
    return folder


def encoder(checkpoint: Path, layers: int = 0, dropout: float = 0.0, pitch_bins: int = 40) -> WaveContentEncoder:
    told = Checkpoint(str(checkpoint))
    torch.manual_seed(1)
    own = architecture(str(checkpoint), told.config, layers, dropout)
    normalises = bool(told.preprocessor["do_normalize"])
    model = WaveContentEncoder(WaveContentFields(own, normalises, 7, 12, 0.1, pitch_bins, 50.0, 8))
    model.take(told.load())
    return model.eval()


def noise(seconds: float, seed: int = 0) -> Wave:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(16_000 * seconds))).astype(np.float32)


def heard_in_training(model: WaveContentEncoder, waves: list[Wave]) -> list[torch.Tensor]:
    """Returns the soft units of each wave of a batch, as the trainer has them."""
    counts = [len(wave) // HOP for wave in waves]
    given = [with_margins(model.normalised(w), n, model.margins) for w, n in zip(waves, counts, strict=True)]
    batch = np.zeros((len(waves), max(map(len, given))), np.float32)
    for row, wave in zip(batch, given, strict=True):
        row[: len(wave)] = wave
    model.train()
    none_hidden = torch.zeros(len(waves), max(counts), dtype=torch.bool)
    soft = model(torch.from_numpy(batch), torch.tensor(counts), none_hidden).soft
    model.eval()
    return [one[:count].detach() for one, count in zip(soft, counts, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_gelu_more_in_use_than_in_training_nor_than_in_the_pretrained_network(kind: str, checkpoints: Path) -> None:
    from transformers import AutoModel

    model, wave = encoder(checkpoints / kind), noise(1.0)
    (content,) = contents_of(model, [wave], [50], WINDOWING)
    (trained,) = heard_in_training(model, [wave])
    assert content.soft_units is not None
    np.testing.assert_allclose(content.soft_units, trained, atol=1e-5)
    pretrained = AutoModel.from_pretrained(checkpoints / kind).eval()
    with torch.inference_mode():
        last = pretrained(torch.from_numpy(np.pad(model.normalised(wave), 40))[None]).last_hidden_state
        np.testing.assert_allclose(content.soft_units, model.soft(last)[0], atol=1e-5)  # type: ignore[misc]


@pytest.mark.parametrize("kind", KINDS)
def test_no_frame_depends_on_what_else_is_in_a_batch(kind: str, checkpoints: Path) -> None:
    model = encoder(checkpoints / kind)
    waves = [noise(0.5, 1), 9 * noise(1.3, 2), noise(0.5, 3), noise(0.02, 4)]
    for wave, together in zip(waves, heard_in_training(model, waves), strict=True):
        torch.testing.assert_close(together, heard_in_training(model, [wave])[0], rtol=0, atol=1e-5)


def test_hidden_frames_are_not_heard_and_others_are(checkpoints: Path) -> None:
    model, counts = encoder(checkpoints / "Hubert-layer-norm"), torch.tensor([25, 25])
    waves = torch.from_numpy(np.stack([np.pad(noise(0.5, seed), 40) for seed in (1, 2)]))
    all_hidden = torch.ones(2, 25, dtype=torch.bool)
    with torch.inference_mode():
        nothing = model(waves, counts, all_hidden).soft
        something = model(waves, counts, ~all_hidden).soft
    torch.testing.assert_close(nothing[0], nothing[1])
    assert (something[0] - something[1]).abs().max() > 1e-3


def test_the_first_layers_are_those_of_the_whole(checkpoints: Path) -> None:
    from transformers import AutoModel

    model, wave = encoder(checkpoints / "Hubert", layers=1), noise(0.6)
    pretrained = AutoModel.from_pretrained(checkpoints / "Hubert").eval()
    with torch.inference_mode():
        told = pretrained(torch.from_numpy(np.pad(wave, 40))[None], output_hidden_states=True)
        expected = model.soft(told.hidden_states[1])[0]  # type: ignore[misc]
    (content,) = contents_of(model, [wave], [30], WINDOWING)
    np.testing.assert_allclose(content.soft_units, expected, atol=1e-5)  # type: ignore[arg-type]


def test_a_model_directory_needs_no_checkpoint(checkpoints: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints / "WavLM", tmp_path / "wavlm")
    model, wave = encoder(folder), noise(1.0)
    save_model(tmp_path / "model", model, {})
    shutil.rmtree(folder)
    loaded = load_model(tmp_path / "model").model
    assert isinstance(loaded, WaveContentEncoder)
    for name, array in vars(contents_of(model, [wave], [50], WINDOWING)[0]).items():
        np.testing.assert_array_equal(array, getattr(contents_of(loaded, [wave], [50], WINDOWING)[0], name))
    assert str(tmp_path) not in (tmp_path / "model/config.json").read_text()


def test_values_have_their_types_and_windows_meet(checkpoints: Path) -> None:
    model, wave = encoder(checkpoints / "Hubert-layer-norm"), noise(5.0)
    (parts,) = contents_of(model, [wave], [250], Windowing.of_seconds(2, 0.5))
    assert parts.soft_units is not None and parts.soft_units.shape == (250, 12)
    assert parts.pitch_bin is not None and parts.f0_hz is not None and parts.dynamic_bin is not None
    assert {parts.pitch_bin.dtype, parts.dynamic_bin.dtype} == {np.dtype(np.uint16)}
    np.testing.assert_array_equal(parts.f0_hz > 0, parts.pitch_bin > 0)
    with torch.inference_mode():
        first = model(torch.from_numpy(np.pad(wave, (40, 0))[None, : 100 * HOP + 80]), torch.tensor([100])).soft
    np.testing.assert_allclose(parts.soft_units[:75], first[0, :75], atol=1e-5)
    (only,) = contents_of(encoder(checkpoints / "Hubert", pitch_bins=0), [wave[:100]], [0], WINDOWING)
    assert only.pitch_bin is None and only.soft_units is not None and only.soft_units.shape == (0, 12)


def test_the_front_can_be_frozen(checkpoints: Path) -> None:
    model = encoder(checkpoints / "Hubert")
    model.freeze_front()
    assert {p.requires_grad for p in model.front.parameters()} == {False}
    assert all(p.requires_grad for p in model.encoder.parameters())


def test_what_can_not_be_fine_tuned_is_refused(checkpoints: Path) -> None:
    config = json.loads((checkpoints / "Hubert/config.json").read_text())
    with pytest.raises(UsageError, match="x is a 'bert' model; supported: hubert, wavlm"):
        architecture("x", {**config, "model_type": "bert"}, 0, 0.0)
    with pytest.raises(UsageError, match="x has 2 layers, and 3 are asked for"):
        architecture("x", config, 3, 0.0)
    with pytest.raises(UsageError, match="normalises by what else is in a batch"):
        architecture("x", {**config, "conv_pos_batch_norm": True}, 0, 0.0)
    foreign = architecture(
        "x", {**config, "attn_implementation": "some/kernels", "auto_map": {"AutoModel": "x.Y"}}, 0, 0
    )
    assert foreign.keys() & {"attn_implementation", "auto_map", "_name_or_path", "architectures"} == set()
