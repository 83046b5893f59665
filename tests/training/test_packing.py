"""Samples in shared rows: none is lost, none hears another, and losses and gradients are those of the samples alone."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sung_letters import coded_sample
from torch import Tensor
from toy_shards import write_set

from autosing.models.patterns import EMPTY, NO_SAMPLE
from autosing.models.segments import is_first, of_places, together, together_before
from autosing.signal.errors import UsageError
from autosing.training.loader import Batch, Reading
from autosing.training.manifest import Manifest
from autosing.training.order import plan_epoch
from autosing.training.packing import Rows, pack, rows_of
from autosing.training.recipes import sm2a, t2s
from autosing.training.run import train
from autosing.training.sample import Sample
from autosing.training.shards import ShardSet
from autosing.training.tasks.language_task import LanguageTask

T2S = {"size": "tiny", "target": "units", "n_tokens": 12, "dropout": 0.0}
SM2A = {"size": "tiny", "semantic": "units", "n_semantic_tokens": 12, "codes": ("codes_1", "codes_2", "codes_3")}
SM2A |= {"n_codes": 16, "dropout": 0.0, "unrolled_share": 0.5}
BACKING = {"backing": ("codes_1", "codes_2"), "n_backing_tokens": 16}
WITH_BACKING = {"t2s": BACKING, "sm2a": {**BACKING, "codes": ("codes_3",)}}


@pytest.fixture(scope="module")
def mixed_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of one to some seconds."""
    samples = [coded_sample(number, n_words=2 + number % 7) for number in range(24)]
    return write_set(
        tmp_path_factory.mktemp("packed") / "set", {"train": [samples[:12], samples[12:18]], "valid": [samples[18:]]}
    )


def task_of(data: Path, recipe: str, **settings: Any) -> LanguageTask[Any]:
    usual = T2S if recipe == "t2s" else SM2A
    found = (t2s if recipe == "t2s" else sm2a)(**{**usual, **settings}).task(Manifest.read(data))
    assert isinstance(found, LanguageTask)
    return found


def samples_of(data: Path, task: LanguageTask[Any]) -> list[Sample]:
    shards = ShardSet.open(data, "train")
    return [shards.read(n, list(task.config.columns)) for n in range(8)]


def tensors(batch: Batch) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in batch.arrays.items()}


@pytest.mark.parametrize("has_backing", [False, True])
@pytest.mark.parametrize("recipe", ["t2s", "sm2a"])
def test_losses_and_gradients_are_the_sums_of_those_of_the_samples(
    mixed_set: Path, recipe: str, has_backing: bool
) -> None:
    settings = WITH_BACKING[recipe] if has_backing else {}
    dropped = {"condition_dropout": 0.3, "backing_dropout": 0.3, "singer_dropout": 0.3, "history_dropout": 0.3}
    rows = task_of(mixed_set, recipe, row_s=4.0, seconds_per_batch=12.0, **dropped, **settings)
    alone = task_of(mixed_set, recipe, **dropped, **settings)
    samples = samples_of(mixed_set, rows)
    torch.manual_seed(0)
    model = rows.build().eval()
    with torch.no_grad():
        for weights in model.language.parameters():
            weights.add_(0.05 * torch.randn_like(weights))

    def told(task: LanguageTask[Any], some: list[Sample]) -> tuple[float, dict[str, Tensor], Batch]:
        batch = task.collate(some, training=True)
        model.zero_grad()
        loss = task.losses(model, tensors(batch), "model")["cross_entropy"]
        loss.backward()
        grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        return loss.item(), grads, batch

    loss, gradients, batch = told(rows, samples)
    singles = [told(alone, [sample]) for sample in samples]
    assert loss == pytest.approx(sum(one for one, _, _ in singles), rel=1e-5)
    for name, gradient in gradients.items():
        wanted = sum(one.get(name, torch.zeros_like(gradient)) for _, one, _ in singles)
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-3)
    assert batch.counts["cross_entropy"] == sum(one.counts["cross_entropy"] for *_, one in singles)
    withheld = {bool(one.arrays["withheld"][0]) for *_, one in singles}
    assert withheld == {True, False}
    assert (batch.arrays["columns_segments"].max(1) > 0).any()


def test_positions_begin_anew_with_each_sample(mixed_set: Path) -> None:
    task = task_of(mixed_set, "t2s", row_s=4.0, seconds_per_batch=12.0)
    samples = samples_of(mixed_set, task)
    arrays = task.collate(samples, training=True).arrays
    segments, firsts = arrays["columns_segments"], arrays["columns_s"]
    for row in range(len(segments)):
        for k in range(segments[row].max() + 1):
            places = np.flatnonzero(segments[row] == k)
            assert firsts[row, places[0]] == pytest.approx(0.01) and (np.diff(places) == 1).all()
            text = arrays["text"][row, arrays["text_segments"][row] == k]
            assert text[0] == 0 and (text[1:] > 0).all()
    cells = task_of(mixed_set, "sm2a", row_s=4.0, seconds_per_batch=12.0).collate(
        samples_of(mixed_set, task_of(mixed_set, "sm2a")), training=True
    )
    assert (cells.arrays["cells"][cells.arrays["columns_segments"] == NO_SAMPLE] == EMPTY).all()


