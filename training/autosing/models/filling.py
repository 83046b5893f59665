"""How a language model fills columns of cells: one after the other, with caches of fixed size.

What the sources say to each layer is computed once; AutoSing computes it again for every column. All tensors keep their
shape from the first column to the last, so that one graph serves all steps.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from autosing.models.attention import Heard
from autosing.models.columns import ColumnLanguage
from autosing.models.language_blocks import Cache
from autosing.models.patterns import EMPTY
from autosing.models.sampling import Sampling, chosen, guided, numbers, without_repetition


class Filler:
    """Fills cells by a model, on the device where it is.

    Args:
        model: in evaluation mode.
        compile: make one graph of a step (CUDA graphs on a GPU), for each size of batch, sources and length.
    """

    def __init__(self, model: ColumnLanguage, compile: bool) -> None:
        self._model, self._compile = model, compile
        self._step: Callable[..., Tensor] = model.step
        self._places: dict[tuple[torch.Size, ...], _State] = {}
        if compile:
            self._step = torch.compile(model.step, mode="reduce-overhead", fullgraph=True, dynamic=False)

    @torch.no_grad()
    def filled(
        self,
        inputs: Mapping[str, Tensor],
        cells_BNR: Tensor,
        fixed_BNR: Tensor,
        times_s_N: Tensor,
        seeds: Sequence[int],
        sampling: Sampling,
        forbidden: Tensor | None = None,
    ) -> Tensor:
        """Returns cells (B, N, R); what they hold does not depend on the others of the batch.

        Args:
            inputs: what accompanies the samples, as `ColumnLanguage` says, side by side.
            cells_BNR: those that are known, which may be `EMPTY`.
            fixed_BNR: which they are.
            times_s_N: of the columns.
            seeds: of each sample.
            sampling: how tokens are chosen; rules against repetition are of each row by itself.
            forbidden: (V,) or (B, 1, V), true for tokens that must not be sung.
        """
        n_samples, n, n_rows = cells_BNR.shape
        cells_BNR = cells_BNR.clone()
        # A number for each cell, column by column, so that those of a longer song begin alike.
        numbers_BNR = numbers(seeds, n * n_rows).to(cells_BNR.device).reshape(cells_BNR.shape)
        next_logits, last_BR = self._predictor(inputs, n, sampling), torch.full_like(cells_BNR[:, 0], EMPTY)
        for number, place in enumerate(torch.arange(n, device=cells_BNR.device)):
            logits_BRV = next_logits(last_BR, place, times_s_N[number])
            if forbidden is not None:
                logits_BRV = logits_BRV.masked_fill(forbidden, -torch.inf)
            before = cells_BNR.transpose(1, 2).flatten(0, 1)
            logits = without_repetition(logits_BRV.flatten(0, 1), before, place, sampling)
            sung_BR = chosen(logits, numbers_BNR[:, number].flatten(), sampling).reshape(n_samples, n_rows)
            last_BR = torch.where(fixed_BNR[:, number], cells_BNR[:, number], sung_BR)
            cells_BNR[:, number] = last_BR
        return cells_BNR

    def _predictor(
        self, inputs: Mapping[str, Tensor], n: int, sampling: Sampling
    ) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Returns what gives the logits (B, R, V) of a column from the one before, guided where that is asked for."""
        model, is_guided = self._model, sampling.guidance != 1
        batch = _twice(inputs) if is_guided else inputs
        told_BD = model.told(batch)
        state = self._placed(_State(told_BD, model.heard(batch), model.caches(len(told_BD), n)))

        def predict(last_BR: Tensor, place: Tensor, time_s: Tensor) -> Tensor:
            if not is_guided:
                return self._step(last_BR, place, time_s, *state).float()
            both = self._step(torch.cat([last_BR, last_BR]), place, time_s, *state).float()
            return guided(both, sampling.guidance)

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
    """What a step is given besides a column, its place and time; see `ColumnLanguage.step`."""

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
