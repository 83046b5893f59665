"""Singing with a language model of tokens: one token after the other, with caches of fixed size.

What the sources say to each layer is computed once; AutoSing computes it again for every token. All tensors keep their
shape from the first token to the last, so that one graph serves all steps.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autosing.models.attention import Heard
from autosing.models.language import TokenLanguage
from autosing.models.language_blocks import Cache
from autosing.models.sampling import Sampling, chosen, guided, numbers, without_repetition
from autosing.signal.errors import UsageError

Tokens = npt.NDArray[np.uint16]


class TokenGenerator:
    """Generates tokens with a model, on the device where it is.

    Args:
        model: in evaluation mode.
        compile: make one graph of a step (CUDA graphs on a GPU), for each size of batch, sources and length.
    """

    def __init__(self, model: TokenLanguage, compile: bool = False) -> None:
        self._model, self._compile = model, compile
        self._step: Callable[..., Tensor] = model.step
        self._places: dict[tuple[torch.Size, ...], _State] = {}
        if compile:
            self._step = torch.compile(model.step, mode="reduce-overhead", fullgraph=True, dynamic=False)

    @torch.no_grad()
    def generate(
        self,
        inputs: Mapping[str, Tensor],
        counts: Sequence[int],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        *,
        allowed: Tensor | None = None,
        begun: Sequence[npt.NDArray[np.integer]] | None = None,
    ) -> list[Tokens]:
        """Returns exactly `counts` tokens of each sample; what they are does not depend on the others of the batch.

        Args:
            inputs: what accompanies the samples, as `TokenLanguage` says, side by side.
            counts: tokens of each, as of `language.token_count`.
            seeds: of each.
            sampling: how tokens are chosen.
            allowed: (V,) or (B, V), false for tokens that must not be sung.
            begun: the first tokens of each, which are kept as they are, so that a song goes on where a window ended.

        Raises:
            UsageError: the samples are not as many as counts, seeds or beginnings, or no token is allowed.
        """
        sampling = sampling or Sampling()
        some = inputs[next(iter(self._model.fields.sources))]
        device = some.device
        begun = begun or [np.zeros(0, np.int64)] * len(some)
        _check(self._model, len(some), counts, seeds, begun, allowed)
        n, places_N = max(counts), torch.arange(max(counts), device=device)
        tokens_BN, fixed_BN = _beginnings(begun, n, device)
        numbers_BN, forbidden = numbers(seeds, n).to(device), None if allowed is None else ~allowed.to(device)
        next_logits = self._predictor(inputs, n, sampling)
        last_B = tokens_BN.new_full((len(counts),), self._model.fields.n_tokens)
        for number in range(n):
            place = places_N[number]
            logits_BV = next_logits(last_B, place)
            if forbidden is not None:
                logits_BV = logits_BV.masked_fill(forbidden, -torch.inf)
            logits_BV = without_repetition(logits_BV, tokens_BN, place, sampling)
            sung_B = chosen(logits_BV, numbers_BN[:, number], sampling)
            last_B = torch.where(fixed_BN[:, number], tokens_BN[:, number], sung_B)
            tokens_BN[:, number] = last_B
        found = tokens_BN.cpu().numpy().astype(np.uint16)
        return [row[:count] for row, count in zip(found, counts, strict=True)]

    def _predictor(
        self, inputs: Mapping[str, Tensor], n: int, sampling: Sampling
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Returns what gives the logits (B, V) of a place from the token before, guided where that is asked for."""
        model, is_guided = self._model, sampling.guidance != 1
        batch = _twice(inputs) if is_guided else inputs
        told_BD = model.told(batch)
        state = self._placed(_State(told_BD, model.heard(batch), model.caches(len(told_BD), n)))

        def predict(last_B: Tensor, place: Tensor) -> Tensor:
            if not is_guided:
                return self._step(last_B, place, *state).float()
            return guided(self._step(torch.cat([last_B, last_B]), place, *state).float(), sampling.guidance)

        return predict

    def _placed(self, state: "_State") -> "_State":
        """Returns a state where the last one of its shapes lies, since a graph reads and writes the same memory."""
        if not self._compile:
            return state
        shapes = tuple(tensor.shape for tensor in state.tensors)
        known = self._places.setdefault(shapes, state)
        for old, new in zip(known.tensors, state.tensors, strict=True):
            if known is state:
                torch._dynamo.mark_static_address(old)
            else:
                old.copy_(new)
        return known


class _State(NamedTuple):
    """What a step is given besides a token and its place; see `TokenLanguage.step`."""

    told: Tensor
    heard: Sequence[Mapping[str, Heard]]
    caches: Sequence[Cache]

    @property
    def tensors(self) -> list[Tensor]:
        """All of it, in one order."""
        of_sources = (tensor for layer in self.heard for one in layer.values() for tensor in one if tensor is not None)
        return [self.told, *of_sources, *(tensor for cache in self.caches for tensor in cache)]


def _twice(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the samples, and once more with all that accompanies them withheld as in training."""
    doubled = {name: torch.cat([tensor, tensor]) for name, tensor in inputs.items()}
    size = len(next(iter(inputs.values())))
    withheld = inputs.get("withheld", torch.zeros(size, dtype=torch.bool, device=next(iter(inputs.values())).device))
    return {**doubled, "withheld": torch.cat([withheld, torch.ones_like(withheld)])}


def _beginnings(begun: Sequence[npt.NDArray[np.integer]], n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns room for the tokens (B, N) with the first of each, and which those are."""
    tokens, fixed = np.zeros((len(begun), n), np.int64), np.zeros((len(begun), n), bool)
    for row, first in enumerate(begun):
        tokens[row, : len(first)], fixed[row, : len(first)] = first, True
    return torch.from_numpy(tokens).to(device), torch.from_numpy(fixed).to(device)


def _check(
    model: TokenLanguage,
    size: int,
    counts: Sequence[int],
    seeds: Sequence[int],
    begun: Sequence[npt.NDArray[np.integer]],
    allowed: Tensor | None,
) -> None:
    n_tokens = model.fields.n_tokens
    if not size == len(counts) == len(seeds) == len(begun):
        raise UsageError(
            f"{size} samples are to be sung, but there are {len(counts)} counts, {len(seeds)} seeds and {len(begun)} "
            "beginnings; give one of each for every sample"
        )
    if min(counts, default=0) < 1:
        raise UsageError("a sample of no token is to be sung; leave it out, or give it more time")
    if any(len(first) > count or (len(first) and not 0 <= first.min() <= first.max() < n_tokens)
           for first, count in zip(begun, counts, strict=True)):  # fmt: skip
        raise UsageError(f"a beginning is longer than its song, or has tokens beyond 0 to {n_tokens - 1}")
    if allowed is None:
        return
    if allowed.shape not in ((n_tokens,), (size, n_tokens)) or not allowed.any(-1).all():
        raise UsageError(
            f"allowed has the shape {tuple(allowed.shape)} and must allow each sample some of {n_tokens} tokens; give "
            f"({n_tokens},) or ({size}, {n_tokens})"
        )
