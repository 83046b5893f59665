"""Several sets are one: what they agree on, how often each is read, and that no song is on both sides."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from toy_shards import ToySample, lay_side_by_side, toy_samples, write_set

from autosing.signal.errors import DataError, SchemaMismatch, UsageError
from autosing.training.loader import Reading
from autosing.training.order import Part, plan_epoch
from autosing.training.run import train
from autosing.training.shards import Data, refuse_leaks

SHARD = np.repeat(np.arange(30), 20)
SECONDS = np.random.default_rng(0).uniform(1, 5, len(SHARD)).astype(np.float32)
MIXTURE = [Part(0, 200, 2.25), Part(200, 500, 1.0), Part(500, 600, 0.3)]


def taken(epoch: int) -> list[tuple[int, int]]:
    plan = plan_epoch(SHARD, SECONDS, 1, epoch, 20.0, 4, MIXTURE)
    assert len(plan) % 4 == 0
    return [pair for i in range(len(plan)) for pair in zip(plan.batch(i).tolist(), plan.turns(i).tolist(), strict=True)]


def test_each_part_is_taken_as_often_as_its_weight_says() -> None:
    epochs = [taken(epoch) for epoch in range(20)]
    for part in MIXTURE:
        counts = Counter(i for epoch in epochs for i, _ in epoch if part.begin <= i < part.end)
        assert len(counts) == part.end - part.begin
        assert {round(count / 20 - part.weight, 2) for count in counts.values()} <= {-0.05, 0.0, 0.05}


def test_a_sample_that_is_taken_again_is_another_turn() -> None:
    pairs = taken(3)
    assert len(set(pairs)) == len(pairs)
    assert {turn for i, turn in pairs if i < 200} == {0, 1, 2}


def test_weights_of_one_change_nothing() -> None:
    plain = plan_epoch(SHARD, SECONDS, 1, 3, 20.0, 2)
    mixed = plan_epoch(SHARD, SECONDS, 1, 3, 20.0, 2, [Part(0, 200, 1.0), Part(200, 600, 1.0)])
    assert np.array_equal(plain.samples, mixed.samples) and np.array_equal(plain.begins, mixed.begins)


def test_a_weight_so_small_that_an_epoch_is_empty_is_an_error() -> None:
    with pytest.raises(DataError, match=r"0 samples an epoch"):
        plan_epoch(np.zeros(4, np.int64), np.ones(4, np.float32), 0, 0, 10.0, 1, [Part(0, 4, 0.01)])


def two_sets(tmp_path: Path, second: list[ToySample], **changes: object) -> list[Path]:
    first = toy_samples(6)
    return [
        write_set(tmp_path / "first", {"train": [first[:4]], "valid": [first[4:]]}),
        write_set(tmp_path / "second", {"train": [second]}, **changes),
    ]


def test_the_samples_of_all_sets_are_read_with_one_table_of_singers(tmp_path: Path) -> None:
    data = Data.open(two_sets(tmp_path, toy_samples(4, first=20)), [1.0, 3.0])
    shards = data.split("train")
    assert len(shards) == 8 and shards.mixture == (Part(0, 4, 1.0), Part(4, 8, 3.0))
    reading = Reading(shards, ("units",), lay_side_by_side, 0, 4.0)
    counts = Counter(key for batch in reading.epoch(0) for key in batch.keys)
    keys = [sample.key for sample in (*toy_samples(4), *toy_samples(4, first=20))]
    assert counts == dict(zip(keys, [1, 1, 1, 1, 3, 3, 3, 3], strict=True))
    assert data.manifest.singers == ("ada", "ben")
    assert len(data.split("valid")) == 2


def test_what_is_held_out_is_looked_at_once_whatever_it_weighs(tmp_path: Path) -> None:
    data = Data.open(two_sets(tmp_path, toy_samples(4, first=20)), [3.0, 0.1])
    reading = Reading(data.split("valid"), ("units",), lay_side_by_side, 0, 4.0)
    assert sorted(key for batch in reading.epoch(0) for key in batch.keys) == sorted(s.key for s in toy_samples(2, 4))


def test_a_second_turn_has_randomness_of_its_own(tmp_path: Path) -> None:
    reading = Reading(
        Data.open(two_sets(tmp_path, toy_samples(4, first=20)), [1.0, 3.0]).split("train"),
        *(("units",), lay_side_by_side, 0, 4.0),
    )
    drawn = [(key, noise) for b in reading.epoch(0) for key, noise in zip(b.keys, b.arrays["noise"], strict=True)]
    assert len(set(drawn)) == len(drawn) == 16


def test_sets_whose_columns_mean_different_things_are_refused_with_both(tmp_path: Path) -> None:
    sets = two_sets(tmp_path, toy_samples(4, first=20))
    file = sets[1] / "manifest.json"
    first_definition = Data.open(sets[0]).manifest.columns["units"].definition
    file.write_text(file.read_text().replace(first_definition, "0" * 64))
    with pytest.raises(
        SchemaMismatch, match=rf"units.definition is {first_definition} in .*first and 0{{64}} in .*sec"
    ):
        train("acoustic", sets, tmp_path / "run", ["size=tiny"])
    assert "mel" in Data.open(sets).manifest.columns


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, float("nan")], [1.0, 2.0, 3.0]])
def test_weights_that_do_not_fit_the_sets_are_refused(tmp_path: Path, weights: list[float]) -> None:
    with pytest.raises(UsageError, match=r"2 sets need as many weights above 0"):
        Data.open(two_sets(tmp_path, toy_samples(2, first=20)), weights)


def test_a_song_on_both_sides_is_refused(tmp_path: Path) -> None:
    data = Data.open(two_sets(tmp_path, toy_samples(2, first=4)))
    with pytest.raises(DataError, match=r"2 songs are in 'train' and in 'valid' .* such as [0-9a-f]{16}: a metric"):
        refuse_leaks(data.split("train"), data.split("valid"))
    with pytest.raises(DataError, match=r"2 songs are in 'train' and in 'valid'"):
        train("acoustic", two_sets(tmp_path, toy_samples(2, first=4)), tmp_path / "run", ["size=tiny"])


def test_other_weights_do_not_resume_a_run(tmp_path: Path) -> None:
    sets = two_sets(tmp_path, toy_samples(4, first=20))
    train("acoustic", sets, tmp_path / "run", ["size=tiny", "steps=1"], weights=[1, 2])
    with pytest.raises(Exception, match=r"give it the sets and weights it was started with"):
        train("acoustic", sets, tmp_path / "run", ["steps=2"], resume=True)
    assert train("acoustic", sets, tmp_path / "run", ["steps=2"], resume=True, weights=[1, 2]).step == 2
