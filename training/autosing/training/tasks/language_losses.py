"""How well language models predict: counts of true tokens, also with another sample's source in place of the own."""

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


def with_others(batch: Tensors, source: str) -> dict[str, Tensor]:
    """Returns a batch in which each sample has the source of the one before it, over its own time."""
    others = {name: batch[name].roll(1, 0) for name in (source, f"{source}_s", f"{source}_counts")}
    stretch_B = batch["seconds"] / batch["seconds"].roll(1, 0)
    return {**batch, **others, f"{source}_s": others[f"{source}_s"] * stretch_B[:, None]}
