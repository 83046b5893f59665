"""Several processes train what one trains: the same samples in the same order, and the same losses."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import runs
import torch

from autosing.signal.errors import CheckpointError, UsageError
from autosing.training.loop import Loop
from autosing.training.ranks import Ranks, share_of_a_step
from autosing.training.recipes import default_config
from autosing.training.shards import Data

STEPS = 20
COMMON = ["steps=20", "seconds_per_batch=1", "microbatches=4", "warmup_steps=5", "log_every=1", "save_every=10"]
RECIPES = {
    "acoustic": ["size=tiny", "ema_decay=0.9", *COMMON],
    "svc": ["size=tiny", "content=units", "n_tokens=12", "ema_decay=0.9", "valid_steps=1", *COMMON],
    "toy_gan:recipe": ["optimiser=muon", "crop_s=0.7", *COMMON],
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_have_the_losses_of_one(toy_set: Path, tmp_path: Path, recipe: str) -> None:
    for processes in (1, 2):
        runs.run(recipe, toy_set, tmp_path / str(processes), RECIPES[recipe], processes=processes)
    one, two = (runs.logged(tmp_path / str(processes)) for processes in (1, 2))
    assert [line.keys() for line in one] == [line.keys() for line in two]
    for lines, most in (((one[0], two[0]), 1e-5), ((one[-2], two[-2]), 1e-4)):
        for name, value in lines[0].items():
            assert math.isclose(value, lines[1][name], rel_tol=most), f"{name}: {value} and {lines[1][name]}"
    assert one[-2]["step"] == STEPS


@pytest.mark.slow
def test_the_number_of_processes_may_change_on_the_way_and_no_sample_moves(toy_set: Path, tmp_path: Path) -> None:
    recipe, settings = "toy_gan:recipe", RECIPES["toy_gan:recipe"]
    runs.run(recipe, toy_set, tmp_path / "straight", settings, trace=tmp_path / "one")
    assert runs.run(recipe, toy_set, tmp_path / "changed", settings, die_at=14, trace=tmp_path / "before") == -9
    runs.run(recipe, toy_set, tmp_path / "changed", [], resume=True, processes=2, trace=tmp_path / "after")
    straight = (tmp_path / "one/rank-0.txt").read_text().splitlines()
    before = (tmp_path / "before/rank-0.txt").read_text().splitlines()
    ranks = [(tmp_path / f"after/rank-{rank}.txt").read_text().splitlines() for rank in (0, 1)]
    after = [digest for both in zip(*ranks, strict=True) for digest in both]
    assert len(straight) == 4 * STEPS and len(set(straight)) > STEPS
    assert before == straight[: 4 * 14]
    assert after == straight[4 * 10 :]


def test_a_step_that_cannot_be_divided_says_what_can() -> None:
    with pytest.raises(UsageError, match=r"6 microbatches .* among 4 processes; start 1, 2, 3, 6 .* microbatches=8"):
        share_of_a_step(6, 4)
    assert share_of_a_step(6, 3) == 2


class Elsewhere(Ranks):
    """Two processes, of which the other one is a step ahead."""

    def total(self, values: Sequence[float]) -> list[float]:
        return [2 * value + 1 for value in values]


def test_processes_that_see_different_folders_are_told(toy_set: Path, tmp_path: Path) -> None:
    data = Data.open(toy_set)
    task = default_config("toy_gan:recipe").task(data.manifest)
    with pytest.raises(CheckpointError, match=r"process 0 found step 0 in .*run, others another: all processes"):
        Loop(replace_config(task, microbatches=2), data, tmp_path / "run", Elsewhere(0, 2, torch.device("cpu")))


def replace_config(task: Any, **changes: Any) -> Any:
    """Returns the task with other settings."""
    task.config = replace(task.config, **changes)
    return task
