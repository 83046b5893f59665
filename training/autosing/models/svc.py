"""Singing voice conversion: content, pitch, energy and a singer to mels, coarse by a conformer, fine by diffusion.

After Amphion's DiffComoSVC (CoMoSVC; Lu et al., 2024). What the diffusion makes is what the coarse mel leaves open: the
difference from it, in units of its spread in each band, which is measured while training. Everything that is known of
a frame comes to it by centre time (`svc_input`). A teacher takes noise away in many steps; a student, which has a
teacher's weights to begin with, in one to four.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from autosing.models.acoustic import (
    LOG_ENERGY_MEAN,
    LOG_ENERGY_SPREAD,
    UNKNOWN_SINGER,
    WAVES,
    Size,
    frame_mask,
    pitch_features,
    zero_linear,
)
from autosing.models.conformer import Conformer
from autosing.models.denoisers import DenoiserName, denoiser_of
from autosing.models.diffusion import Denoise, Noise, Solver, calls, leap, solve
from autosing.models.excitation import noise as white
from autosing.models.mel_scale import LEAST_SPREAD, MelScale
from autosing.models.pieces import pieces

PitchName = Literal["waves", "bins", "none"]
Array = npt.NDArray[Any]
Tensors = Mapping[str, Tensor]

# Of binned pitch: a quarter of a semitone each, from C1 on; bin 0 is unvoiced.
PITCH_BINS, LOWEST_PITCH_HZ, BINS_PER_OCTAVE = 337, 32.7, 48
# How fast the spread of what the coarse mel leaves open is followed.
SPREAD_DECAY = 0.99
# Spreads from a band's mean beyond which no mel lies: a vocoder would make no number of it.
OUTERMOST = 8.0
# Of what is looked at beside a piece: more changes less than can be heard, and costs time.
MOST_CONTEXT = 384
PIECE_FRAMES = 1536


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
        context: (B, F, C), what the denoiser is told.
        mask: (B, F, 1), 1 where there is a frame.
    """

    coarse: Tensor
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
        self.denoiser = denoiser_of(
            fields.denoiser,
            fields.n_mels,
            fields.dim + fields.n_mels,
            fields.denoiser_dim,
            fields.denoiser_layers,
            fields.reach,
        )
        self.register_buffer("spread", torch.ones(fields.n_mels))
        self.register_buffer("measured", torch.zeros((), dtype=torch.long))
        # What it was trained on, by row of the table; 0 where no sample told it. Songs are moved towards it.
        self.register_buffer("f0_medians_hz", torch.zeros(fields.n_singers + 1))
        self.register_buffer("f0_range_hz", torch.zeros(2))
        self.spread: Tensor
        self.measured: Tensor
        # No buffer: those of one process would be laid over the others'.
        self._left: Tensor | None = None
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
        # The diffusion moves the conformer by what it is told, and not by what is left for it to do.
        context_BFC = torch.cat([hidden_BFD, coarse_BFM.detach().to(hidden_BFD.dtype)], dim=-1) * mask_BF1
        return Known(coarse_BFM, context_BFC, mask_BF1)

    def denoise(self, known: Known) -> Denoise:
        """Returns what tells values (B, F, M) from noise, for frames of which this is known."""

        def network(x_BFM: Tensor, level_B: Tensor) -> Tensor:
            return self.denoiser(x_BFM, level_B, known.context, known.mask).float()  # type: ignore[no-any-return]

        exact = self.fields.distilled
        return lambda x_BFM, level_B: self.noise.denoised(network, x_BFM, level_B, exact) * known.mask

    def open_part(self, normal_BFM: Tensor, known: Known) -> Tensor:
        """Returns what the coarse mel leaves open of a normalised mel, of spread 1 in each band."""
        return (normal_BFM - known.coarse.detach()) / self.spread * known.mask

    @torch.no_grad()
    def measure_spread(self, normal_BFM: Tensor, known: Known) -> None:
        """Adds a batch to what `follow_spread` will take up."""
        left_BFM = (normal_BFM - known.coarse) * known.mask
        found = torch.cat([left_BFM.square().sum((0, 1)), known.mask.sum()[None]])
        self._left = found if self._left is None else self._left + found

    @torch.no_grad()
    def follow_spread(self) -> None:
        """Takes up the spread of what the coarse mels of a step left open, in all processes; once after each step."""
        if self._left is None:
            return
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(self._left)
        spread_M = (self._left[:-1] / self._left[-1].clamp(min=1)).sqrt().clamp(min=LEAST_SPREAD)
        # A plain mean at first. No number of it is fetched: that would wait for the device.
        decay = (self.measured / (self.measured + 1)).clamp(max=SPREAD_DECAY)
        self.spread.copy_(torch.lerp(spread_M, self.spread, decay))
        self.measured += 1
        self._left = None

    def mel(self, known: Known, open_BFM: Tensor | None = None) -> Tensor:
        """Returns the mel in nats: the coarse one, with what it leaves open where that is given."""
        normal_BFM = known.coarse if open_BFM is None else known.coarse + open_BFM * self.spread
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


