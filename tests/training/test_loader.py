"""Reading ahead changes nothing but the waiting."""

from itertools import islice
from pathlib import Path

import pytest
from toy_shards import lay_side_by_side, toy_samples, write_set

from autosing.signal.errors import DataError
from autosing.training.loader import Reading
from autosing.training.order import START, Position
from autosing.training.shards import ShardSet


def reading_of(folder: Path, microbatches: int = 2) -> Reading:
    shards = ShardSet.open(folder, "train")
    return Reading(shards, ("units",), lay_side_by_side, seed=1, budget_s=2.5, microbatches=microbatches)


def read(
    folder: Path, n: int, start: Position = START, workers: int = 0, rank: int = 0, ranks: int = 1
) -> list[object]:
    with reading_of(folder).open(start, workers, rank, ranks) as loader:
        return [(d.batch.keys, d.batch.arrays["noise"].tolist(), d.after) for d in islice(loader, n)]


def test_the_order_and_the_randomness_do_not_depend_on_the_number_of_workers(toy_set: Path) -> None:
    assert read(toy_set, 20, workers=2) == read(toy_set, 20)


def test_a_loader_goes_on_where_another_was(toy_set: Path) -> None:
    straight = read(toy_set, 30)
    for stop in (1, 7, 29):
        with reading_of(toy_set).open(START) as loader:
            after = list(islice(loader, stop))[-1].after
        assert read(toy_set, 30 - stop, after) == straight[stop:]


def test_epochs_follow_each_other_and_each_holds_every_sample(toy_set: Path) -> None:
    n = len(reading_of(toy_set).plan(0))
    with reading_of(toy_set).open(START) as loader:
        epochs = [[d.batch.keys for d in islice(loader, n)] for _ in range(2)]
    assert [len(set(sum(keys, ()))) for keys in epochs] == [24, 24]
    assert epochs[0] != epochs[1]


def test_two_ranks_together_read_what_one_reads(toy_set: Path) -> None:
    n = len(reading_of(toy_set).plan(0))
    one = read(toy_set, n)
    parts = [read(toy_set, n // 2, rank=rank, ranks=2) for rank in (0, 1)]
    assert [d[:2] for pair in zip(*parts, strict=True) for d in pair] == [d[:2] for d in one]  # type: ignore[index]
    assert [d[2] for d in parts[0]] == [d[2] for d in parts[1]] == [d[2] for d in one[1::2]]  # type: ignore[index]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_sample_is_the_same_error_whoever_reads_it(tmp_path: Path, workers: int) -> None:
    folder = write_set(tmp_path / "set", {"train": [toy_samples(4)]})
    reading = reading_of(folder)
    tar = folder / "train-00000.tar"
    tar.write_bytes(bytes(tar.stat().st_size))
    with (
        reading.open(START, workers) as loader,
        pytest.raises(DataError, match=r"train-00000.tar has changed bytes"),
    ):
        next(loader)
