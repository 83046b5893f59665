"""Trainers of content encoders: hidden and heard frames are counted apart, and sound has the frames of its labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_shards import AUDIO_HZ, N_UNITS, voiced_sample, write_set

from autosing.models.directory import load_tensors, read_safetensors
from autosing.models.wave_content import WaveContentEncoder
from autosing.signal.errors import MissingColumn, UsageError
from autosing.training.manifest import Manifest
from autosing.training.recipes import pitdyn, soft_hubert, soft_units
from autosing.training.run import train
from autosing.training.sample import Sample
from autosing.training.step import tensors
from autosing.training.tasks.listener import LOSSES, MASKED, ListenerConfig, ListenerTask

ALL = {"n_units": N_UNITS, "pitch_bins": 40, "dynamic_bins": 8, "dropout": 0.0}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    toys = [voiced_sample(number, 0.5) for number in range(2)]
    return Manifest.read(write_set(tmp_path_factory.mktemp("toy") / "set", {"train": [toys]}))


def samples() -> list[Sample]:
    toys = [voiced_sample(number, 0.4 + 0.11 * number) for number in range(2)]
    return [
        Sample(t.key, {**t.series, "audio": t.audio}, {"seconds": t.seconds}, sample_rate_hz=AUDIO_HZ)  # type: ignore[dict-item]
        for t in toys
    ]


def configs(hubert: str, **settings: Any) -> list[ListenerConfig]:
    given = {**ALL, **settings}
    return [soft_units(size="tiny", **given), soft_hubert(encoder=hubert, **given)]


@pytest.mark.parametrize("which", [0, 1])
def test_hidden_and_heard_frames_make_up_the_whole(manifest: Manifest, hubert: str, which: int) -> None:
    config = configs(hubert, masked_share=0.5, masked_span=4, masked_weight=0.25, unmasked_weight=0.75)[which]
    task: Any = config.task(manifest)
    batch = task.collate(samples(), training=True)
    assert batch.counts["pitch"] + batch.counts["pitch_masked"] == batch.arrays["frames"].sum()
    assert batch.counts["units_masked"] == batch.arrays["is_hidden"].sum() > 0
    given = tensors(batch, torch.device("cpu"))
    model = task.build().train()
    losses = task.losses(model, given, "model")
    assert losses.keys() == {*LOSSES, *(name + MASKED for name in LOSSES)}
    with torch.no_grad():
        heard = task._heard(model, given, given["is_hidden"])
        inside = torch.arange(given["is_hidden"].shape[1]) < given["frames"][:, None]
        for name, nats in task._nats(model, heard, given).items():
            torch.testing.assert_close(losses[name] + losses[name + MASKED], (nats * inside).sum())
    weights = task.phases()[0].weights_at(0)
    assert [weights[name] for name in ("units", "units_masked", "dynamics_masked")] == [0.75, 0.25, 0.25]


def test_nothing_is_hidden_outside_of_training(manifest: Manifest, hubert: str) -> None:
    for config in configs(hubert, masked_share=0.5):
        assert not config.task(manifest).collate(samples(), training=False).arrays["is_hidden"].any()


def test_sound_has_the_frames_and_labels_that_its_columns_have(manifest: Manifest, hubert: str) -> None:
    task = soft_hubert(encoder=hubert, **ALL).task(manifest)
    batch = task.collate(samples(), training=False)
    counts = [len(sample.series["units"]) for sample in samples()]
    assert batch.arrays["frames"].tolist() == counts == [20, 26]
    assert batch.arrays["audio"].shape == (2, 26 * 320 + 80)
    for row, sample in zip(batch.arrays["units"], samples(), strict=True):
        np.testing.assert_array_equal(row[: len(sample.series["units"])], sample.series["units"])


def test_a_run_begins_with_the_pretrained_weights(manifest: Manifest, hubert: str) -> None:
    from transformers import AutoModel

    task: ListenerTask = soft_hubert(encoder=hubert, encoder_layers=1, **ALL).task(manifest)
    model = task.build()
    task.initialise(model, samples())
    assert isinstance(model, WaveContentEncoder)
    pretrained = AutoModel.from_pretrained(hubert).state_dict()
    for name, tensor in model.encoder.state_dict().items():
        torch.testing.assert_close(tensor, pretrained[f"encoder.{name}"], rtol=0, atol=0)
    assert [p.requires_grad for p in model.front.parameters()] == [False] * len([*model.front.parameters()])


@pytest.mark.parametrize("is_frozen", [True, False])
def test_training_moves_the_encoder_and_its_front_where_that_is_not_frozen(
    hubert: str, tmp_path: Path, is_frozen: bool
) -> None:
    data = write_set(tmp_path / "set", {"train": [[voiced_sample(number, 0.5) for number in range(2)]]})
    settings = [f"encoder={hubert}", f"freeze_front={str(is_frozen).lower()}", "n_units=12", "steps=2"]
    run = train(
        "soft_hubert", data, tmp_path / "run", [*settings, "validate_every=2", "save_every=2", "warmup_steps=0"]
    )
    assert run.model is not None
    pretrained = read_safetensors(Path(hubert) / "model.safetensors")
    before = {name.replace("feature_extractor.", "front."): array for name, array in pretrained.items()}
    after = load_tensors(run.model)[0]
    same = {name: np.array_equal(array, before[name]) for name, array in after.items() if name in before}
    assert {kept for name, kept in same.items() if name.startswith("front.")} == {is_frozen}
    assert not same["encoder.layers.0.attention.q_proj.weight"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unmasked_weight": 0.0}, "unmasked_weight is 0, and no hidden frames teach; set it, or masked_share"),
        ({"masked_span": 0}, "masked_span is 0; it must be above 0"),
        ({"masked_share": 1.0}, "masked_share is 1.0; it must be from 0 to below 1"),
    ],
)
def test_settings_that_teach_nothing_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pitdyn(**settings)


def test_an_encoder_and_a_set_that_do_not_fit_are_told(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="encoder is empty; give the hub id or path"):
        soft_hubert(encoder="")
    with pytest.raises(UsageError, match=r"neither a folder .* give a local path of its files"):
        soft_hubert(encoder=str(tmp_path / "none")).task(manifest).build()
    silent = Manifest(**{**vars(manifest), "has_audio": False})
    with pytest.raises(MissingColumn, match="holds no audio; build it from a sample spec with `audio: voice`"):
        soft_hubert().task(silent)
