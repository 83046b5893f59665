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
from torch.nn import functional

from autosing.models.acoustic import ConvBlocks, Size, frame_mask
from autosing.models.acoustic_input import ENERGY_FLOOR
from autosing.models.layer_mix import LayerMix, check_features, layer_width
from autosing.models.pieces import pieces
from autosing.models.pitch_bins import PitchBins
from autosing.signal.errors import UsageError

Features = npt.NDArray[np.floating[Any]]

PIECE_FRAMES = 3000
DB_PER_NEPER = 20 / np.log(10)
# What is left out at either end of what is measured.
TAIL = 0.001


@dataclass(frozen=True)
class ContentFields:
    """What a content encoder is built from.

    Attributes:
        rate: of the features, as a fraction.
        feature_dim: their width, all layers together.
        n_layers: how many layers of an encoder lie side by side in them.
        n_units: of the discrete units that soft ones lie among; 0 hears none.
        soft_dim: width of the soft units.
        temperature: of the cosines.
        pitch_bins: how many bins of `pitch_cents` there are; 0 hears no pitch.
        pitch_cents: width of a bin of pitch.
        dynamic_bins: how many bins there are; 0 hears none.
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
        if not (self.n_units or self.pitch_bins or self.dynamic_bins):
            raise UsageError("a content encoder without units, pitch and dynamics hears nothing")


CONTENT_SIZES: Mapping[Size, tuple[int, int]] = {"tiny": (128, 6), "small": (384, 8), "base": (768, 12)}


@dataclass(frozen=True)
class Heard:
    """What is heard of each frame; None of what a model does not hear.

    Attributes:
        soft: (B, N, S), soft units.
        units: (B, N, K), log probabilities of the discrete ones.
        pitch: (B, N, 1 + P), logits of being unvoiced, and of the bins.
        dynamics: (B, N, D), logits of the bins.
    """

    soft: Tensor | None
    units: Tensor | None
    pitch: Tensor | None
    dynamics: Tensor | None


class ContentEncoder(nn.Module):
    """Features (B, N, D) to what is heard in each frame."""

    fields_type: ClassVar = ContentFields

    def __init__(self, fields: ContentFields) -> None:
        super().__init__()
        self.fields, dim = fields, fields.dim
        self.mix = LayerMix(fields.feature_dim, fields.n_layers)
        self.first = nn.Linear(self.mix.width, dim)
        # In place of features that are masked in training.
        self.hidden_away = nn.Parameter(torch.zeros(dim))
        self.blocks = ConvBlocks(dim, fields.layers, fields.dropout)
        self.last = nn.LayerNorm(dim)
        self.soft = nn.Linear(dim, fields.soft_dim) if fields.n_units else None
        self.table = nn.Parameter(torch.randn(fields.n_units, fields.soft_dim)) if fields.n_units else None
        self.pitch = nn.Linear(dim, 1 + fields.pitch_bins) if fields.pitch_bins else None
        self.dynamics = nn.Linear(dim, fields.dynamic_bins) if fields.dynamic_bins else None
        # Measured: the centres of the first bins, and the width of those of dynamics.
        self.register_buffer("lowest_hz", torch.tensor(55.0))
        self.register_buffer("lowest_db", torch.tensor(-80.0))
        self.register_buffer("dynamic_db", torch.tensor(2.5))
        self.lowest_hz: Tensor
        self.lowest_db: Tensor
        self.dynamic_db: Tensor

    @property
    def pitches(self) -> PitchBins:
        """The bins of pitch."""
        fields = self.fields
        return PitchBins(float(self.lowest_hz), fields.pitch_cents, fields.pitch_bins, fields.pitch_cents / 2)

    def dynamic_places(self, energy: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """Returns the places of RMS values in bins of dynamics, fractions; those beyond either end are at it."""
        places = (loudness_db(energy) - float(self.lowest_db)) / float(self.dynamic_db)
        return np.asarray(np.clip(places, 0, self.fields.dynamic_bins - 1), np.float32)

    @torch.no_grad()
    def measure(self, f0_hz: npt.NDArray[np.floating[Any]], energy: npt.NDArray[np.floating[Any]]) -> None:
        """Sets the bins by what voices do: all but a thousandth of the pitches and of the levels, at either end."""
        pitches = f0_hz[f0_hz > 0]
        if len(pitches):
            self.lowest_hz.fill_(float(np.quantile(pitches, TAIL)))
        if len(energy) and self.fields.dynamic_bins > 1:
            low_db, high_db = np.quantile(loudness_db(energy), (TAIL, 1 - TAIL))
            self.lowest_db.fill_(float(low_db))
            self.dynamic_db.fill_(float(max(high_db - low_db, 1.0) / (self.fields.dynamic_bins - 1)))

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
        x_BND = self.last(self.blocks(x_BND, mask_BN1))
        soft_BNS = self.soft(x_BND) if self.soft else None
        return Heard(
            soft_BNS,
            None if soft_BNS is None else self._units(soft_BNS),
            self.pitch(x_BND) if self.pitch else None,
            self.dynamics(x_BND) if self.dynamics else None,
        )

    def _units(self, soft_BNS: Tensor) -> Tensor:
        assert self.table is not None
        cosine_BNK = functional.normalize(soft_BNS.float(), dim=-1) @ functional.normalize(self.table, dim=-1).T
        return (cosine_BNK / self.fields.temperature).log_softmax(-1)


def loudness_db(energy: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Returns RMS values in dB of full scale, silence as -80."""
    level_db: npt.NDArray[np.float32] = (DB_PER_NEPER * np.log(np.maximum(energy, ENERGY_FLOOR))).astype(np.float32)
    return level_db


