"""Singing voice conversion: content, pitch, energy and a singer to mels, coarse by a conformer, fine by diffusion.

After Amphion's DiffComoSVC (CoMoSVC; Lu et al., 2024). What the diffusion makes is what the coarse mel leaves open: the
difference from it, in units of the spread that the conformer expects of it at each frame and band. With one spread for
each band, measured, it had to learn where a voice is certain and where not (a kurtosis of 9) and made all of it alike.
Everything that is known of a frame comes to it by centre time (`svc_input`). A teacher takes noise away in many steps;
a student, which has a teacher's weights to begin with, in one to four.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.acoustic import (
    LOG_ENERGY_MEAN,
    LOG_ENERGY_SPREAD,
    WAVES,
    Size,
    frame_mask,
    pitch_features,
    zero_linear,
)
from autosing.models.conformer import Conformer
from autosing.models.denoisers import DenoiserName, denoiser_of
from autosing.models.diffusion import Denoise, Noise
from autosing.models.mel_scale import MelScale

PitchName = Literal["waves", "bins", "none"]
Array = npt.NDArray[Any]
Tensors = Mapping[str, Tensor]

# Of binned pitch: a quarter of a semitone each, from C1 on; bin 0 is unvoiced.
PITCH_BINS, LOWEST_PITCH_HZ, BINS_PER_OCTAVE = 337, 32.7, 48
# Logarithms of the least and the greatest spread of what a coarse mel leaves open.
LEAST_OPEN, MOST_OPEN = -4.5, -0.3
# Spreads from a band's mean beyond which no mel lies: a vocoder would make no number of it.
OUTERMOST = 8.0


@dataclass(frozen=True)
class SvcFields:
    """What a conversion model is built from.

    Attributes:
        n_mels: M.
        rates: frames per second, as fractions, of `mel`, of every stream of content, and of `f0_hz` and `energy` as far
            as they are used.
        streams: width of each stream of content.
        tokens: number of tokens of those streams that are tokens.
        pitch: continuous, as `waves`; in `bins`; or `none`.
        n_singers: of the contract's table; 0 without one.
        embedding_dim: width of singer embeddings, which take the place of the table; 0 for the table.
        uses_formant: whether it is told by how much formants are moved.
        dim: D, of conditions and conformer.
        layers: of the conformer.
        reach: frames on either side that attention sees in a layer.
        denoiser: `bidilconv` or `dit`.
        denoiser_dim: its width.
        denoiser_layers: its blocks.
        dropout: in the conformer.
        distilled: whether it is a student.
    """

    n_mels: int
    rates: Mapping[str, str]
    streams: Mapping[str, int]
    tokens: Mapping[str, int]
    pitch: PitchName
    n_singers: int
    embedding_dim: int
    uses_formant: bool
    dim: int
    layers: int
    reach: int
    denoiser: DenoiserName
    denoiser_dim: int
    denoiser_layers: int
    dropout: float
    distilled: bool = False


def svc_widths(size: Size, denoiser: DenoiserName) -> dict[str, Any]:
    """Returns the widths of a size: `tiny` learns in minutes on a CPU, `base` has about DiffComoSVC's."""
    dim, layers = {"tiny": (96, 2), "small": (256, 4), "base": (384, 6)}[size]
    wide, deep = {"tiny": (96, 8), "small": (256, 16), "base": (384, 20)}[size]
    deep = deep if denoiser == "bidilconv" else max(deep // 2, 4)
    return {"dim": dim, "layers": layers, "denoiser_dim": wide, "denoiser_layers": deep}


@dataclass(frozen=True)
class Known:
    """What is known of each frame before any noise is drawn.

    Attributes:
        coarse: (B, F, M), the mel to be expected, of mean 0 and spread 1.
        log_spread: (B, F, M), the logarithm of how far the mel may be from it.
        context: (B, F, C), what the denoiser is told.
        mask: (B, F, 1), 1 where there is a frame.
    """

    coarse: Tensor
    log_spread: Tensor
    context: Tensor
    mask: Tensor


class SvcModel(nn.Module):
    """Makes mels (B, F, M), natural-log magnitudes, from what `svc_input` makes of samples.

    Inputs, all at the mel's frames: each stream of content, (B, F, dim) or tokens (B, F); `period_s` (B, F), 0 where
    unvoiced; `log_energy` (B, F); `formant` (B, F), in octaves; `mel_frames` (B,); who sings, as `singer` (B,) rows of
    the table, `singer_weights` (B, F, rows) or `singer_embedding` (B, F, E). A batch gives the same mels as its samples
    one by one. Frames after a sample's end are 0.
    """

    fields_type: ClassVar = SvcFields

    def __init__(self, fields: SvcFields) -> None:
        super().__init__()
        self.fields = fields
        self.noise = Noise()
        self.scale = MelScale(fields.n_mels)
        self.content = nn.ModuleDict({name: _stream(fields, name) for name in sorted(fields.streams)})
        self.pitch = _pitch(fields)
        self.energy = nn.Linear(1, fields.dim) if "energy" in fields.rates else None
        self.formant = zero_linear(1, fields.dim) if fields.uses_formant else None
        self.singers = _singers(fields)
        self.into = nn.Sequential(nn.LayerNorm(fields.dim), nn.Linear(fields.dim, fields.dim))
        heads = max(fields.dim // 48, 1)
        self.conformer = Conformer(fields.dim, fields.layers, heads, fields.reach, fields.dropout)
        self.coarse = zero_linear(fields.dim, fields.n_mels)
        self.log_spread = zero_linear(fields.dim, fields.n_mels)
        self.denoiser = denoiser_of(
            fields.denoiser,
            fields.n_mels,
            fields.dim + fields.n_mels,
            fields.denoiser_dim,
            fields.denoiser_layers,
            fields.reach,
        )
        # What it was trained on, by row of the table; 0 where no sample told it. Songs are moved towards it.
        self.register_buffer("f0_medians_hz", torch.zeros(fields.n_singers + 1))
        self.register_buffer("f0_range_hz", torch.zeros(2))
        self.f0_medians_hz: Tensor
        self.f0_range_hz: Tensor

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame of the coarse mel depends on."""
        return self.conformer.context_frames

    def known(self, inputs: Tensors) -> Known:
        """Returns the coarse mel and what the denoiser is told of each frame."""
        like_BF = inputs["frame"]
        mask_BF1 = frame_mask(inputs["mel_frames"], like_BF)
        hidden_BFD = self.conformer(self.into(self._conditions(inputs)) * mask_BF1, mask_BF1)
        coarse_BFM = self.coarse(hidden_BFD).float() * mask_BF1
        # Of a hidden frame that is not moved by it: certainty is told of the mean, and not bought with it.
        share_BFM = self.log_spread(hidden_BFD.detach()).float().sigmoid()
        log_spread_BFM = LEAST_OPEN + (MOST_OPEN - LEAST_OPEN) * share_BFM
        # The diffusion moves the conformer by what it is told, and not by what is left for it to do.
        context_BFC = torch.cat([hidden_BFD, coarse_BFM.detach().to(hidden_BFD.dtype)], dim=-1) * mask_BF1
        return Known(coarse_BFM, log_spread_BFM, context_BFC, mask_BF1)

    def denoise(self, known: Known) -> Denoise:
        """Returns what tells values (B, F, M) from noise, for frames of which this is known."""

        def network(x_BFM: Tensor, level_B: Tensor) -> Tensor:
            return self.denoiser(x_BFM, level_B, known.context, known.mask).float()  # type: ignore[no-any-return]

        exact = self.fields.distilled
        return lambda x_BFM, level_B: self.noise.denoised(network, x_BFM, level_B, exact) * known.mask

    def open_part(self, normal_BFM: Tensor, known: Known) -> Tensor:
        """Returns what the coarse mel leaves open of a normalised mel, of about spread 1."""
        return (normal_BFM - known.coarse.detach()) * (-known.log_spread.detach()).exp() * known.mask

    def mel(self, known: Known, open_BFM: Tensor | None = None) -> Tensor:
        """Returns the mel in nats: the coarse one, with what it leaves open where that is given."""
        normal_BFM = known.coarse if open_BFM is None else known.coarse + open_BFM * known.log_spread.exp()
        nats_BFM: Tensor = self.scale.nats(normal_BFM.clamp(-OUTERMOST, OUTERMOST)) * known.mask
        return nats_BFM

    def _conditions(self, inputs: Tensors) -> Tensor:
        parts = [layer(inputs[name]) for name, layer in self.content.items()]
        if self.pitch is not None:
            parts.append(self.pitch(inputs["period_s"]))
        if self.energy is not None:
            parts.append(self.energy((inputs["log_energy"][..., None] - LOG_ENERGY_MEAN) / LOG_ENERGY_SPREAD))
        if self.formant is not None:
            parts.append(self.formant(inputs["formant"][..., None]))
        if self.singers is not None:
            parts.append(self._singer(inputs))
        return torch.stack([part.expand(parts[0].shape) for part in parts]).sum(0)

    def _singer(self, inputs: Tensors) -> Tensor:
        """Returns who sings, (B, 1 or F, D)."""
        if isinstance(self.singers, nn.Embedding):
            if "singer_weights" in inputs:
                return inputs["singer_weights"] @ self.singers.weight
            row_BD: Tensor = self.singers(inputs["singer"])
            return row_BD[:, None]
        assert self.singers is not None
        # A vector of zeros is nobody in particular: the layer has no constant part.
        directed: Tensor = self.singers(functional.normalize(inputs["singer_embedding"], dim=-1))
        return directed


def _stream(fields: SvcFields, name: str) -> nn.Module:
    if name in fields.tokens:
        return nn.Embedding(fields.tokens[name], fields.dim)
    return nn.Sequential(nn.LayerNorm(fields.streams[name]), nn.Linear(fields.streams[name], fields.dim))


def _singers(fields: SvcFields) -> nn.Embedding | nn.Linear | None:
    if fields.embedding_dim:
        return nn.Linear(fields.embedding_dim, fields.dim, bias=False)
    if not fields.n_singers:
        return None
    table = nn.Embedding(fields.n_singers + 1, fields.dim)
    # A singer who is never trained then sounds like nobody in particular, not like noise.
    nn.init.zeros_(table.weight)
    return table


def _pitch(fields: SvcFields) -> nn.Module | None:
    if fields.pitch == "none":
        return None
    return PitchWaves(fields.dim) if fields.pitch == "waves" else PitchBins(fields.dim)


class PitchWaves(nn.Module):
    """Voicing, log F0 and waves of the period (B, F) as (B, F, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 + WAVES, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, period_s_BF: Tensor) -> Tensor:
        told_BFD: Tensor = self.layers(torch.cat(pitch_features(period_s_BF), dim=-1))
        return told_BFD


class PitchBins(nn.Module):
    """The bin of the pitch, quarter semitones, of periods (B, F), as (B, F, D); unvoiced is a bin of its own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(PITCH_BINS, dim)

    def forward(self, period_s_BF: Tensor) -> Tensor:
        octaves_BF = -torch.log2(period_s_BF.clamp(min=1e-6) * LOWEST_PITCH_HZ)
        bins_BF = (octaves_BF * BINS_PER_OCTAVE).round().long().clamp(0, PITCH_BINS - 2) + 1
        told_BFD: Tensor = self.table(torch.where(period_s_BF > 0, bins_BF, 0))
        return told_BFD
