"""The trainer of SM2A: what is a target, what is withheld, what a run tells and leaves."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sung_letters import coded_sample
from torch import Tensor
from toy_shards import write_set

from autosing.models.codes_language import CodesLanguage
from autosing.models.directory import load_model
from autosing.models.generation import CodesGenerator
from autosing.models.patterns import EMPTY
from autosing.signal.errors import CheckpointError, DataError, MissingColumn, SchemaMismatch, UsageError
from autosing.training.loader import Batch
from autosing.training.manifest import Manifest
from autosing.training.recipes import sm2a
from autosing.training.run import train
from autosing.training.sample import Sample
from autosing.training.shards import ShardSet
from autosing.training.tasks.language_losses import Others
from autosing.training.tasks.sm2a import Sm2aTask
from autosing.training.unigrams import Unigrams

CODES = ("codes_1", "codes_2", "codes_3")
GIVEN: Mapping[str, Any] = {
    "size": "tiny", "semantic": "units", "n_semantic_tokens": 12, "codes": CODES, "n_codes": 16
}  # fmt: skip
TINY = ["size=tiny", "semantic=units", "n_semantic_tokens=12", "codes=codes_1,codes_2,codes_3", "n_codes=16"]
TINY += ["seconds_per_batch=6", "warmup_steps=2"]


@pytest.fixture(scope="module")
def coded_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [coded_sample(number) for number in range(9)]
    return write_set(tmp_path_factory.mktemp("sm2a") / "set", {"train": [samples[:6]], "valid": [samples[6:]]})


def samples_of(data: Path, split: str = "train") -> list[Sample]:
    shards = ShardSet.open(data, split)
    return [shards.read(n, ["units", *CODES]) for n in range(len(shards))]


def tensors(batch: Batch) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in batch.arrays.items()}


def task_of(data: Path, **settings: Any) -> Sm2aTask:
    task: Sm2aTask = sm2a(**{**GIVEN, **settings}).task(Manifest.read(data))
    return task


def test_codes_are_the_only_targets_and_losses_are_the_sums_of_samples(coded_set: Path) -> None:
    """AutoSing trains on pads (4097), which anybody can predict."""
    task, samples = task_of(coded_set, dropout=0.0), samples_of(coded_set)
    samples[0] = replace(samples[0], series={n: s[: len(s) // 2] for n, s in samples[0].series.items()})
    torch.manual_seed(0)
    model = task.build().eval()
    torch.nn.init.normal_(model.language.readout.weight, std=0.1)

    def told(some: list[Sample]) -> tuple[float, Batch]:
        batch = task.collate(some, training=False)
        with torch.no_grad():
            return float(task.losses(model, tensors(batch), "model")["cross_entropy"]), batch

    together, batch = told(samples)
    alone = [told([sample]) for sample in samples]
    assert together == pytest.approx(sum(loss for loss, _ in alone), rel=1e-4)
    n_codes = [sum(len(sample.series[name]) for name in CODES) for sample in samples]
    assert [one.counts["cross_entropy"] for _, one in alone] == n_codes
    assert batch.counts["cross_entropy"] == sum(n_codes) == (batch.arrays["cells"] != EMPTY).sum()
    assert batch.tokens == sum(one.arrays["cells"].shape[1] for _, one in alone) < batch.arrays["cells"][..., 0].size


def test_no_gradient_comes_from_padding_or_cells_without_a_code(coded_set: Path) -> None:
    task, samples = task_of(coded_set), samples_of(coded_set)
    samples[0] = replace(samples[0], series={n: s[: len(s) // 2] for n, s in samples[0].series.items()})
    batch, model = tensors(task.collate(samples, training=False)), task.build()
    # Each row is read from a quarter of the states by itself, whose gradient then is of its cells.
    readout, quarter = model.language.readout.weight, model.language.fields.dim // 4
    with torch.no_grad():
        for row in range(4):
            own = torch.zeros(16, 4 * quarter)
            own[:, row * quarter : (row + 1) * quarter] = torch.randn(16, quarter)
            readout[16 * row : 16 * (row + 1)] = own
    states: list[Tensor] = []
    model.language.norm.register_forward_hook(lambda _, __, normal: states.append(normal))
    task.losses(model, batch, "model")["cross_entropy"].backward(inputs=states)
    assert states[0].grad is not None
    pulled = states[0].grad.unflatten(-1, (4, quarter)).abs().sum(-1) > 0
    assert (pulled == (batch["cells"] != EMPTY)).all()


def test_columns_hold_the_codes_of_the_samples_at_their_times(coded_set: Path) -> None:
    task, samples = task_of(coded_set), samples_of(coded_set)
    arrays = task.collate(samples, training=True).arrays
    for row, sample in enumerate(samples):
        levels = [sample.series[name] for name in CODES]
        found = task.pattern.taken(arrays["cells"][row].T, [len(codes) for codes in levels])
        assert [codes.tolist() for codes in found] == [codes.tolist() for codes in levels]
        # A column lasts as long as a code of the second level, 40 ms.
        assert arrays["columns_s"][row, :3].tolist() == pytest.approx([0.02, 0.06, 0.1])
        n = int(arrays["semantic_counts"][row])
        assert arrays["semantic"][row, :n].tolist() == [0, *(1 + sample.series["units"].astype(int))]
        assert arrays["semantic_s"][row, 1:3].tolist() == pytest.approx([0.01, 0.03])


def test_some_training_samples_are_stretches_of_the_unrolled_pattern(coded_set: Path) -> None:
    task, (sample, *_) = task_of(coded_set, unrolled_share=0.5), samples_of(coded_set)
    many = [replace(sample, key=str(n)) for n in range(60)]
    batch = task.collate(many, training=True)
    cells, times_s = batch.arrays["cells"], batch.arrays["columns_s"]
    is_fine = np.isclose(times_s[:, 1] - times_s[:, 0], 0.02)
    assert 0.25 < is_fine.mean() < 0.75 and batch.counts["cross_entropy"] == (cells != EMPTY).sum()
    unrolled = task.pattern.unrolled()
    whole = unrolled.laid_out([sample.series[name] for name in CODES]).T
    for row in np.flatnonzero(is_fine):
        first = round(float(times_s[row, 0]) * 50 - 0.5)
        assert first % 4 == 0 and (cells[row] == whole[first : first + len(cells[row])]).all()
    assert len({float(times_s[row, 0]) for row in np.flatnonzero(is_fine)}) > 3
    plain = task.collate(many, training=False).arrays["columns_s"]
    assert np.allclose(plain[:, 1] - plain[:, 0], 0.04)


def test_conditions_are_withheld_in_training_alone_and_as_often_as_set(coded_set: Path) -> None:
    """AutoSing's SM2A withheld nothing unless asked to, and guided all the same."""
    task = task_of(coded_set, condition_dropout=0.3, singer_dropout=0.5)
    many = [replace(samples_of(coded_set)[0], key=str(n)) for n in range(400)]
    arrays = task.collate(many, training=True).arrays
    assert arrays["withheld"].mean() == pytest.approx(0.3, abs=0.08)
    assert (arrays["singer"] == 0).mean() == pytest.approx(0.5, abs=0.08)
    plain = task.collate(many, training=False).arrays
    assert not plain["withheld"].any() and plain["singer"].all()


