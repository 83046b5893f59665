"""What is sung, how high and how loud, heard from the features of a speech encoder: soft units, pitch and dynamics.

Soft units are those of Soft-VC (van Niekerk et al., 2022): vectors whose cosines with a table of discrete units say
which unit it is, so that what lies between two units stays between them. Pitch and dynamics are after hubert-pitdyn,
without what made it fail: bins are of measured statistics in cents and decibels, being unvoiced is a bin of its own,
labels are soft over neighbouring bins, there are heads of their own in place of a table of phone-like units, and every
frame teaches, not masked ones alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autosing.models.acoustic import ConvBlocks, Size, frame_mask
from autosing.models.layer_mix import LayerMix, check_features, layer_width
from autosing.models.listener import Content, Heard, Listener, check_heads
from autosing.models.pieces import pieces

Features = npt.NDArray[np.floating[Any]]

PIECE_FRAMES = 3000


@dataclass(frozen=True)
class ContentFields:
    """What a content encoder is built from.

    Attributes:
        rate: of the features, as a fraction.
        feature_dim: their width, all layers together.
        n_layers: how many layers of an encoder lie side by side in them.
        n_units, soft_dim, temperature, pitch_bins, pitch_cents, dynamic_bins: see `HeadFields`.
        dim: width of the layers.
        layers: how many.
        dropout: in the layers.
    """

    rate: str
    feature_dim: int
    n_layers: int
    n_units: int
    soft_dim: int
    temperature: float
    pitch_bins: int
    pitch_cents: float
    dynamic_bins: int
    dim: int
    layers: int
    dropout: float

    def __post_init__(self) -> None:
        layer_width(self.feature_dim, self.n_layers)
        check_heads(self)


CONTENT_SIZES: Mapping[Size, tuple[int, int]] = {"tiny": (128, 6), "small": (384, 8), "base": (768, 12)}


class ContentEncoder(Listener):
    """Features (B, N, D) to what is heard in each frame."""

    fields_type: ClassVar = ContentFields

    def __init__(self, fields: ContentFields) -> None:
        super().__init__(fields, fields.dim)
        self.fields, dim = fields, fields.dim
        self.mix = LayerMix(fields.feature_dim, fields.n_layers)
        self.first = nn.Linear(self.mix.width, dim)
        self.blocks = ConvBlocks(dim, fields.layers, fields.dropout)
        self.last = nn.LayerNorm(dim)

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame depends on."""
        return self.blocks.context_frames

    def forward(self, features_BND: Tensor, counts_B: Tensor, is_masked_BN: Tensor | None = None) -> Heard:
        """Returns what is heard of features, of which each sample has `counts_B` frames."""
        mask_BN1 = frame_mask(counts_B, features_BND[..., 0])
        x_BND = self.first(self.mix(features_BND))
        if is_masked_BN is not None:
            x_BND = torch.where(is_masked_BN[..., None], self.hidden_away, x_BND)
        return self.hear(self.last(self.blocks(x_BND, mask_BN1)))


@torch.inference_mode()
def content_of(model: ContentEncoder, features: Features) -> Content:
    """Returns what is heard of the features (N, D) of a song, in pieces that are what the whole would be.

    Raises:
        RowError: the features are of another width.
    """
    fields = model.fields
    check_features(features.shape, fields.feature_dim)
    device, n_frames = next(model.parameters()).device, len(features)
    if not n_frames:
        # Nothing has the shapes of what is cut off from something.
        features = np.zeros((1, fields.feature_dim), np.float32)
    found: list[dict[str, npt.NDArray[Any]]] = []
    for first, last, seen_from, seen_to in pieces(len(features), PIECE_FRAMES, model.context_frames):
        part = torch.from_numpy(features[seen_from:seen_to].astype(np.float32))[None].to(device)
        heard = model(part, torch.tensor([seen_to - seen_from], device=device))
        kept = slice(first - seen_from, last - seen_from)
        found.append({n: values[0, kept].float().cpu().numpy() for n, values in model.values(heard).items()})
    return Content.of({name: np.concatenate([one[name] for one in found])[:n_frames] for name in found[0]})
