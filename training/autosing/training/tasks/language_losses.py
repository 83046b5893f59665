"""How well language models predict: counts of true tokens, also with another sample's source in place of the own."""

import torch
from torch import Tensor
from torch.nn import functional

from autosing.models.columns import Told
from autosing.training.metrics import TokenCounts
from autosing.training.task import Tensors
from autosing.training.tasks.entropy_losses import stretches

# k of the top-k accuracy.
TOP_K = 10


def counted(logits: Tensor, true: Tensor, mask: Tensor) -> TokenCounts:
    """Returns how well true tokens (...) are predicted by logits (..., V); a tie with a true token counts against it.

    Args:
        logits: -inf where a token cannot be.
        true: the tokens.
        mask: which of them count.
    """
    scores_MV, true_M = logits.float()[mask], true[mask]
    rank_M = (scores_MV >= scores_MV.gather(1, true_M[:, None])).sum(1)
    loss = functional.cross_entropy(scores_MV, true_M, reduction="sum")
    return TokenCounts(len(true_M), int((rank_M == 1).sum()), int((rank_M <= TOP_K).sum()), float(loss), TOP_K)


def counted_by_row(told: Told, true_BNR: Tensor, mask_BNR: Tensor) -> list[TokenCounts]:
    """Returns how well the true tokens of each row are predicted; logits are made of a stretch of columns at a time."""
    states_MD, true_MR, mask_MR = (one.flatten(0, 1) for one in (told.states, true_BNR, mask_BNR))
    n_rows = true_MR.shape[1]
    counts = [TokenCounts()] * n_rows
    width = told.read(states_MD[:1]).numel()
    for some in stretches(states_MD, width):
        logits_MRV = told.read(states_MD[some]).reshape(len(states_MD[some]), n_rows, -1)
        for row in range(n_rows):
            counts[row] += counted(logits_MRV[:, row], true_MR[some, row], mask_MR[some, row])
    return counts


class Others:
    """Gives each sample the source of the one before it; to the first of a batch, that of the last of the batch before.

    Args:
        source: text, or semantic tokens.
    """

    def __init__(self, source: str) -> None:
        self._names = (source, f"{source}_s", f"{source}_counts", "seconds")
        self._last: Tensors | None = None

    def of(self, batch: Tensors) -> Tensors | None:
        """Returns a batch with others' sources, over each sample's own time; None of one sample that nobody preceded.

        The first sample of all has the source of the last of its batch.
        """
        given = [batch[name] for name in self._names]
        last = {name: one[-1:] for name, one in zip(self._names, given, strict=True)}
        before, self._last = self._last, last
        if before is None and len(batch["seconds"]) == 1:
            return None
        first = (before or last).values()
        source, source_s, counts, seconds = (_stacked(one, rest[:-1]) for one, rest in zip(first, given, strict=True))
        source_s = source_s * (batch["seconds"] / seconds)[:, None]
        return {**batch, **dict(zip(self._names, (source, source_s, counts), strict=False))}


def _stacked(first: Tensor, rest: Tensor) -> Tensor:
    """Returns the rows of two batches, of which the narrower one is padded."""
    if first.ndim > 1:
        width = max(first.shape[1], rest.shape[1])
        first, rest = (functional.pad(one, (0, width - one.shape[1])) for one in (first, rest))
    return torch.cat([first, rest])
