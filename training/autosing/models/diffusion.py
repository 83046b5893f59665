"""Diffusion as EDM sets it out: levels of noise, what a network sees of it, and how noise is taken away.

Karras, Aittala, Aila and Laine (2022) for teachers; consistency models (Song, Dhariwal, Chen and Sutskever, 2023) for
students, whose answer to the lowest level is what they are given, exactly. Amphion kept EDM's skip weight there, with
which the answer only comes near to it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Solver = Literal["euler", "heun"]
# What a network makes of noisy values (B, ...) at a level (B,): the values without their noise.
Denoise = Callable[[Tensor, Tensor], Tensor]

# Sines and cosines of the logarithm of the level that a network is given, from a fraction of a turn over all levels on.
TIME_WAVES = 32
SLOWEST, FASTEST = 0.25, 32.0


@dataclass(frozen=True)
class Noise:
    """Levels of noise, in units of the data's spread.

    Attributes:
        data: spread of the data.
        lowest: the level that counts as none.
        highest: the level beside which the data is nothing.
        rho: how much denser the levels of a solver lie at the low end.
        log_mean: mean of the logarithm of the levels that a teacher learns from.
        log_spread: its spread.
    """

    data: float = 1.0
    lowest: float = 0.01
    highest: float = 20.0
    rho: float = 7.0
    log_mean: float = -0.5
    log_spread: float = 1.2

    def levels(self, n: int) -> list[float]:
        """Returns `n` levels from the highest down to the lowest (Karras et al., eq. 5); one is the highest alone."""
        high, low = self.highest ** (1 / self.rho), self.lowest ** (1 / self.rho)
        shares = [i / max(n - 1, 1) for i in range(n)]
        return [float((high + share * (low - high)) ** self.rho) for share in shares]

    def between(self, share_B: Tensor) -> Tensor:
        """Returns the levels (B,) at shares of the way from the lowest (0) to the highest (1), as `levels` lie."""
        high, low = self.highest ** (1 / self.rho), self.lowest ** (1 / self.rho)
        levels_B: Tensor = (low + share_B * (high - low)) ** self.rho
        return levels_B

    def drawn(self, n: int, device: torch.device) -> Tensor:
        """Returns levels (n,) for a teacher to learn from."""
        levels_B = (self.log_mean + self.log_spread * torch.randn(n, device=device)).exp()
        return levels_B.clamp(self.lowest, self.highest)

    def denoised(self, network: Denoise, x: Tensor, level_B: Tensor, exact: bool) -> Tensor:
        """Returns what a network says that noisy values (B, ...) are without their noise (eq. 7).

        Args:
            network: sees values of spread 1 and the level; gives values of about spread 1.
            x: data and noise.
            level_B: of the noise.
            exact: whether values at the lowest level come back as they are, as consistency asks for (Song et al., C).
        """
        level = level_B.reshape(-1, *(1,) * (x.ndim - 1))
        above = level - self.lowest if exact else level
        skip = self.data**2 / (above**2 + self.data**2)
        out = above * self.data * (level**2 + self.data**2).rsqrt()
        return skip * x + out * network(x * (level**2 + self.data**2).rsqrt(), level_B)

    def weight(self, level_B: Tensor) -> Tensor:
        """Returns how much an error of `denoised` counts, so that the network's counts 1 at all levels (eq. 8)."""
        return (level_B**2 + self.data**2) / (level_B * self.data) ** 2


class TimeEmbedding(nn.Module):
    """A level of noise (B,) as a vector (B, D): waves of its logarithm, the same for teacher and student."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        waves = torch.logspace(math.log10(SLOWEST), math.log10(FASTEST), TIME_WAVES)
        self.register_buffer("waves", 2 * math.pi * waves, persistent=False)
        self.waves: Tensor
        self.layers = nn.Sequential(nn.Linear(2 * TIME_WAVES, dim), nn.SiLU(), nn.Linear(dim, dim), nn.SiLU())

    def forward(self, level_B: Tensor) -> Tensor:
        """Returns (B, D)."""
        turns = level_B.float().log()[:, None] / 4 * self.waves
        embedded_BD: Tensor = self.layers(torch.cat([turns.cos(), turns.sin()], dim=-1))
        return embedded_BD


def step(denoise: Denoise, x: Tensor, level_B: Tensor, next_B: Tensor, solver: Solver) -> Tensor:
    """Returns noisy values (B, ...) at another level, along the flow that takes noise away (Karras et al., alg. 1).

    Args:
        denoise: what is believed to be under the noise.
        x: at `level_B`.
        level_B: above 0.
        next_B: for `euler` 0 or above, for `heun` above 0.
        solver: `heun` looks at both ends of the step.
    """
    level, after = (each.reshape(-1, *(1,) * (x.ndim - 1)) for each in (level_B, next_B))
    slope = (x - denoise(x, level_B)) / level
    reached = x + (after - level) * slope
    if solver == "euler":
        return reached
    slope_at_end = (reached - denoise(reached, next_B)) / after
    return x + (after - level) * (slope + slope_at_end) / 2


def solve(denoise: Denoise, noise: Tensor, levels: Sequence[float], solver: Solver) -> Tensor:
    """Returns what a teacher makes of white noise (B, ...) by way of levels, the highest first, and none at the end."""
    x = noise * levels[0]
    for level, after in zip(levels, [*levels[1:], 0.0], strict=True):
        level_B, next_B = (x.new_full((len(x),), value) for value in (level, after))
        x = step(denoise, x, level_B, next_B, solver if after else "euler")
    return x


def leap(denoise: Denoise, noises: Iterator[Tensor], levels: Sequence[float], lowest: float) -> Tensor:
    """Returns what a student makes of white noise in as many calls as there are levels (Song et al., alg. 1).

    Args:
        denoise: the student.
        noises: a new noise (B, ...) for each level.
        levels: the highest first.
        lowest: the level that counts as none.
    """
    x = denoise(scaled := next(noises) * levels[0], scaled.new_full((len(scaled),), levels[0]))
    for level in levels[1:]:
        noisy = x + math.sqrt(max(level**2 - lowest**2, 0.0)) * next(noises)
        x = denoise(noisy, noisy.new_full((len(noisy),), level))
    return x


def calls(steps: int, solver: Solver) -> int:
    """Returns how often a teacher's network is called in `steps` steps: Heun's second look is left out at the last."""
    return steps if solver == "euler" or not steps else 2 * steps - 1