def test_columns_are_forgotten_in_training_alone_and_as_often_as_set(coded_set: Path) -> None:
    task = task_of(coded_set, history_dropout=0.3)
    many = [replace(samples_of(coded_set)[0], key=str(n)) for n in range(40)]
    batch, plain = (task.collate(many, training=training) for training in (True, False))
    forgotten = batch.arrays["forgotten"]
    assert forgotten.mean() == pytest.approx(0.3, abs=0.04) and len(np.unique(forgotten, axis=0)) == 40
    # What is forgotten is a target all the same.
    assert "forgotten" not in plain.arrays and batch.counts["cross_entropy"] == plain.counts["cross_entropy"]


def test_the_most_frequent_code_of_training_is_the_baseline() -> None:
    unigrams = Unigrams([3, 4])
    unigrams.count([[np.array([0, 2, 2]), np.array([3])], [np.array([2]), np.array([3, 1])]])
    assert unigrams.counts.tolist() == [[1, 0, 3, 0], [0, 1, 0, 2]]
    assert unigrams.n_correct(0, torch.tensor([2, 2, 1])) == 2 and unigrams.n_correct(1, torch.tensor([0, 1])) == 0


def test_others_semantic_tokens_are_those_of_the_neighbour_over_the_own_time(coded_set: Path) -> None:
    task, samples = task_of(coded_set), samples_of(coded_set)
    batch = tensors(task.collate(samples, training=False))
    other = Others("semantic").of(batch)
    assert other is not None
    for row in range(1, 6):
        n = int(other["semantic_counts"][row])
        assert torch.equal(other["semantic"][row, :n], batch["semantic"][row - 1, :n])
        assert float(other["semantic_s"][row, n - 1]) == pytest.approx(float(batch["seconds"][row]), abs=0.02)
    assert torch.equal(other["cells"], batch["cells"])