@dataclass(frozen=True)
class Content:
    """What is heard of a song; None of what a model does not hear.

    Attributes:
        soft_units: (N, S).
        pitch_bin: (N,), 0 where unvoiced, else 1 + the bin.
        f0_hz: (N,), the pitch itself, 0 where unvoiced.
        dynamic_bin: (N,).
    """

    soft_units: npt.NDArray[np.float32] | None
    pitch_bin: npt.NDArray[np.uint16] | None
    f0_hz: npt.NDArray[np.float32] | None
    dynamic_bin: npt.NDArray[np.uint16] | None


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
    found: dict[str, list[npt.NDArray[Any]]] = {"soft": [], "pitch": [], "f0": [], "dynamics": []}
    for first, last, seen_from, seen_to in pieces(len(features), PIECE_FRAMES, model.context_frames):
        part = torch.from_numpy(features[seen_from:seen_to].astype(np.float32))[None].to(device)
        heard = model(part, torch.tensor([seen_to - seen_from], device=device))
        kept = slice(first - seen_from, last - seen_from)
        for name, values in _values(model, heard).items():
            found[name].append(values[0, kept].float().cpu().numpy())
    joined = {name: np.concatenate(parts)[:n_frames] if parts else None for name, parts in found.items()}
    pitch, dynamics = joined["pitch"], joined["dynamics"]
    return Content(
        joined["soft"],
        None if pitch is None else pitch.astype(np.uint16),
        joined["f0"],
        None if dynamics is None else dynamics.astype(np.uint16),
    )


def _values(model: ContentEncoder, heard: Heard) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    if heard.soft is not None:
        found["soft"] = heard.soft
    if heard.pitch is not None:
        found["pitch"] = heard.pitch.argmax(-1)
        pitch_hz = model.pitches.pitch_hz(heard.pitch[..., 1:], around=1)
        found["f0"] = torch.where(found["pitch"] > 0, pitch_hz, 0.0)
    if heard.dynamics is not None:
        found["dynamics"] = heard.dynamics.argmax(-1)
    return found
