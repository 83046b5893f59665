"""How well language models predict: counts of true tokens, also with another sample's source in place of the own."""

from torch import Tensor
from torch.nn import functional

from autosing.training.metrics import TokenCounts
from autosing.training.task import Tensors

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


def with_others(batch: Tensors, source: str) -> dict[str, Tensor]:
    """Returns a batch in which each sample has the source of the one before it, over its own time."""
    others = {name: batch[name].roll(1, 0) for name in (source, f"{source}_s", f"{source}_counts")}
    stretch_B = batch["seconds"] / batch["seconds"].roll(1, 0)
    return {**batch, **others, f"{source}_s": others[f"{source}_s"] * stretch_B[:, None]}
