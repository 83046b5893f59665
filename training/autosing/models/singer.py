"""Whose voice it is, as one vector of length 1, heard in mel frames or in features of a speech encoder.

Dilated convolutions hear every frame with what lies around it. What they say is brought to a mean and a spread over
time for each channel, in which it weighs the frames for itself (attentive statistics: Okabe et al., 2018, with weights
for each channel as ECAPA-TDNN has them). Padding is beyond the end for the former and has no weight in the latter, so
that no voice depends on those beside it. Voices are compared by the cosine of their vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.acoustic import ConvBlocks, Size, frame_mask
from autosing.models.layer_mix import check_features
from autosing.models.mel_scale import MelScale
from autosing.signal.errors import UsageError
from autosing.signal.framing import nearest_frames

Features = Literal["mel", "ssl"]
Frames = npt.NDArray[np.floating[Any]]

# Keeps the gradient of a spread finite where a channel does not move.
LEAST_VARIANCE = 1e-5


@dataclass(frozen=True)
class SingerFields:
    """What a singer encoder is built from.

    Attributes:
        features: the stage whose series is heard: `mel` or `ssl`.
        rate: of its frames, as a fraction.
        feature_dim: width of a frame.
        dim: width of the layers.
        layers: how many.
        embedding_dim: E, of the vectors.
        dropout: in the layers.

    Raises:
        UsageError: there are no such features.
    """

    features: Features
    rate: str
    feature_dim: int
    dim: int
    layers: int
    embedding_dim: int
    dropout: float

    def __post_init__(self) -> None:
        if self.features not in get_args(Features):
            raise UsageError(f"features is {self.features!r}; a singer is heard in {' or '.join(get_args(Features))}")


SINGER_SIZES: Mapping[Size, tuple[int, int, int]] = {"tiny": (96, 4, 96), "small": (256, 6, 192), "base": (512, 8, 256)}
"""Width, layers, and width of the vectors."""


class SingerEncoder(nn.Module):
    """Frames (B, F, M) to vectors (B, E) of length 1; a batch gives the same vectors as its samples one by one."""

    fields_type: ClassVar = SingerFields

    def __init__(self, fields: SingerFields) -> None:
        super().__init__()
        self.fields, dim = fields, fields.dim
        self.scale = MelScale(fields.feature_dim)
        self.first = nn.Linear(fields.feature_dim, dim)
        self.blocks = ConvBlocks(dim, fields.layers, fields.dropout)
        self.norm = nn.LayerNorm(dim)
        self.pooling = AttentiveStatistics(dim)
        self.last = nn.Sequential(nn.LayerNorm(2 * dim), nn.Linear(2 * dim, fields.embedding_dim))

    def forward(self, features_BFM: Tensor, counts_B: Tensor) -> Tensor:
        """Returns the vectors of samples, of which each has `counts_B` frames, at least one."""
        mask_BF1 = frame_mask(counts_B, features_BFM[..., 0])
        x_BFD = self.norm(self.blocks(self.first(self.scale.normal(features_BFM)), mask_BF1))
        return functional.normalize(self.last(self.pooling(x_BFD, mask_BF1)).float(), dim=-1)


class AttentiveStatistics(nn.Module):
    """Mean and spread over time of each channel, which weighs the frames for itself: (B, F, D) to (B, 2 D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Linear(dim, dim // 2), nn.Tanh(), nn.Linear(dim // 2, dim))

    def forward(self, x_BFD: Tensor, mask_BF1: Tensor) -> Tensor:
        shares_BFD = self.weigh(x_BFD).float().masked_fill(mask_BF1 == 0, -torch.inf).softmax(1)
        mean_B1D = (shares_BFD * x_BFD).sum(1, keepdim=True)
        variance_BD = (shares_BFD * (x_BFD - mean_B1D).square()).sum(1)
        return torch.cat([mean_B1D[:, 0], (variance_BD + LEAST_VARIANCE).sqrt()], dim=-1)


class KnownSingers(nn.Module):
    """An encoder with a direction for each singer of the training data, which only training needs.

    Args:
        encoder: what is kept.
        n_singers: rows of the table; 0 has none.
        margin: by which voices must be nearer to their singer than to any other, in the first step.
    """

    def __init__(self, encoder: SingerEncoder, n_singers: int, margin: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.fields.embedding_dim
        self.table = nn.Parameter(torch.randn(n_singers, width)) if n_singers else None
        # It may grow from step to step, and is here so that a run that is resumed has it.
        self.register_buffer("margin", torch.tensor(margin))
        self.margin: Tensor

    def forward(self, features_BFM: Tensor, counts_B: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns vectors (B, E), and their cosines with the table's directions (B, S)."""
        voices_BE = self.encoder(features_BFM, counts_B)
        return voices_BE, None if self.table is None else voices_BE @ functional.normalize(self.table, dim=-1).T


def sung_frames(frames: Frames, rate: Fraction, activity: npt.NDArray[Any], activity_rate: Fraction) -> Frames:
    """Returns those of the frames (F, M) whose centres lie where somebody sings, by a series (N,) of another rate."""
    if not len(activity):
        return frames[:0]
    near = nearest_frames(len(frames), rate, len(activity), activity_rate)
    return frames[activity.astype(np.bool_)[near]]


@torch.inference_mode()
def embedding_of(model: SingerEncoder, features: Frames) -> npt.NDArray[np.float32]:
    """Returns the vector (E,) of frames (F, M), of which there must be one.

    Raises:
        RowError: the frames are of another width.
    """
    check_features(features.shape, model.fields.feature_dim)
    device = next(model.parameters()).device
    heard = torch.from_numpy(features.astype(np.float32))[None].to(device)
    voice: npt.NDArray[np.float32] = model(heard, torch.tensor([len(features)], device=device))[0].cpu().numpy()
    return voice
