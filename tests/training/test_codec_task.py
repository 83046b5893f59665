"""The codec's trainer: a decoder that learns codes which stay as they are."""

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import assert_same_run
from toy_shards import voiced_sample, write_set

from autosing.models.codec import Codec, encode
from autosing.models.directory import load_model, load_tensors
from autosing.signal.errors import UsageError
from autosing.training.manifest import Manifest
from autosing.training.recipes import codec, unit_vocoder
from autosing.training.run import train
from autosing.training.shards import ShardSet
from autosing.training.step import tensors

TINY: dict[str, Any] = {
    "size": "tiny",
    "n_codes": 16,
    "code_dim": 4,
    "seconds_per_batch": 2,
    "warmup_steps": 0,
    "adversarial_weight": 0,
}
OFTEN = ["log_every=2", "validate_every=4", "save_every=4", "validate_samples=2", "ema_decay=0.9"]
SETTINGS = [*(f"{name}={value}" for name, value in TINY.items()), *OFTEN]
CODES = ("inwards.", "encoder.", "encoded.", "levels.")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [voiced_sample(number, 0.5) for number in range(6)]
    return write_set(tmp_path_factory.mktemp("sung") / "set", {"train": [samples[:4]], "valid": [samples[4:]]})


@pytest.fixture(scope="module")
def base(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = [*SETTINGS, "steps=4", "resynthesis=mel"]
    result = train("codec", data, tmp_path_factory.mktemp("base") / "run", settings)
    assert result.model is not None
    return result.model


def test_frozen_codes_are_bit_by_bit_those_of_the_base_after_training(base: Path, data: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, "steps=4", "freeze_codes=true", f"begin_from={base}"]
    result = train("codec", data, tmp_path / "run", settings)
    assert result.model is not None
    before, after = load_tensors(base)[0], load_tensors(result.model)[0]
    changed = {name for name, tensor in after.items() if not np.array_equal(tensor, before[name])}
    assert not [name for name in changed if name.startswith(CODES)]
    assert {"told", "apart", "outwards", "decoder"} == {name.split(".")[0] for name in changed}
    heard = voiced_sample(5, 0.5).audio
    assert heard is not None
    ours, theirs = (load_model(folder).model for folder in (result.model, base))
    assert isinstance(ours, Codec)
    assert isinstance(theirs, Codec)
    for a, b in zip(encode(ours, heard), encode(theirs, heard), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("is_frozen", [True, False])
def test_what_makes_codes_gets_gradients_and_follows_means_where_it_is_not_frozen(
    base: Path, data: Path, is_frozen: bool
) -> None:
    config = codec(**TINY, freeze_codes=is_frozen, begin_from=str(base))
    task = config.task(Manifest.read(data))
    model = task.build()
    task.adopt(model, load_model(base), ())
    network = model.train().network
    assert isinstance(network, Codec)
    buffers = {name: buffer.clone() for name, buffer in network.levels.named_buffers()}
    shards = ShardSet.open(data, "train")
    samples = [shards.read(i, config.columns) for i in range(4)]
    batch = tensors(task.collate(samples, training=True), torch.device("cpu"))
    torch.stack(list(task.losses(model, batch, "network").values())).sum().backward()  # type: ignore[no-untyped-call]
    moved = {name.split(".")[0] + "." for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert moved & {*CODES} == (set() if is_frozen else {*CODES})
    assert "decoder." in moved
    same = all(torch.equal(buffer, buffers[name]) for name, buffer in network.levels.named_buffers())
    assert same == is_frozen
    assert all(network.get_submodule(name[:-1]).training != is_frozen for name in CODES)
    assert network.decoder.training


def test_a_decoder_hears_no_latents_that_have_no_codes(base: Path, data: Path) -> None:
    shards = ShardSet.open(data, "train")
    for is_frozen in (True, False):
        config = codec(**TINY, freeze_codes=is_frozen, begin_from=str(base))
        task, drawn = config.task(Manifest.read(data)), set()
        samples = [shards.read(i, config.columns) for i in (0, 1)]
        for epoch in range(60):
            batch = task.collate([replace(one, entropy=(0, epoch, 0)) for one in samples], training=True)
            drawn |= set(batch.arrays["levels"].tolist())
        assert drawn == ({1, 2, 3} if is_frozen else {1, 2, 3, 4})


def test_every_batch_has_something_for_every_codebook_which_processes_share(data: Path) -> None:
    config, shards = codec(**TINY), ShardSet.open(data, "train")
    task, sample = config.task(Manifest.read(data)), shards.read(0, config.columns)
    batches = [task.collate([replace(sample, entropy=(0, epoch, 0))], training=True) for epoch in range(30)]
    assert {int(batch.arrays["levels"].max()) for batch in batches} == {3, 4}


def test_what_several_processes_are_told_of_parameters_without_gradient_is_true(data: Path) -> None:
    told = {"size": "tiny", "n_tokens": 64, "adversarial_weight": 0, "resynthesis": "mel", "generator": "istft"}
    for config in (codec(**TINY, resynthesis="mel"), unit_vocoder(**told)):
        task, shards = config.task(Manifest.read(data)), ShardSet.open(data, "train")
        model, batch = task.build(), task.collate([shards.read(0, config.columns)], training=True)
        losses = task.losses(model, tensors(batch, torch.device("cpu")), "network")
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        assert task.leaves_unused == any(one.grad is None for one in model.network.parameters())


def test_judges_teach_nothing_before_they_learn(data: Path) -> None:
    making, judging = codec(adversarial_from=3).task(Manifest.read(data)).phases()
    names = ("adversarial", "features", "mel")
    assert [[making.weights_at(step)[name] for name in names] for step in (2, 3)] == [[0, 0, 1], [0.2, 0.4, 1]]
    assert [judging.is_due(step) for step in (2, 3)] == [False, True]


@pytest.mark.slow
def test_stopping_and_resuming_with_frozen_codes_changes_nothing(base: Path, data: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, "steps=4", "freeze_codes=true", f"begin_from={base}", "crop_s=0.4"]
    train("codec", data, tmp_path / "straight", settings)

    def stop(now: int, line: Mapping[str, float]) -> None:
        if now == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    assert train("codec", data, tmp_path / "run", settings, on_step=stop).step == 3
    assert train("codec", data, tmp_path / "run", [], resume=True).step == 4
    assert_same_run(tmp_path / "straight", tmp_path / "run", 4)


def test_codes_of_no_model_cannot_be_kept() -> None:
    with pytest.raises(
        UsageError, match="freeze_codes keeps the codes of a trained codec, and there is none; give one"
    ):
        codec(freeze_codes=True)
