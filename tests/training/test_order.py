"""The epoch plan: every sample once, in batches of like length, the same for everyone."""

import time
from itertools import chain

import numpy as np
import pytest

from autosing.signal.errors import DataError
from autosing.training.order import BUCKET_RATIO, EpochPlan, plan_epoch, rank_rows

RNG = np.random.default_rng(0)
SHARD = np.repeat(np.arange(40), RNG.integers(1, 60, 40))
SECONDS = RNG.uniform(0.5, 12, len(SHARD)).astype(np.float32)
BUDGET_S = 60.0


def plan(seed: int = 0, epoch: int = 0, microbatches: int = 1) -> EpochPlan:
    return plan_epoch(SHARD, SECONDS, seed, epoch, BUDGET_S, microbatches)


def rows(epoch_plan: EpochPlan) -> list[list[int]]:
    return [epoch_plan.batch(i).tolist() for i in range(len(epoch_plan))]


@pytest.mark.parametrize("microbatches", [1, 2, 8, 96])
def test_an_epoch_holds_every_sample_once(microbatches: int) -> None:
    batches = rows(plan(microbatches=microbatches))
    assert sorted(chain.from_iterable(batches)) == list(range(len(SHARD)))
    assert len(batches) % microbatches == 0
    assert min(map(len, batches)) >= 1


def test_the_same_seed_and_epoch_give_the_same_plan_and_others_another() -> None:
    assert rows(plan(3, 5)) == rows(plan(3, 5))
    assert rows(plan(3, 5)) != rows(plan(3, 6))
    assert rows(plan(3, 5)) != rows(plan(4, 5))


def test_the_order_is_written_down_so_that_no_version_of_numpy_changes_it_unseen() -> None:
    small = plan_epoch(np.repeat([0, 1], 4), np.ones(8, np.float32), seed=7, epoch=2, budget_s=3.0)
    assert rows(small) == [[7, 0, 1], [4, 5, 6], [2, 3]]


def test_batches_keep_the_budget_with_padding_and_hold_like_lengths() -> None:
    batches = [SECONDS[row] for row in rows(plan())]
    assert all(len(b) * b.max() <= BUDGET_S for b in batches)
    assert all(b.max() / b.min() <= BUCKET_RATIO**2 for b in batches)
    assert sum(len(b) * b.max() for b in batches) < 1.2 * SECONDS.sum()


def test_a_sample_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    lengths = np.array([100, 1, 1, 1], np.float32)
    batches = rows(plan_epoch(np.zeros(4, np.int64), lengths, 0, 0, 10.0))
    assert sorted(map(sorted, batches)) == [[0], [1, 2, 3]]


def test_neighbours_do_not_always_meet() -> None:
    met = [
        set(map(frozenset, rows(plan_epoch(np.zeros(64, np.int64), np.ones(64, np.float32), 0, e, 8.0))))
        for e in (0, 1)
    ]
    assert not met[0] & met[1]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_ranks_together_read_the_order_of_one(ranks: int) -> None:
    n = len(plan(microbatches=4))
    per_rank = [list(rank_rows(n, 8, rank, ranks)) for rank in range(ranks)]
    assert len({len(r) for r in per_rank}) == 1
    assert [row for step in zip(*per_rank, strict=True) for row in step] == list(range(8, n))


def test_single_samples_that_fill_no_step_sit_out_and_never_the_same_ones() -> None:
    lengths = np.ones(5, np.float32)
    epochs = [rows(plan_epoch(np.zeros(5, np.int64), lengths, 0, e, 1.0, 4)) for e in range(20)]
    assert all(len(batches) == 4 for batches in epochs)
    assert len({frozenset(chain.from_iterable(batches)) for batches in epochs}) > 1


def test_fewer_samples_than_a_step_needs_are_an_error_that_says_both() -> None:
    with pytest.raises(DataError, match=r"3 samples an epoch, fewer than the 4 microbatches"):
        plan_epoch(np.zeros(3, np.int64), np.ones(3, np.float32), 0, 0, 1.0, 4)


def test_a_million_samples_are_planned_in_about_a_second() -> None:
    shard = np.repeat(np.arange(1000), 1000)
    seconds = np.random.default_rng(0).uniform(1, 15, len(shard)).astype(np.float32)
    start = time.process_time()
    plan_epoch(shard, seconds, 0, 0, 80.0, 8)
    assert time.process_time() - start < 3  # measured: 0.4 s; the rest is for a busy machine