@dataclass(frozen=True)
class Sampling:
    """How a mel is drawn.

    Attributes:
        steps: of a teacher's solver, or calls of a student; 0 gives the coarse mel alone.
        solver: of a teacher.
        guidance: how far towards the asked singer from nobody in particular; 1 is the model's own.
        seed: of the noise; the same seed gives the same mel.
    """

    steps: int = 0
    solver: Solver = "heun"
    guidance: float = 1.0
    seed: int = 0


def draw(model: SvcModel, inputs: Tensors, noises: Iterator[Tensor], how: Sampling) -> Tensor:
    """Returns mels (B, F, M) in nats; of a guided singer, each estimate is moved away from that for nobody.

    Args:
        model: teacher or student.
        inputs: see `SvcModel`.
        noises: white noise (B, F, M), one for a teacher, one for each step of a student.
        how: steps, solver and guidance.
    """
    known = model.known(inputs)
    if how.guidance != 1.0:
        nobody = model.known(without_singer(inputs))
        coarse_BFM = torch.lerp(nobody.coarse, known.coarse, how.guidance)
        apart = model.denoise(known), model.denoise(nobody)
        known = Known(coarse_BFM, known.context, known.mask)

        def denoise(x_BFM: Tensor, level_B: Tensor) -> Tensor:
            return torch.lerp(apart[1](x_BFM, level_B), apart[0](x_BFM, level_B), how.guidance)
    else:
        denoise = model.denoise(known)  # type: ignore[assignment]
    if not how.steps:
        return model.mel(known)
    if model.fields.distilled:
        levels = model.noise.levels(how.steps + 1)[:-1]
        return model.mel(known, leap(denoise, noises, levels, model.noise.lowest))
    return model.mel(known, solve(denoise, next(noises), model.noise.levels(how.steps), how.solver))


def without_singer(inputs: Tensors) -> dict[str, Tensor]:
    """Returns the inputs with nobody in particular singing, as in training where the singer was withheld."""
    kept = {name: tensor for name, tensor in inputs.items() if name != "singer_weights"}
    rows = torch.full_like(inputs["mel_frames"], UNKNOWN_SINGER)
    if "singer_embedding" in inputs:
        kept["singer_embedding"] = torch.zeros_like(inputs["singer_embedding"])
    return {**kept, "singer": rows}


@torch.inference_mode()
def convert_mel(
    model: SvcModel, inputs: Mapping[str, Array], how: Sampling, piece_frames: int = PIECE_FRAMES
) -> Iterator[npt.NDArray[np.float32]]:
    """Yields the mel of a recording piece by piece (F', M); memory is in proportion to a piece.

    The noise of a frame is the same in every piece that sees it, so that pieces agree where they meet; what lies beyond
    `MOST_CONTEXT` frames beside a piece is not looked at.

    Args:
        model: in evaluation mode.
        inputs: of one recording, each (F, ...); see `SvcModel`.
        how: it is drawn.
        piece_frames: frames that are made at once.
    """
    n_frames, device = len(inputs["frame"]), next(model.parameters()).device
    around = min(context_of(model, how), MOST_CONTEXT)
    for first, last, seen_from, seen_to in pieces(n_frames, piece_frames, around):
        part = {name: torch.from_numpy(array[seen_from:seen_to])[None].to(device) for name, array in inputs.items()}
        part["mel_frames"] = torch.tensor([seen_to - seen_from], device=device)
        noises = _noises(seen_from, seen_to, model.fields.n_mels, how.seed, device)
        mel: npt.NDArray[np.float32] = draw(model, part, noises, how)[0].float().cpu().numpy()
        yield mel[first - seen_from : last - seen_from]


def context_of(model: SvcModel, how: Sampling) -> int:
    """Returns how many frames on either side a frame depends on."""
    looks = how.steps if model.fields.distilled else calls(how.steps, how.solver)
    return model.context_frames + looks * model.denoiser.context_frames


def _noises(first: int, last: int, n_mels: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    """Yields noise (1, F, M) of frames `first` to `last`, new each time, that depends on the frame alone."""
    draw = 0
    while True:
        # Seeds of draws lie far apart, so that no two seeds share one.
        made = white(first * n_mels, (last - first) * n_mels, seed * 1_000_003 + draw)
        yield torch.from_numpy(made.reshape(1, last - first, n_mels)).to(device)
        draw += 1