@pytest.mark.parametrize("recipe", ["t2s", "sm2a"])
def test_all_batches_of_an_epoch_have_one_shape_and_hold_each_sample_once(mixed_set: Path, recipe: str) -> None:
    task = task_of(mixed_set, recipe, row_s=6.0, seconds_per_batch=12.0)
    shards = ShardSet.open(mixed_set, "train")
    collate = lambda some: task.collate(some, training=True)  # noqa: E731
    reading = Reading(shards, task.config.columns, collate, 0, 12.0, rows=task.shared_rows)
    batches = list(reading.epoch(0))
    shapes = {batch.arrays["columns_segments"].shape for batch in batches}
    assert len(shapes) == 1 and shapes.pop()[0] == 2 and len(batches) > 2
    assert Counter(key for batch in batches for key in batch.keys) == Counter(
        shards.read(n, []).key for n in range(len(shards))
    )


def test_rows_get_full_and_no_sample_is_lost() -> None:
    seconds = np.random.default_rng(0).uniform(2, 20, 3000).astype(np.float32)
    rows = Rows(3, 30.0, 0.04)
    order, begins = pack(seconds, rows)
    assert sorted(order.tolist()) == list(range(3000))
    used = []
    for first, end in zip(begins, [*begins[1:], len(order)], strict=True):
        found = rows_of([int(1000 * (s + 0.04)) for s in seconds[order[first:end]]], 30_000)
        assert len(found) <= 3
        used.append(float(seconds[order[first:end]].sum()))
    assert np.mean(used[:-1]) > 0.96 * 90
    # Who waits longest is never passed over for long.
    assert np.abs(order - np.arange(3000)).max() < 400


def test_longer_samples_than_rows_have_one_to_themselves() -> None:
    order, begins = pack(np.array([5, 40, 5, 5], np.float32), Rows(2, 10.0))
    assert order.tolist() == [0, 2, 1, 3] and begins.tolist() == [0, 3]
    assert rows_of([5, 5, 40, 5], 10) == [[0, 1], [2], [3]]


def test_an_epoch_is_the_same_for_the_same_seed_and_another_for_the_next() -> None:
    shard = np.repeat(np.arange(40), 20)
    seconds = np.random.default_rng(1).uniform(2, 20, 800).astype(np.float32)
    plans = [plan_epoch(shard, seconds, 3, epoch, 60.0, 4, rows=Rows(2, 30.0)) for epoch in (0, 0, 1)]
    told = [[plan.batch(i).tolist() for i in range(len(plan))] for plan in plans]
    assert told[0] == told[1] != told[2] and len(plans[0]) % 4 == 0
    assert sorted(n for batch in told[2] for n in batch) == list(range(800))
    for batch in told[0]:
        assert len(rows_of([int(1000 * seconds[n]) for n in batch], 30_000)) <= 2


def test_who_is_whose() -> None:
    segments, keys = torch.tensor([[0, 0, 1, NO_SAMPLE]]), torch.tensor([[0, 1, 1]])
    assert together(segments, keys)[0, 0].int().tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]]
    assert together_before(segments)[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [1, 1, 1, 1]]
    assert is_first(segments)[0].tolist() == [True, False, True, True]
    assert of_places(torch.tensor([[5, 7]]), segments)[0].tolist() == [5, 5, 7, 5]


@pytest.mark.parametrize("recipe", ["t2s", "sm2a"])
def test_a_model_is_trained_on_rows(mixed_set: Path, tmp_path: Path, recipe: str) -> None:
    usual = T2S if recipe == "t2s" else SM2A
    told = {**usual, "row_s": 4.0, "seconds_per_batch": 8.0, "steps": 3, "warmup_steps": 0, "validate_every": 3}
    settings = [f"{name}={','.join(one) if isinstance(one, tuple) else one}" for name, one in told.items()]
    result = train(recipe, mixed_set, tmp_path / "run", [*settings, "device=cpu", "save_every=3"])
    assert np.isfinite(result.metrics["valid/cross_entropy"])


def test_settings_that_do_not_fit_are_refused(mixed_set: Path) -> None:
    with pytest.raises(UsageError, match="a batch must hold a row"):
        t2s(**T2S, row_s=1000.0)
    with pytest.raises(UsageError, match="guided_weight is of samples in rows of their own"):
        t2s(**T2S, row_s=10.0, guided_weight=1.0)