def test_a_run_leaves_a_model_that_sings_as_long_as_asked(coded_set: Path, tmp_path: Path) -> None:
    result = train("sm2a", coded_set, tmp_path / "run", [*TINY, "steps=4", "validate_every=2", "unrolled_share=0.5"])
    assert result.model is not None
    loaded = load_model(result.model)
    assert isinstance(loaded.model, CodesLanguage)
    assert loaded.contract["semantic"] == {"column": "units", "n_tokens": 12}
    rates = ["25/2", "25", "50"]
    assert loaded.contract["codes"] == {"columns": list(CODES), "rates": rates, "sizes": [16] * 3}
    assert loaded.contract["pattern"] == {"column_frames": 2, "delays": [0, 1, 2]}
    assert loaded.contract["singers"] == ["ada", "ben"]
    assert loaded.contract["definitions"].keys() == {"units", *CODES}
    names = {"cross_entropy", "token_accuracy", "perplexity", "unigram_accuracy", "semantic_gap"}
    names |= {f"{name}_{n}" for name in ("token_accuracy", "perplexity", "unigram_accuracy") for n in range(3)}
    assert result.metrics.keys() == {f"valid/{name}" for name in names}
    assert all(math.isfinite(value) for value in result.metrics.values())
    batch = tensors(task_of(coded_set).collate(samples_of(coded_set)[:2], training=False))
    counts = [(8, 16, 32), (3, 6, 12)]
    found = CodesGenerator(loaded.model).generate(batch, counts, [1, 2])
    assert [tuple(map(len, song)) for song in found] == counts


def test_a_trained_model_goes_on_with_other_singers_but_not_with_another_pattern(
    coded_set: Path, tmp_path: Path
) -> None:
    first = train("sm2a", coded_set, tmp_path / "first", [*TINY, "steps=2"])
    others = [replace(coded_sample(n), singer="cleo" if n % 2 else "ben") for n in range(8)]
    data = write_set(tmp_path / "others", {"train": [others[:6]], "valid": [others[6:]]})
    second = train("sm2a", data, tmp_path / "second", [*TINY, "steps=1", "lr=1e-9", f"begin_from={first.model}"])
    assert first.model is not None and second.model is not None
    before, after = (load_model(model).model.singers.weight for model in (first.model, second.model))
    torch.testing.assert_close(after, torch.stack([before[0], before[2], before[0]]), atol=1e-4, rtol=1e-4)
    with pytest.raises(CheckpointError, match=r"pattern.delays = \[0, 1, 2\], but it is \[0, 1, 1\] here"):
        train("sm2a", data, tmp_path / "third", [*TINY, "delays=0,1,1", f"begin_from={first.model}"])


def with_vectors(data: Path, width: int) -> tuple[Manifest, list[Sample]]:
    """Returns a set and its samples with a vector for each singer, the first sample being of nobody."""
    manifest, samples = Manifest.read(data), samples_of(data)
    column = replace(manifest.columns["units"], name="singer_embedding", rate=None, dtype=f"list[{width}]")
    rng = np.random.default_rng(0)
    known = [None, *(rng.standard_normal(width).tolist() for _ in samples[1:])]
    told = [
        replace(sample, info={**sample.info, "values": {"singer_embedding": vector}})
        for sample, vector in zip(samples, known, strict=True)
    ]
    return replace(manifest, columns={**manifest.columns, "singer_embedding": column}), told


