"""What trainers of singing language models minimise and measure: cross-entropy, and how diagonal attention is."""

import torch
from torch import Tensor
from torch.nn import functional

from autosing.models.language_blocks import NOTHING
from autosing.training.metrics import TokenCounts
from autosing.training.task import Tensors

# k of the top-k accuracy.
TOP_K = 10


def token_mask(batch: Tensors) -> Tensor:
    """Returns which tokens are of a sample and no padding, (B, N)."""
    return torch.arange(batch["tokens"].shape[1], device=batch["tokens"].device) < batch["token_counts"][:, None]


def cross_entropy(logits_BNV: Tensor, batch: Tensors) -> Tensor:
    """Returns the cross-entropy of the true tokens in nats, summed; padding is none of them."""
    losses_BN = functional.cross_entropy(logits_BNV.float().transpose(1, 2), batch["tokens"], reduction="none")
    return (losses_BN * token_mask(batch)).sum()


def counted(logits_BNV: Tensor, batch: Tensors) -> TokenCounts:
    """Returns how well the true tokens are predicted; a tie with a true token counts against it."""
    mask_BN = token_mask(batch)
    scores_MV, true_M = logits_BNV.float()[mask_BN], batch["tokens"][mask_BN]
    rank_M = (scores_MV >= scores_MV.gather(1, true_M[:, None])).sum(1)
    loss = functional.cross_entropy(scores_MV, true_M, reduction="sum")
    return TokenCounts(len(true_M), int((rank_M == 1).sum()), int((rank_M <= TOP_K).sum()), float(loss), TOP_K)


def nearness(batch: Tensors, rate: float, width: float) -> Tensor:
    """Returns how near each token is to each of the text in time (B, N, L), 1 at the same and 0 far away.

    With times that are spread evenly it is 1 minus the weight of guided attention (Tachibana et al., 2018, eq. 10),
    whose diagonal goes from corner to corner; with known times the diagonal is where the words are.

    Args:
        batch: as `T2sTask.collate` makes it.
        rate: tokens per second.
        width: of the diagonal, as a share of the sample.
    """
    places = torch.arange(batch["tokens"].shape[1], device=batch["tokens"].device)
    apart_BNL = ((places + 0.5) / rate)[None, :, None] - batch["text_s"][:, None]
    return torch.exp(-((apart_BNL / batch["seconds"][:, None, None]) ** 2) / (2 * width**2))


def has_text(batch: Tensors) -> Tensor:
    """Returns which samples have a text that is not withheld (B,)."""
    return (batch["text_counts"] > 1) & ~batch["withheld"]


def diagonality(attention_BHNL: Tensor, batch: Tensors, rate: float, width: float) -> Tensor:
    """Returns for each head the share of attention that is near in time, summed over the tokens of samples with text.

    Attention to everything alike has about 0.45 with a width of 0.2, and attention to what is sung has 1.
    """
    near_BNL = nearness(batch, rate, width)
    own_BNL = torch.arange(near_BNL.shape[2], device=near_BNL.device) > NOTHING
    near_BHN = (attention_BHNL * (near_BNL * own_BNL)[:, None]).sum(-1)
    counted_BN = token_mask(batch) & has_text(batch)[:, None]
    return (near_BHN * counted_BN[:, None]).sum((0, 2))


def with_others_text(batch: Tensors) -> dict[str, Tensor]:
    """Returns a batch in which each sample has the text of the one before it, over its own time."""
    others = {name: batch[name].roll(1, 0) for name in ("text", "text_s", "text_counts")}
    stretch_B = batch["seconds"] / batch["seconds"].roll(1, 0)
    return {**batch, **others, "text_s": others["text_s"] * stretch_B[:, None]}
