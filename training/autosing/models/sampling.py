"""How the next token is chosen from logits (B, V): rules on the axis of the vocabulary, and randomness that is given.

A token is drawn from one number between 0 and 1, so a row's choice depends on its own logits and number alone, the
device never waits for the host, and nothing touches PyTorch's generators.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autosing.signal.errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: logits are divided by it; 0 takes the likeliest.
        top_k: only so many of the likeliest tokens are drawn from; 0 is all.
        top_p: only the likeliest tokens that have this probability together are drawn from (Holtzman et al., 2020).
        guidance: how far what is predicted with all conditions is followed away from what is predicted without any
            (Ho and Salimans, 2022); at 1 it is the former itself, and costs half.
        repetition_penalty: nats that a token loses that is among the last `repetition_window`.
        repetition_window: tokens that are looked back at.
        longest_run: a token may stand so often in a row; 0 is any number.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 1.0
    repetition_penalty: float = 0.0
    repetition_window: int = 25
    longest_run: int = 0

    def __post_init__(self) -> None:
        for name in ("temperature", "top_k", "guidance", "repetition_penalty", "longest_run"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name} is {getattr(self, name)}; it must be a number that is not below 0")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}; it must be above 0 and at most 1, which is all")
        if self.repetition_window < 1:
            raise UsageError(f"repetition_window is {self.repetition_window}; it must be at least 1")

    @property
    def looks_back(self) -> bool:
        """Whether what was sung counts."""
        return bool(self.repetition_penalty or self.longest_run)


def numbers(seeds: Sequence[int], n: int) -> Tensor:
    """Returns numbers from 0 to 1 for `n` tokens of each sample (B, N), by its seed alone; more are the same and more.

    Raises:
        UsageError: a seed is below 0.
    """
    if min(seeds, default=0) < 0:
        raise UsageError(f"the seed {min(seeds)} is below 0; give a whole number from 0")
    return torch.from_numpy(np.stack([np.random.default_rng(seed).random(n, np.float32) for seed in seeds]))


def guided(logits_BV: Tensor, guidance: float) -> Tensor:
    """Returns the logits of the first half of a batch, led away from those of the second, which heard no condition."""
    with_all, without = logits_BV.chunk(2)
    # What neither can say has no number to be led away from.
    return torch.where(without.isneginf(), without, without + guidance * (with_all - without))


def chosen(logits_BV: Tensor, numbers_B: Tensor, sampling: Sampling) -> Tensor:
    """Returns a token for each row (B,)."""
    if sampling.temperature == 0:
        return logits_BV.argmax(-1)
    # In float32: probabilities of thousands of tokens are added up.
    ordered_BV, tokens_BV = (logits_BV.float() / sampling.temperature).sort(dim=-1, descending=True, stable=True)
    share_BV = ordered_BV.softmax(-1)
    upto_BV = share_BV.cumsum(-1)
    # The likeliest are in front: what is drawn from is a beginning.
    kept_B1 = ((upto_BV - share_BV < sampling.top_p) & (share_BV > 0)).sum(-1, keepdim=True)
    if sampling.top_k:
        kept_B1 = kept_B1.clamp(max=sampling.top_k)
    wanted_B1 = numbers_B[:, None] * upto_BV.gather(1, kept_B1 - 1)
    # The first whose sum exceeds the number; never one that is left out, where rounding leaves the number above all.
    place_B1 = torch.searchsorted(upto_BV, wanted_B1, right=True)
    return tokens_BV.gather(1, torch.minimum(place_B1, kept_B1 - 1))[:, 0]


def without_repetition(logits_BV: Tensor, tokens_BN: Tensor, place: Tensor, sampling: Sampling) -> Tensor:
    """Returns logits (B, V) with what was sung lately held back.

    Args:
        logits_BV: of the token at `place`.
        tokens_BN: those before it, or below 0 where none is; what stands from `place` on is not looked at.
        place: a number without a shape.
        sampling: how.
    """
    if sampling.repetition_penalty:
        places_N = torch.arange(tokens_BN.shape[1], device=tokens_BN.device)
        recent_N = (places_N < place) & (places_N >= place - sampling.repetition_window)
        marks_BN = (recent_N & (tokens_BN >= 0)).to(logits_BV.dtype)
        seen_BV = torch.zeros_like(logits_BV).scatter_reduce(1, tokens_BN.clamp(min=0), marks_BN, "amax")
        logits_BV = logits_BV - sampling.repetition_penalty * seen_BV
    if sampling.longest_run:
        back = torch.arange(1, sampling.longest_run + 1, device=tokens_BN.device)
        last_BR = tokens_BN[:, (place - back).clamp(min=0)]
        again_B1 = last_BR[:, :1].clamp(min=0)
        is_full_B = (last_BR == again_B1).all(-1) & (place >= sampling.longest_run)
        run_BV = torch.zeros_like(logits_BV).scatter(1, again_B1, is_full_B[:, None].to(logits_BV.dtype))
        other_BV = logits_BV.masked_fill(run_BV > 0, -torch.inf)
        # Where no other token is allowed, it goes on.
        logits_BV = torch.where(other_BV.isneginf().all(-1, keepdim=True), logits_BV, other_BV)
    return logits_BV
