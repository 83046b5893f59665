"""What is no published vocoder, hostile, damaged or of parts that do not fit is refused, and leaves no directory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import published_checkpoints as made
import pytest
import torch
import yaml
from safetensors.torch import save_file

from autosing.cli.main import main
from autosing.models.published.importing import import_vocoder
from autosing.signal.errors import AutosingError, CheckpointError, UsageError
from bomb import Bomb


def test_a_pickle_with_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    folder = made.save("hifigan", tmp_path / "published")
    torch.save({"generator": made.weights_of("hifigan"), "x": Bomb(tmp_path / "ran")}, folder / "generator_v1")
    with pytest.raises(CheckpointError, match=r"is refused: it wants to call (posix|nt)\.system"):
        import_vocoder(folder, tmp_path / "model")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "model").exists()


def hifigan(tmp_path: Path, weights: made.Weights, **config: Any) -> Path:
    return made.save_gan(tmp_path / "published", {**made.GAN, **config}, weights, "g.safetensors")


def without(weights: made.Weights, name: str) -> made.Weights:
    return {key: tensor for key, tensor in weights.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "config", "told"),
    [
        (lambda w: without(w, "conv_post.bias"), {}, "does not fit config.json: conv_post.bias is missing"),
        (lambda w: {**w, "more": torch.zeros(2)}, {}, r"more is \(2,\), expected no such tensor"),
        (lambda w: without(w, "ups.0.weight_g"), {}, "ups.0.weight_v has no ups.0.weight_g beside it"),
        (lambda w: {**w, "ups.0.weight_g": torch.ones(3, 1, 1)}, {}, r"ups.0. has lengths \(3, 1, 1\)"),
        (lambda w: {**w, "ups.0.weight_v": 0 * w["ups.0.weight_v"]}, {}, "ups.0.weight holds what is no finite number"),
        (lambda w: w, {"num_mels": 21}, r"conv_pre.weight is \(16, 20, 7\), expected \(16, 21, 7\)"),
        (lambda w: w, {"upsample_initial_channel": 1 << 40}, r"conv_post.weight|no network of these sizes"),
        (lambda w: w, {"upsample_rates": [4, 4, 4]}, "make 64 samples a frame, and the hop is 32"),
        (lambda w: w, {"upsample_kernel_sizes": [8, 8, 3]}, r"\[8, 8, 3\] can't step up by \[4, 4, 2\]"),
        (lambda w: w, {"resblock_kernel_sizes": [3, 4]}, r"residual kernels \[3, 4\]: there is an odd one"),
        (lambda w: w, {"resblock_dilation_sizes": [[1, 3], [1, 0]]}, "all are 1 or more"),
        (lambda w: w, {"resblock": "3"}, "resblock is '3'; there are: 1, 2"),
        (lambda w: w, {"upsample_rates": "8"}, "config.json.upsample_rates: '8' does not fit"),
        (lambda w: w, {"fmax": 9000}, "not inside 0 to 4000 Hz"),
        (lambda w: w, {"activation": "relu", "snake_logscale": True}, "activation is 'relu'; there are: snake"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_their_config_are_refused(
    spoil: Callable[[made.Weights], made.Weights], config: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(AutosingError, match=told):
        import_vocoder(hifigan(tmp_path, spoil(made.weights_of("hifigan")), **config), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_another_constant_than_ours_is_another_network(tmp_path: Path) -> None:
    weights = made.bigvgan_weights(made.BIGVGAN, made.LOW_PASS.roll(1))
    folder = made.save_gan(tmp_path / "published", made.BIGVGAN, weights, "g.safetensors")
    with pytest.raises(CheckpointError, match=r"lowpass.filter is another constant than its config tells"):
        import_vocoder(folder, tmp_path / "model")


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("feature_extractor", {"class_path": "vocos.feature_extractors.EncodecFeatures"}, "is 'vocos.*Encodec"),
        ("backbone", {"init_args": {"dim": 24}}, "input_channels"),
        ("backbone", {"init_args": {**made.VOCOS_PARTS["backbone"][1], "adanorm_num_embeddings": 4}}, "a bandwidth"),
        ("head", {"init_args": {"dim": 24, "n_fft": 128, "hop_length": 64}}, "hop, bands and width of its"),
        ("head", {"init_args": {"dim": 24, "n_fft": 1 << 40, "hop_length": 32}}, "at most are 65536"),
        ("head", {"init_args": {"dim": 24, "n_fft": 62, "hop_length": 32}}, "even and two hops of 32 or more"),
    ],
)  # fmt: skip
def test_another_vocos_is_refused(part: str, change: dict[str, Any], told: str, tmp_path: Path) -> None:
    folder = made.save_vocos(tmp_path / "published", {})
    save_file(made.weights_of("vocos"), folder / "model.safetensors")
    (folder / "pytorch_model.bin").unlink()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config[part] |= change
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(AutosingError, match=told):
        import_vocoder(folder, tmp_path / "model")


def test_a_layout_that_is_unknown_or_ambiguous_is_told(tmp_path: Path) -> None:
    folder = hifigan(tmp_path, made.weights_of("hifigan"))
    (tmp_path / "there").mkdir()
    (folder / "g_2.safetensors").write_bytes((folder / "g.safetensors").read_bytes())
    for source, target, told in (
        (tmp_path / "no", "model", "does not exist; give the folder of a published vocoder"),
        (folder, "there", "exists; give a folder that does not"),
        (folder, "model", r"has 2 files of a generator's weights \(g.safetensors, g_2.safetensors\); give the file"),
        (tmp_path / "there", "model", r"has 0 files of a generator's weights \(none\)"),
    ):
        with pytest.raises(UsageError, match=told):
            import_vocoder(source, tmp_path / target)
    with pytest.raises(CheckpointError, match="more than 1000; allow more"):
        import_vocoder(folder / "g.safetensors", tmp_path / "model", max_bytes=1000)
    import_vocoder(folder / "g.safetensors", tmp_path / "model")
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config.json can't be read"):
        import_vocoder(folder / "g.safetensors", tmp_path / "another")
    (folder / "config.json").unlink()
    with pytest.raises(UsageError, match=r"has no config.json or config.yaml beside it"):
        import_vocoder(folder / "g.safetensors", tmp_path / "another")


def test_the_command_tells_which_mel_it_wants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made.save_gan(tmp_path / "published", made.GAN, made.weights_of("nsf_hifigan"), "model.safetensors")
    with pytest.raises(SystemExit) as end:
        main(["import-vocoder", str(folder), str(tmp_path / "model")])
    assert end.value.code == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{tmp_path}/model: nsf_hifigan at 8000 Hz, of the columns mel, f0_hz and voiced"
    assert second.startswith("its mel: autosing process DATASET mel --set mel.spec.sample_rate=8000")
    assert (
        json.loads((tmp_path / "model/config.json").read_text())["training"]["imported"]["file"] == "model.safetensors"
    )
