"""What the trainer of T2S minimises and measures beside the cross-entropy: how diagonal attention is."""

import torch
from torch import Tensor

from autosing.models.columns import COLUMNS
from autosing.models.language_blocks import NOTHING
from autosing.models.patterns import EMPTY, NO_SAMPLE
from autosing.training.task import Tensors


def token_mask(batch: Tensors) -> Tensor:
    """Returns which tokens are of a sample and no padding, (B, N)."""
    if COLUMNS in batch:
        return batch[COLUMNS] != NO_SAMPLE
    return torch.arange(batch["tokens"].shape[1], device=batch["tokens"].device) < batch["token_counts"][:, None]


def true_cells(batch: Tensors) -> Tensor:
    """Returns the true tokens as columns of one cell (B, N, 1), padding `EMPTY`."""
    return batch["tokens"].where(token_mask(batch), EMPTY)[..., None]


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
