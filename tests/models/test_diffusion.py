"""Levels, preconditioning and solvers against what is known in closed form."""

import math
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from autosing.models.diffusion import Noise, TimeEmbedding, calls, leap, solve, step

NOISE = Noise()


def normal(x: Tensor, level_B: Tensor) -> Tensor:
    """Tells noise from data that is normal, of mean 3 and spread 0.5: the flow is known in closed form."""
    level = level_B.reshape(-1, *(1,) * (x.ndim - 1))
    return 3 + (x - 3) * 0.25 / (0.25 + level**2)


def flowed(x: Tensor, level: float, after: float) -> Tensor:
    """Returns where the flow of `normal` comes to: values keep their place among the spreads."""
    return 3 + (x - 3) * math.sqrt((0.25 + after**2) / (0.25 + level**2))


def test_what_is_at_the_lowest_level_comes_back_as_it_is() -> None:
    x = torch.randn(4, 7, 5)
    lowest = torch.full((4,), NOISE.lowest)
    answer = NOISE.denoised(lambda x, level: 1e3 * torch.ones_like(x), x, lowest, exact=True)
    torch.testing.assert_close(answer, x, rtol=0, atol=0)
    amphion = NOISE.denoised(lambda x, level: torch.ones_like(x), x, lowest, exact=False)
    assert (amphion - x).abs().max() > 1e-3, "EDM's own weights only come near to it"


@pytest.mark.parametrize("exact", [False, True])
def test_a_network_that_says_nothing_gives_the_best_guess_of_data_of_spread_1(exact: bool) -> None:
    x, level = torch.randn(3, 2), torch.tensor([0.5, 2.0, 20.0])
    answer = NOISE.denoised(lambda x, level: torch.zeros_like(x), x, level, exact)
    above = level - NOISE.lowest * exact
    torch.testing.assert_close(answer, x / (1 + above[:, None] ** 2))


def test_the_weight_makes_every_level_count_alike() -> None:
    level = torch.tensor([0.02, 1.0, 15.0])
    x = torch.randn(3, 1000)
    one, other = (NOISE.denoised(lambda x, level, c=c: c * torch.ones_like(x), x, level, False) for c in (0.0, 1.0))
    torch.testing.assert_close((one - other).square().mean(1) * NOISE.weight(level), torch.ones(3))


def test_levels_run_from_the_highest_to_the_lowest() -> None:
    levels = NOISE.levels(18)
    assert levels == sorted(levels, reverse=True)
    assert levels[0] == pytest.approx(NOISE.highest)
    assert levels[-1] == pytest.approx(NOISE.lowest)
    assert NOISE.levels(1) == pytest.approx([NOISE.highest])
    shares = torch.linspace(1, 0, 18)
    torch.testing.assert_close(NOISE.between(shares), torch.tensor(levels))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_halving_the_steps_shrinks_the_error_by_the_order_of_the_solver(solver: str, order: int) -> None:
    x = torch.randn(64, dtype=torch.float64).reshape(64, 1) * 5 + 3
    errors = []
    for n in (20, 40, 80):
        places = torch.linspace(math.log(5.0), math.log(0.5), n + 1, dtype=torch.float64).exp()
        y = x
        for level, after in pairwise(places):
            y = step(normal, y, level.expand(64), after.expand(64), solver)  # type: ignore[arg-type]
        errors.append(float((y - flowed(x, 5.0, 0.5)).abs().max()))
    rates = [math.log2(errors[i] / errors[i + 1]) for i in range(2)]
    assert rates == pytest.approx([order, order], abs=0.15)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_solving_from_noise_draws_from_the_data(solver: str) -> None:
    torch.manual_seed(0)
    drawn = solve(normal, torch.randn(20_000, 1), NOISE.levels(40), solver)  # type: ignore[arg-type]
    assert float(drawn.mean()) == pytest.approx(3, abs=0.1)
    assert float(drawn.std()) == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("steps", "solver", "expected"), [(1, "heun", 1), (18, "heun", 35), (18, "euler", 18), (0, "heun", 0)]
)
def test_a_solver_calls_its_network_as_often_as_is_said(steps: int, solver: str, expected: int) -> None:
    called = []

    def counting(x: Tensor, level_B: Tensor) -> Tensor:
        called.append(float(level_B[0]))
        return normal(x, level_B)

    if steps:
        solve(counting, torch.randn(2, 3), NOISE.levels(steps), solver)  # type: ignore[arg-type]
    assert len(called) == calls(steps, solver) == expected  # type: ignore[arg-type]
    assert min(called, default=1.0) > 0


def test_a_perfect_student_gives_the_same_in_one_call_as_the_flow() -> None:
    def student(x: Tensor, level_B: Tensor) -> Tensor:
        return flowed(x, float(level_B[0]), NOISE.lowest)

    first = torch.randn(1000, 1)
    one = leap(student, iter([first]), NOISE.levels(2)[:-1], NOISE.lowest)
    torch.testing.assert_close(one, flowed(first * NOISE.highest, NOISE.highest, NOISE.lowest))

    def noises() -> Iterator[Tensor]:
        while True:
            yield torch.randn(20_000, 1)

    four = leap(student, noises(), NOISE.levels(5)[:-1], NOISE.lowest)
    assert float(four.std()) == pytest.approx(0.5, rel=0.1)


def test_levels_are_told_apart_over_all_of_them() -> None:
    embedding = TimeEmbedding(16)
    levels = torch.tensor(NOISE.levels(40))
    turns = levels.log()[:, None] / 4 * embedding.waves
    told = torch.cat([turns.cos(), turns.sin()], dim=-1)
    apart = torch.cdist(told, told) + 10 * torch.eye(40)
    assert float(apart.min()) > 0.1
    assert embedding(levels).shape == (40, 16)