def test_a_singer_may_be_told_by_a_vector(coded_set: Path) -> None:
    manifest, samples = with_vectors(coded_set, 8)
    task: Sm2aTask = sm2a(**GIVEN, singer="embedding", singer_dropout=0.5).task(manifest)
    arrays = task.collate(samples, training=False).arrays
    assert arrays["singer_embedding"].shape == (6, 8) and "singer" not in arrays
    assert not arrays["singer_embedding"][0].any() and arrays["singer_embedding"][1:].any(1).all()
    many = [replace(samples[1], key=str(n)) for n in range(200)]
    heard = task.collate(many, training=True).arrays["singer_embedding"].any(1)
    assert heard.mean() == pytest.approx(0.5, abs=0.1)
    model = task.build()
    layer: Any = model.language.conditions["singer_embedding"]
    assert task.fields.conditions == {} and layer.in_features == 8
    scales = task.lr_scales(model)
    assert not any(parameter is layer.weight for parameter in scales), "its width is not the model's"
    assert task.contract()["singers"] == [] and "singer_embedding" in task.contract()["definitions"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"semantic": "semantic"}, MissingColumn, "has no column semantic"),
        ({"singer": "embedding"}, MissingColumn, "has no column singer_embedding"),
        ({"n_codes": 0}, UsageError, "how many different codes_1 there are; set n_codes"),
        ({"n_semantic_tokens": 0}, UsageError, "how many different units there are; set n_semantic_tokens"),
        ({"codes": ()}, UsageError, "codes is empty; name the column of each level"),
        ({"codes": ("codes_1", "codes_1")}, UsageError, "a column is named twice among units, codes_1, codes_1"),
        ({"unrolled_share": 1.5}, UsageError, "unrolled_share is 1.5; it must be from 0 to 1"),
        ({"column_frames": 3}, UsageError, "tokens of 4 frames do not fit columns of 3"),
        ({"delays": (0, 1)}, UsageError, r"3 levels with the delays \[0, 1\]"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    coded_set: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        task_of(coded_set, **settings)


def test_samples_that_do_not_fit_are_named(coded_set: Path) -> None:
    (sample, *_) = samples_of(coded_set)
    with pytest.raises(DataError, match=rf"{sample.key} has codes_. \d+, but n_codes is 5; set it to how many"):
        task_of(coded_set, n_codes=5).collate([sample], training=True)
    with pytest.raises(DataError, match=r"has units \d+, but n_semantic_tokens is 5"):
        task_of(coded_set, n_semantic_tokens=5).collate([sample], training=True)
    stranger = replace(sample, info={**sample.info, "singer": "zoe"})
    with pytest.raises(SchemaMismatch, match="is sung by 'zoe', who is not in the set's table"):
        task_of(coded_set, singer_dropout=0.0).collate([stranger], training=True)


def test_a_validation_shows_how_likely_the_true_codes_were(coded_set: Path) -> None:
    task, samples = task_of(coded_set), samples_of(coded_set)
    model = task.build().eval()
    with torch.no_grad():
        look = task.look(model, tensors(task.collate(samples, training=False)))
    (panel, *_) = look.figures["likelihood of the true codes"].axes
    assert [label.get_text() for label in panel.get_yticklabels()] == list(CODES)
    image = panel.images[0].get_array()
    assert image is not None and image.shape[0] == 4 and image.max() == pytest.approx(1 / 16)


@pytest.mark.slow
def test_codes_that_were_never_heard_follow_what_is_sung(tmp_path: Path) -> None:
    samples = [coded_sample(number) for number in range(140)]
    data = write_set(tmp_path / "set", {"train": [samples[:120]], "valid": [samples[120:]]})
    settings = [*TINY, "seconds_per_batch=14", "warmup_steps=10", "lr=3e-3", "steps=70", "validate_every=70"]
    result = train("sm2a", data, tmp_path / "run", settings)
    told = {name.removeprefix("valid/"): value for name, value in result.metrics.items()}
    assert told["token_accuracy"] > 2 * told["unigram_accuracy"] and told["semantic_gap"] > 1.3, told
    for level in range(3):
        assert told[f"token_accuracy_{level}"] > 2 * told[f"unigram_accuracy_{level}"], level
