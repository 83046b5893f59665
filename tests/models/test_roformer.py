"""RoFormers in the field's layout: what they make of a sound, which stem is the voice, and what is refused by name."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from roformer_checkpoints import HZ, KINDS, MEL, config, mix, save_roformer, weights
from safetensors.torch import save_file

from autosing.models.published.roformer import RoformerVoice
from autosing.signal.errors import AutosingError, CheckpointError, UsageError
from autosing.signal.voice_network import voice_of
from bomb import Bomb

needs_package = pytest.mark.skipif(find_spec("pymss_core") is None, reason="the extra `roformer` is not installed")

# Every 300th sample from 200 on of both channels of the voice that ZFTurbo's Music-Source-Separation-Training (msst
# 0.1.0), by whose format the field's models are published, finds in `mix(2000)` with these configs and weights.
FOUND = {
    "mel": [[-0.000484, -0.000486, 0.000583, 0.010102, 0.002657, 0.001062],
            [0.006392, -0.003664, -0.025652, -0.012238, 0.028061, -0.009837]],
    "split": [[0.006276, -0.007246, -0.011743, -0.003776, -0.010617, -0.000516],
              [0.008302, -0.007713, -0.009093, -0.001995, 0.004948, -0.003345]],
}  # fmt: skip


def separated(model: RoformerVoice, samples: np.ndarray, sample_rate: int = HZ, block: int = 30_000) -> np.ndarray:
    blocks = (samples[start : start + block] for start in range(0, len(samples), block))
    return np.concatenate(list(voice_of(model, blocks, sample_rate)))


@needs_package
@pytest.mark.parametrize("kind", KINDS)
def test_the_voice_is_what_the_field_s_own_program_finds(kind: str, tmp_path: Path) -> None:
    model = RoformerVoice(save_roformer(tmp_path, kind), "cpu")
    assert (model.sample_rate, model.channels, model.window, model.hop) == (HZ, 2, 2000, 1000)
    np.testing.assert_allclose(model.separate(mix(2000).T[None].copy())[0][:, 200::300], FOUND[kind], atol=5e-6)


@needs_package
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_the_whole_and_as_long(kind: str, tmp_path: Path) -> None:
    model = RoformerVoice(save_roformer(tmp_path, kind), "cpu")
    samples = mix(7_321)
    whole = separated(model, samples, block=len(samples))
    assert whole.shape == samples.shape and np.abs(whole).max() > 0.01
    for block in (500, 1_999, 5_000):
        assert np.abs(separated(model, samples, block=block) - whole).max() < 1e-6


@needs_package
@pytest.mark.parametrize(("sample_rate", "channels"), [(8_000, 1), (44_100, 2), (16_000, 6)])
@pytest.mark.parametrize("stereo", [True, False])
def test_other_rates_and_channels_come_back_as_they_went_in(
    stereo: bool, sample_rate: int, channels: int, tmp_path: Path
) -> None:
    model = RoformerVoice(save_roformer(tmp_path, model={"stereo": stereo}), "cpu")
    samples = mix(sample_rate // 3, channels)
    found = separated(model, samples, sample_rate)
    assert abs(len(found) - len(samples)) <= 2 and found.shape[1] == channels
    assert np.isfinite(found).all()


@needs_package
def test_the_voice_is_found_among_the_stems_by_name_and_of_a_backing_it_is_the_rest(tmp_path: Path) -> None:
    samples = mix(3_000)

    def voice(name: str, n_stems: int, **training: Any) -> np.ndarray:
        folder = save_roformer(tmp_path / name, model={"num_stems": n_stems}, training=training)
        return separated(RoformerVoice(folder, "cpu"), samples)

    first = voice("first", 2, instruments=["Vocals", "other"], target_instrument=None)
    second = voice("second", 2, instruments=["drums", "vocals"], target_instrument=None)
    alone = voice("alone", 1)
    rest = voice("rest", 1, instruments=["vocals", "Instrumental"], target_instrument="Instrumental")
    assert np.array_equal(first, alone) and np.abs(first - second).max() > 0.01
    np.testing.assert_allclose(alone + rest, samples, atol=1e-6)


@needs_package
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ({"model": {"depth": 0}}, r"config_vocals.yaml: model.depth is 0; it must be 1 to 128"),
        ({"model": {"dim": "wide"}}, "model.dim: 'wide' does not fit"),
        ({"model": {"dim": 1 << 40}}, "model.dim is 1099511627776; it must be 1 to 8192"),
        ({"model": {"use_pope": True}}, "model.use_pope: unknown; known: depth, dim, "),
        ({"model": {"linear_transformer_depth": 1}}, "model.linear_transformer_depth: linear attention is not known"),
        ({"model": {"freqs_per_bands": [4, 29]}}, "model.num_bands, freqs_per_bands: exactly one of them"),
        ({"model": {"num_bands": None}}, "model.num_bands, freqs_per_bands: exactly one of them"),
        ({"model": {"num_bands": None, "freqs_per_bands": [4, 4]}}, "model.freqs_per_bands: they must .* the 33 bins"),
        ({"model": {"num_bands": 4}}, r"does not fit config_vocals.yaml: band_split.to_features.0.0.gamma is \(20,\)"),
        ({"model": {"stft_hop_length": 128}}, "model.stft_hop_length, stft_win_length, stft_n_fft: none must be"),
        ({"model": {"dim_head": 3}}, "model.dim_head is 3; it must be even"),
        ({"model": {"dim": 16}}, r"does not fit config_vocals.yaml: band_split.to_features.0.1.bias is \(8,\)"),
        ({"model": {"num_stems": 2}, "training": {"target_instrument": None}}, "mask_estimators.1.* is missing"),
        ({"audio": {"chunk_size": None}}, "audio.chunk_size is None; it must be 64"),
        ({"audio": {"chunk_size": 10**9}}, "audio.chunk_size is 1000000000; it must be 64 .* to 320000 samples"),
        ({"audio": {"sample_rate": -1}}, "audio.sample_rate is -1"),
        ({"inference": {"num_overlap": 0}}, "inference.num_overlap is 0; it must be 1 to 2000"),
        ({"training": {"target_instrument": None}}, "training.instruments are 2, and model.num_stems is 1"),
        ({"training": {"instruments": ["bass", "drums"], "target_instrument": "bass"}}, "it separates bass; wanted is"),
        ({"training": {"instruments": ["vocals", "drums", "other"], "target_instrument": "other"}}, "separates other"),
    ],
)
def test_a_config_of_no_such_network_is_refused_by_the_name_of_the_value(
    spoil: dict[str, Any], told: str | None, tmp_path: Path
) -> None:
    save_roformer(tmp_path)
    (tmp_path / "config_vocals.yaml").write_text(yaml.dump(config(**spoil)))
    with pytest.raises(CheckpointError, match=told):
        RoformerVoice(str(tmp_path), "cpu")


@pytest.mark.parametrize(
    "text",
    ["", "[", "3", "model: 3", "\xff", "model: {dim: !!python/object/apply:os.system [ls]}", "a: &a [*a]"],
)
def test_what_is_no_config_is_refused_and_calls_nothing(text: str, tmp_path: Path) -> None:
    save_roformer(tmp_path)
    (tmp_path / "config_vocals.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config_vocals.yaml (can't be read|tells of no RoFormer)"):
        RoformerVoice(str(tmp_path), "cpu")


@needs_package
@pytest.mark.parametrize("around", ["", "state_dict/model.", "model_state_dict/", "module."])
def test_what_a_trainer_put_around_the_weights_is_left_out(around: str, tmp_path: Path) -> None:
    expected = separated(RoformerVoice(save_roformer(tmp_path / "plain"), "cpu"), mix(2_000))
    folder = Path(save_roformer(tmp_path / "around"))
    kept = {f"{around}{name}": tensor for name, tensor in weights(MEL).items()}
    more = {"optimizer_state_dict/state/0/exp_avg": torch.zeros(3)} if around else {}
    save_file(kept | more, folder / "model.safetensors")
    assert np.array_equal(separated(RoformerVoice(str(folder), "cpu"), mix(2_000)), expected)


@needs_package
def test_a_pickle_goes_through_the_converter(tmp_path: Path) -> None:
    expected = separated(RoformerVoice(save_roformer(tmp_path / "safe"), "cpu"), mix(2_000))
    folder = Path(save_roformer(tmp_path / "pickled"))
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": weights(MEL), "epoch": 3}, folder / "model.ckpt")
    assert np.array_equal(separated(RoformerVoice(str(folder), "cpu"), mix(2_000)), expected)


@needs_package
def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not(tmp_path: Path) -> None:
    folder = Path(save_roformer(tmp_path / "evil"))
    (folder / "model.safetensors").unlink()
    torch.save({**weights(MEL), "bomb": Bomb(tmp_path / "marker")}, folder / "model.ckpt")
    with pytest.raises(CheckpointError, match=r"it wants to call posix\.system"):
        RoformerVoice(str(folder), "cpu")
    assert not (tmp_path / "marker").exists()


@needs_package
def test_weights_of_half_precision_and_without_constants_are_taken(tmp_path: Path) -> None:
    folder = Path(save_roformer(tmp_path))
    expected = separated(RoformerVoice(str(folder), "cpu"), mix(2_000))
    kept = {name: tensor.half() for name, tensor in weights(MEL).items() if "rotary" not in name}
    save_file(kept, folder / "model.safetensors")
    assert np.abs(separated(RoformerVoice(str(folder), "cpu"), mix(2_000)) - expected).max() < 1e-3


@needs_package
@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"a": torch.zeros(3)}, "holds the weights of 0 RoFormers"),
        ({f"{name}.{key}": value.clone() for name in ("ema", "net") for key, value in weights(MEL).items()},
         "holds the weights of 2 RoFormers"),
        ({**weights(MEL), "band_split.to_features.0.1.bias": torch.full((8,), torch.nan)}, "no finite number"),
        ({"a": torch.zeros(3, dtype=torch.bfloat16)}, "bfloat16.*; save float32"),
        ({**weights(MEL), "more": torch.zeros(3)}, r"more is \(3,\), expected no such tensor"),
    ],
)  # fmt: skip
def test_weights_of_something_else_are_refused(found: dict[str, Any], told: str, tmp_path: Path) -> None:
    folder = Path(save_roformer(tmp_path))
    save_file(found, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=told):
        RoformerVoice(str(folder), "cpu")


def test_files_that_are_missing_or_too_many_name_both_ways_out(tmp_path: Path) -> None:
    folder = Path(save_roformer(tmp_path / "two"))
    (folder / "other.yaml").write_text("")
    for where, told in ((folder, "has 2 configs"), (tmp_path, "has 0 configs"), (tmp_path / "no", "neither a folder")):
        with pytest.raises(UsageError, match=rf"{told}.* give a folder .* weight-free way: `method: center`"):
            RoformerVoice(str(where), "cpu")


def test_a_hub_id_is_found_in_the_cache(tmp_path: Path) -> None:
    cached = tmp_path / "models--some--roformer"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    folder = Path(save_roformer(cached / "snapshots" / "abc"))
    (folder / "config_vocals.yaml").rename(folder / "config.yaml")
    code = "from autosing.models.published.roformer import _files; print(*(f.name for f in _files('some/roformer')))"
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["config.yaml", "model.safetensors"]


def test_a_missing_package_names_both_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymss_core.modules.bs_roformer", None)
    with pytest.raises(AutosingError, match=r"pip install 'autosing\[roformer\]', or take the weight-free way"):
        RoformerVoice(save_roformer(tmp_path), "cpu")
