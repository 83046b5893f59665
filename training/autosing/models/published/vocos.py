"""Vocos as published, for mels (Siuzdak, 2024): ConvNeXt blocks, and a spectrum for each frame.

Its mels are of frames centred at multiples of the hop. Nothing in it knows where a frame is centred, so it is given
frames centred half a hop later, as everywhere here, and its spectra are laid there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.published.config import typed
from autosing.signal.errors import CheckpointError, UsageError
from autosing.signal.mel import MelSpec

KERNEL = 7
FLOOR = 1e-7
LOUDEST = 100.0
# Samples to a spectrum: more are of no vocoder.
LONGEST = 1 << 16
PARTS = {
    "feature_extractor": "vocos.feature_extractors.MelSpectrogramFeatures",
    "backbone": "vocos.models.VocosBackbone",
    "head": "vocos.heads.ISTFTHead",
}


@dataclass(frozen=True)
class VocosFields:
    """What a Vocos is built from.

    Attributes:
        mel: the `MelSpec` it is given, as a mapping.
        dim: width.
        hidden_dim: width inside the blocks.
        layers: how many blocks.
        n_fft: samples to a spectrum that it makes.

    Raises:
        UsageError: the numbers do not fit each other.
    """

    mel: Mapping[str, Any]
    dim: int
    hidden_dim: int
    layers: int
    n_fft: int

    def __post_init__(self) -> None:
        spec, longest = self.spec, max(self.n_fft, self.spec.n_fft)
        if min(self.dim, self.hidden_dim, self.layers) < 1 or self.n_fft % 2 or self.n_fft < 2 * spec.hop:
            raise UsageError(
                f"dim {self.dim}, hidden_dim {self.hidden_dim}, layers {self.layers} must be 1 or more, and n_fft "
                f"{self.n_fft} even and two hops of {spec.hop} or more"
            )
        if longest > LONGEST or spec.n_mels > longest:
            raise UsageError(
                f"an n_fft of {longest} with {spec.n_mels} bands; at most are {LONGEST}, and as many bands"
            )

    @property
    def spec(self) -> MelSpec:
        """The mel's definition."""
        return MelSpec(**self.mel)


@dataclass(frozen=True)
class _Features:
    sample_rate: int = 24_000
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 100


@dataclass(frozen=True)
class _Backbone:
    input_channels: int
    dim: int
    intermediate_dim: int
    num_layers: int
    adanorm_num_embeddings: int | None = None


@dataclass(frozen=True)
class _Head:
    dim: int
    n_fft: int
    hop_length: int


def vocos_fields(told: Mapping[str, Any], where: str) -> VocosFields:
    """Returns the fields of a published config.

    Raises:
        CheckpointError: it is one of other features than mels, or its parts do not fit each other.
    """
    features = typed(_Features, _arguments(told, "feature_extractor", where), where)
    backbone = typed(_Backbone, _arguments(told, "backbone", where), where)
    head = typed(_Head, _arguments(told, "head", where), where)
    if backbone.adanorm_num_embeddings is not None:
        raise CheckpointError(f"{where} wants a bandwidth beside the features; take a Vocos of mels")
    fits = {(features.hop_length, features.n_mels, backbone.dim), (head.hop_length, backbone.input_channels, head.dim)}
    if len(fits) > 1:
        raise CheckpointError(f"{where}: hop, bands and width of its parts differ: {sorted(fits)}; copy it again")
    spec = MelSpec(
        features.sample_rate, features.n_fft, features.hop_length, features.n_fft, features.n_mels,
        0.0, features.sample_rate / 2, FLOOR, "htk",
    )  # fmt: skip
    return VocosFields(spec.as_mapping(), backbone.dim, backbone.intermediate_dim, backbone.num_layers, head.n_fft)


def _arguments(told: Mapping[str, Any], part: str, where: str) -> Mapping[str, Any]:
    found = told.get(part)
    named = found.get("class_path") if isinstance(found, Mapping) else None
    if named != PARTS[part]:
        raise CheckpointError(f"{where}: its {part} is {named!r}; supported is the Vocos of mels, {PARTS[part]}")
    arguments = found.get("init_args") if isinstance(found, Mapping) else None
    return arguments if isinstance(arguments, Mapping) else {}


class Vocos(nn.Module):
    """Mels (B, F, M) to waves (B, F hop)."""

    fields_type: ClassVar = VocosFields
    use_f0: ClassVar[bool] = False

    def __init__(self, fields: VocosFields) -> None:
        super().__init__()
        self.fields, self.spec = fields, fields.spec
        self.backbone = _Blocks(fields)
        self.head = nn.ModuleDict({"out": nn.Linear(fields.dim, fields.n_fft + 2)})
        self.register_buffer("window", torch.hann_window(fields.n_fft), persistent=False)
        self.window: Tensor

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame depends on."""
        return KERNEL // 2 * (self.fields.layers + 1) + ceil(self.fields.n_fft / self.spec.hop)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns waves (B, F hop) of `mel` (B, F, M)."""
        log_BFN, phase_BFN = self.head["out"](self.backbone(inputs["mel"])).chunk(2, dim=-1)
        frames_BFT = torch.fft.irfft(torch.polar(log_BFN.exp().clamp(max=LOUDEST), phase_BFN)) * self.window
        weight_BFT = self.window.square().expand(1, frames_BFT.shape[1], -1)
        return self._added(frames_BFT) / self._added(weight_BFT)

    def _added(self, frames_BFT: Tensor) -> Tensor:
        """Returns frames side by side (B, F hop), each with its middle at that of its hop."""
        n_frames, n_fft, hop = frames_BFT.shape[1], self.fields.n_fft, self.spec.hop
        size = (1, (n_frames - 1) * hop + n_fft)
        folded = functional.fold(frames_BFT.transpose(1, 2), size, (1, n_fft), stride=(1, hop))
        first = (n_fft - hop) // 2
        return folded[:, 0, 0, first : first + n_frames * hop]


class _Blocks(nn.Module):
    def __init__(self, fields: VocosFields) -> None:
        super().__init__()
        self.embed = nn.Conv1d(fields.spec.n_mels, fields.dim, KERNEL, padding=KERNEL // 2)
        self.norm = nn.LayerNorm(fields.dim, eps=1e-6)
        self.convnext = nn.ModuleList(_Block(fields.dim, fields.hidden_dim) for _ in range(fields.layers))
        self.final_layer_norm = nn.LayerNorm(fields.dim, eps=1e-6)

    def forward(self, mel_BFM: Tensor) -> Tensor:
        x_BFD = self.norm(self.embed(mel_BFM.transpose(1, 2)).transpose(1, 2))
        for block in self.convnext:
            x_BFD = block(x_BFD)
        last_BFD: Tensor = self.final_layer_norm(x_BFD)
        return last_BFD


class _Block(nn.Module):
    """ConvNeXt's block (Liu et al., 2022): over time channel by channel, then over channels frame by frame."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(dim, dim, KERNEL, padding=KERNEL // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, hidden_dim)
        self.pwconv2 = nn.Linear(hidden_dim, dim)
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x_BFD: Tensor) -> Tensor:
        y_BFD: Tensor = self.norm(self.dwconv(x_BFD.transpose(1, 2)).transpose(1, 2))
        y_BFD = self.gamma * self.pwconv2(functional.gelu(self.pwconv1(y_BFD)))
        return x_BFD + y_BFD
