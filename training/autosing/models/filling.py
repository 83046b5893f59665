"""How a language model fills columns of cells: one after the other, with caches of fixed size.

What the sources say to each layer is computed once; AutoSing computes it again for every column. All tensors keep their
shape from the first column to the last, so that one graph serves all steps.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from autosing.models.attention import Turns
from autosing.models.columns import ColumnLanguage
from autosing.models.graphs import Graphs
from autosing.models.patterns import EMPTY
from autosing.models.sampling import Sampling, chosen, guided, numbers, without_repetition
from autosing.models.stepping import State, Stepper


class Filler:
    """Fills cells by a model, on the device where it is.

    Args:
        model: in evaluation mode.
        compile: make graphs of steps (see `graphs`).
    """

    def __init__(self, model: ColumnLanguage, compile: bool) -> None:
        self._stepper = Stepper(model)
        self._graphs = Graphs(self._stepper) if compile else None

    @torch.inference_mode()
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
        # What is known of all samples is not sung, and heard at once.
        n_known = int(fixed_BNR.all(2).all(0).long().cumprod(0).sum())
        next_logits = self._predictor(inputs, cells_BNR, times_s_N, n_known, sampling)
        last_BR = cells_BNR[:, n_known - 1] if n_known else torch.full_like(cells_BNR[:, 0], EMPTY)
        places = torch.arange(n, device=cells_BNR.device)
        for number in range(n_known, n):
            place = places[number : number + 1]
            logits_BRV = next_logits(last_BR, number, place)
            if forbidden is not None:
                logits_BRV = logits_BRV.masked_fill(forbidden, -torch.inf)
            logits = logits_BRV.flatten(0, 1)
            if sampling.looks_back:
                logits = without_repetition(logits, cells_BNR.transpose(1, 2).flatten(0, 1), place, sampling)
            sung_BR = chosen(logits, numbers_BNR[:, number].flatten(), sampling).reshape(n_samples, n_rows)
            last_BR = torch.where(fixed_BNR[:, number], cells_BNR[:, number], sung_BR)
            cells_BNR[:, number] = last_BR
        return cells_BNR

    def _predictor(
        self, inputs: Mapping[str, Tensor], cells_BNR: Tensor, times_s_N: Tensor, n_known: int, sampling: Sampling
    ) -> Callable[[Tensor, int, Tensor], Tensor]:
        """Returns what gives the logits (B, R, V) of a column from the one before, guided where that is asked for.

        The first `n_known` columns are in the caches already.
        """
        is_guided, turns = sampling.guidance != 1, self._stepper.turns(times_s_N)
        state = self._stepper.begin(_twice(inputs) if is_guided else inputs, len(times_s_N))
        if n_known:
            before_BNR = functional.pad(cells_BNR[:, : n_known - 1], (0, 0, 1, 0), value=EMPTY)
            self._stepper.fill(
                torch.cat([before_BNR] * (1 + is_guided)), Turns(*(one[:n_known] for one in turns)), state
            )
        if self._graphs:
            state = self._graphs.placed(state)

        def predict(last_BR: Tensor, number: int, place: Tensor) -> Tensor:
            turn = Turns(turns.cosine[number : number + 1], turns.sine[number : number + 1])
            if not is_guided:
                return self._step(last_BR, place, turn, state)
            return guided(self._step(torch.cat([last_BR, last_BR]), place, turn, state), sampling.guidance)

        return predict

    def _step(self, last_BR: Tensor, place: Tensor, turns: Turns, state: State) -> Tensor:
        """Returns the logits (B, R, V) in float32."""
        if self._graphs:
            logits_BRV = self._graphs.step(last_BR, place, turns, state)
        else:
            logits_BRV = self._stepper.step(last_BR, place, turns, *state)
        return logits_BRV.float()


def _twice(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the samples, and once more with all that accompanies them withheld as in training."""
    doubled = {name: torch.cat([tensor, tensor]) for name, tensor in inputs.items()}
    size = len(next(iter(inputs.values())))
    withheld = inputs.get("withheld", torch.zeros(size, dtype=torch.bool, device=next(iter(inputs.values())).device))
    return {**doubled, "withheld": torch.cat([withheld, torch.ones_like(withheld)])}
