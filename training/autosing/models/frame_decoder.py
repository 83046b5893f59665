"""From hidden frames to sound by way of what can be checked: a mel, a pitch, and a wave of both."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autosing.models.acoustic import ConvBlocks, zero_linear
from autosing.models.istft_head import IstftHead
from autosing.models.mel_scale import MelScale
from autosing.models.pitch_bins import PitchBins
from autosing.signal.mel import MelSpec

BINS = PitchBins()
HEAD_LAYERS = 2


@dataclass(frozen=True)
class Decoded:
    """What is said of each frame.

    Attributes:
        hidden: (B, F, D).
        mask: (B, F, 1), 1 where there is a frame.
        mel: (B, F, M).
        pitch: (B, F, 1 + N), logits of voicing and of the bins; None of a decoder without.
    """

    hidden: Tensor
    mask: Tensor
    mel: Tensor
    pitch: Tensor | None

    @property
    def f0_hz(self) -> Tensor:
        """The pitch (B, F), 0 where unvoiced."""
        assert self.pitch is not None
        return torch.where(self.pitch[..., 0] > 0, BINS.pitch_hz(self.pitch[..., 1:]), 0.0)


class FrameDecoder(nn.Module):
    """Hidden frames (B, F, D) to mels and pitch, and those to waves (B, F hop).

    Args:
        spec: of the mel, whose hop the spectra have.
        dim: D.
        layers: before mel and pitch.
        tells_pitch: whether it tells the pitch.
        use_f0: whether its waves are of pulses and noise.
    """

    def __init__(self, spec: MelSpec, dim: int, layers: int, tells_pitch: bool, use_f0: bool) -> None:
        super().__init__()
        self.spec, self.layers = spec, layers
        self.blocks = ConvBlocks(dim, layers, dropout=0.0)
        self.to_mel = zero_linear(dim, spec.n_mels)
        self.to_pitch = nn.Linear(dim, 1 + BINS.n) if tells_pitch else None
        self.head = IstftHead(spec, dim, HEAD_LAYERS, use_f0)
        self.mel_scale = MelScale(spec.n_mels)

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame depends on."""
        return self.blocks.context_frames + self.head.context_frames

    def forward(self, hidden_BFD: Tensor, mask_BF1: Tensor, direct_BFM: Tensor | None = None) -> Decoded:
        """Returns what hidden frames say, beside a mel of mean 0 and spread 1 that comes another way."""
        hidden_BFD = self.blocks(hidden_BFD, mask_BF1)
        normal_BFM = self.to_mel(hidden_BFD)
        mel_BFM = self.mel_scale.nats(normal_BFM if direct_BFM is None else normal_BFM + direct_BFM)
        return Decoded(hidden_BFD, mask_BF1, mel_BFM, self.to_pitch(hidden_BFD) if self.to_pitch else None)

    def wave(self, decoded: Decoded, excitation: Mapping[str, Tensor] | None = None) -> Tensor:
        """Returns waves (B, F hop); `excitation` is `pulses` and `noise` (B, F hop) where F0 is used."""
        wave_BT: Tensor = self.head(decoded.hidden, decoded.mask, {**(excitation or {}), "mel": decoded.mel})
        return wave_BT * decoded.mask[..., 0].repeat_interleave(self.spec.hop, 1)
