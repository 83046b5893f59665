"""The trainer of semantic bottlenecks: what is counted, what a text teaches, and what a run leaves."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_shards import ToySample, toy_samples, voiced_sample, write_set

from autosing.models.directory import load_model
from autosing.models.semantic import tokens_of
from autosing.signal.errors import CheckpointError, DataError, MissingColumn, UsageError
from autosing.training.manifest import Manifest
from autosing.training.recipes import semantic
from autosing.training.run import train
from autosing.training.sample import Sample
from autosing.training.shards import ShardSet
from autosing.training.tasks.semantic import SemanticTask

TINY = ["size=tiny", "n_tokens=32", "code_dim=8", "seconds_per_batch=2", "warmup_steps=2"]
LETTERS = "amslbfroetin"


def spoken_sample(number: int, seconds: float) -> ToySample:
    """Returns a toy sample whose text has a letter for each of its units."""
    sample = voiced_sample(number, seconds)
    units = sample.series["units"]
    changes = np.flatnonzero(np.diff(units.astype(int), prepend=-1))
    return replace(sample, text="".join(LETTERS[units[n]] for n in changes))


@pytest.fixture(scope="module")
def spoken_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [spoken_sample(number, 0.6) for number in range(8)]
    return write_set(tmp_path_factory.mktemp("semantic") / "set", {"train": [samples[:6]], "valid": [samples[6:]]})


def samples_of(data: Path) -> list[Sample]:
    shards = ShardSet.open(data, "train")
    return [shards.read(n, ["ssl"]) for n in range(len(shards))]


def losses_of(task: SemanticTask, samples: list[Sample]) -> tuple[Mapping[str, float], Any]:
    """Returns the losses of samples by a model that the same samples began, and that model with their batch."""
    torch.manual_seed(0)
    model = task.build()
    task.initialise(model, samples)
    for name, parameter in model.named_parameters():
        if "to_features" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return told(task, model, samples), (model, task.collate(samples, training=False))


def told(task: SemanticTask, model: Any, samples: list[Sample]) -> Mapping[str, float]:
    """Returns the losses of samples."""
    batch = task.collate(samples, training=False)
    with torch.no_grad():
        found = task.losses(model.eval(), {k: torch.from_numpy(v) for k, v in batch.arrays.items()}, "model")
    return {name: float(loss) for name, loss in found.items()}


def test_losses_and_counts_of_a_batch_are_the_sums_of_its_samples(spoken_set: Path) -> None:
    task = semantic(size="tiny", n_tokens=32, alphabet="letters").task(Manifest.read(spoken_set))
    samples = samples_of(spoken_set)
    short = replace(samples[0], key="short", series={"ssl": samples[0].series["ssl"][:3]}, info={**samples[0].info})
    mixed = [short, *samples]
    together, (model, batch) = losses_of(task, mixed)
    alone = [told(task, model, [sample]) for sample in mixed]
    for name in ("reconstruction", "ctc"):
        assert together[name] == pytest.approx(sum(one[name] for one in alone), rel=1e-4), name
    counts = [task.collate([sample], training=False).counts for sample in mixed]
    assert batch.counts == {name: sum(one[name] for one in counts) for name in batch.counts}
    assert batch.counts["reconstruction"] == sum(len(sample.series["ssl"]) for sample in mixed)
    assert counts[0]["ctc"] == 0, "a text that does not fit its time teaches nothing"


def test_how_far_codes_are_off_is_summed_over_tokens_alone(spoken_set: Path) -> None:
    task, samples = semantic(size="tiny", n_tokens=8).task(Manifest.read(spoken_set)), samples_of(spoken_set)
    samples[0] = replace(samples[0], series={"ssl": samples[0].series["ssl"][:5]})
    _, (model, batch) = losses_of(task, samples)
    given: list[torch.Tensor] = []
    model.quantiser.register_forward_pre_hook(lambda _, arguments: given.extend(arguments))
    codebook = model.quantiser.codebook.codebook.clone()
    with torch.no_grad():
        tensors = {name: torch.from_numpy(array) for name, array in batch.arrays.items()}
        found = float(task.losses(model.train(), tensors, "model")["commitment"])
        inside = torch.nn.functional.normalize(model.quantiser.inwards(given[0]), dim=-1)[given[1]]
    expected = (2 - 2 * (inside @ codebook.T).max(1).values).sum()
    assert found == pytest.approx(float(expected), rel=1e-3)
    assert batch.counts["commitment"] == len(inside) == 3 + 5 * 15


def test_text_is_left_out_where_there_is_none_or_none_is_wanted(spoken_set: Path) -> None:
    manifest, samples = Manifest.read(spoken_set), samples_of(spoken_set)
    wordless = [replace(sample, info={**sample.info, "text": None}) for sample in samples]
    task = semantic(size="tiny", n_tokens=32).task(manifest)
    found, (model, batch) = losses_of(task, wordless)
    assert found["ctc"] == 0 and batch.counts["ctc"] == 0
    tensors = {name: torch.from_numpy(array) for name, array in batch.arrays.items()}
    with torch.no_grad():
        metrics = task.validate(model.eval(), [tensors])
    assert metrics.keys() == {"loss", "reconstruction", "codes_used", "entropy_bits"}
    plain = semantic(size="tiny", n_tokens=32, text_weight=0.0).task(manifest)
    found, (model, batch) = losses_of(plain, samples)
    assert "ctc" not in found and model.to_text is None and batch.counts["ctc"] == 0
    assert plain.contract()["text"] is None and task.contract()["text"]["alphabet"] == "classes"


def test_texts_are_read_from_tokens_and_runs_leave_what_the_stage_needs(tmp_path: Path) -> None:
    samples = [spoken_sample(number, 0.6) for number in range(4)]
    again = [replace(sample, key=f"{number:016x}_0") for number, sample in enumerate(samples)]
    data = write_set(tmp_path / "set", {"train": [samples], "valid": [again]})
    often = ["steps=150", "validate_every=150", "save_every=150", "lr=6e-3", "alphabet=letters"]
    result = train("semantic", data, tmp_path / "run", [*TINY, *often])
    metrics = {name.removeprefix("valid/"): value for name, value in result.metrics.items()}
    assert metrics["symbol_errors"] < 0.2 and metrics["ctc"] < 0.5 and metrics["reconstruction"] < 0.3
    assert 0.3 < metrics["codes_used"] <= 1 and 2 < metrics["entropy_bits"] <= 5
    loaded = load_model(result.model or "")
    assert loaded.contract["tokens"] == {"rate": "25", "size": 32}
    assert loaded.contract["rates"] == {"ssl": "50"} and loaded.contract["definitions"].keys() == {"ssl"}
    model: Any = loaded.model
    assert len(set(tokens_of(model, samples[0].series["ssl"], 15).tolist())) > 3


def test_a_run_begins_from_a_model_of_the_same_kind(spoken_set: Path, tmp_path: Path) -> None:
    one = train("semantic", spoken_set, tmp_path / "one", [*TINY, "steps=2"])
    slow = [*TINY, "steps=1", "lr=1e-9", f"begin_from={one.model}"]
    two = train("semantic", spoken_set, tmp_path / "two", slow)
    was, now = (load_model(run.model or "").model.state_dict() for run in (one, two))
    for name, tensor in was.items():
        if "codebook" not in name:
            torch.testing.assert_close(tensor, now[name], rtol=1e-4, atol=1e-5, msg=name)
    with pytest.raises(CheckpointError, match=r"tokens.size = 32, but it is 16 here"):
        train("semantic", spoken_set, tmp_path / "three", [*TINY, "n_tokens=16", f"begin_from={one.model}"])


def test_a_look_shows_features_codes_and_symbols(spoken_set: Path) -> None:
    task = semantic(size="tiny", n_tokens=32).task(Manifest.read(spoken_set))
    _, (model, batch) = losses_of(task, samples_of(spoken_set))
    with torch.no_grad():
        look = task.look(model.eval(), {name: torch.from_numpy(array) for name, array in batch.arrays.items()})
    assert look.figures.keys() == {"features", "codes", "symbols"}


def test_what_is_wrong_is_named(spoken_set: Path, tmp_path: Path) -> None:
    plain = write_set(tmp_path / "plain", {"train": [toy_samples(2)]})
    with pytest.raises(MissingColumn, match="no column ssl"):
        semantic().task(Manifest.read(plain))
    sample = samples_of(spoken_set)[0]
    empty = replace(sample, series={"ssl": sample.series["ssl"][:0]})
    with pytest.raises(DataError, match=rf"sample {sample.key} has no frames"):
        semantic().task(Manifest.read(spoken_set)).collate([empty], training=False)
    for settings, message in (
        ({"n_tokens": 0}, "n_tokens is 0; it must be above 0"),
        ({"context_layers": -1}, "context_layers is -1"),
        ({"text_weight": -1.0}, "text_weight is -1.0"),
        ({"text_weight": 0.0, "reconstruction_weight": 0.0}, "there is nothing to learn"),
        ({"crop_s": 2.0}, "crops have no text; set text_weight=0"),
    ):
        with pytest.raises(UsageError, match=message):
            semantic(**settings)
    with pytest.raises(UsageError, match="100 tokens a second of features at 50 Hz"):
        semantic(tokens_per_s=100).task(Manifest.read(spoken_set)).build()
