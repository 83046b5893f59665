"""Networks that tell noise from mels, behind one interface: dilated convolutions, or a diffusion transformer.

What they say of a band is a gain of its noisy value, and what is added to that. Without the gain each of a hundred
noisy bands would have to pass through the network to be told smaller: of width 96 it learned for 1500 steps and drew
mels five times as rough as it had seen.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.acoustic import MaskedConv, zero_linear
from autosing.models.conformer import LocalAttention, within_reach
from autosing.models.diffusion import TimeEmbedding

DenoiserName = Literal["bidilconv", "dit"]


def denoiser_of(
    name: DenoiserName, n_mels: int, context_dim: int, dim: int, layers: int, reach: int
) -> "BiDilConv | DiffusionTransformer":
    """Returns a network with random weights.

    Args:
        name: `bidilconv` or `dit`.
        n_mels: M.
        context_dim: width of what it is told of each frame.
        dim: its own width.
        layers: blocks.
        reach: frames on either side that attention sees, of `dit`.
    """
    if name == "bidilconv":
        return BiDilConv(n_mels, context_dim, dim, layers)
    return DiffusionTransformer(n_mels, context_dim, dim, layers, reach)


def moved(x_BFM: Tensor, told_BFN: Tensor) -> Tensor:
    """Returns values times the gains and plus the shifts that a network tells of them, (B, F, 2 M)."""
    gain_BFM, shift_BFM = told_BFN.chunk(2, dim=-1)
    return gain_BFM * x_BFM + shift_BFM


class BiDilConv(nn.Module):
    """WaveNet's gated convolutions looking both ways, as DiffWave (Kong et al., 2021) and DiffSVC use them."""

    def __init__(self, n_mels: int, context_dim: int, dim: int, layers: int) -> None:
        super().__init__()
        self.time = TimeEmbedding(dim)
        self.into = nn.Linear(n_mels, dim)
        self.blocks = nn.ModuleList([GatedBlock(dim, context_dim, 2 ** (i % 4)) for i in range(layers)])
        self.head = nn.Linear(dim, dim)
        self.out = zero_linear(dim, 2 * n_mels)

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame depends on."""
        return sum(2 ** (i % 4) for i in range(len(self.blocks)))

    def forward(self, x_BFM: Tensor, level_B: Tensor, context_BFC: Tensor, mask_BF1: Tensor) -> Tensor:
        """Returns (B, F, M) of noisy mels, the level of their noise and what is known of each frame."""
        time_B1D = self.time(level_B)[:, None]
        hidden_BFD = functional.silu(self.into(x_BFM))
        skipped_BFD = torch.zeros_like(hidden_BFD)
        for block in self.blocks:
            hidden_BFD, skip_BFD = block(hidden_BFD, time_B1D, context_BFC, mask_BF1)
            skipped_BFD = skipped_BFD + skip_BFD
        return moved(x_BFM, self.out(functional.silu(self.head(skipped_BFD / math.sqrt(len(self.blocks))))))


class GatedBlock(nn.Module):
    """One gated convolution, with a residual and a skip."""

    def __init__(self, dim: int, context_dim: int, dilation: int) -> None:
        super().__init__()
        self.time = nn.Linear(dim, dim)
        self.conv = MaskedConv(dim, 2 * dim, kernel=3, dilation=dilation)
        self.context = nn.Linear(context_dim, 2 * dim)
        self.back = nn.Linear(dim, 2 * dim)

    def forward(self, x_BFD: Tensor, time_B1D: Tensor, context_BFC: Tensor, mask_BF1: Tensor) -> tuple[Tensor, Tensor]:
        heard_BFD = self.conv(x_BFD + self.time(time_B1D), mask_BF1) + self.context(context_BFC)
        filtered, gate = heard_BFD.chunk(2, dim=-1)
        residual_BFD, skip_BFD = self.back(filtered.tanh() * gate.sigmoid()).chunk(2, dim=-1)
        return (x_BFD + residual_BFD) / math.sqrt(2), skip_BFD


class DiffusionTransformer(nn.Module):
    """A transformer whose norms are moved by the level of noise (DiT; Peebles and Xie, 2023), over frames."""

    HEAD_DIM = 32

    def __init__(self, n_mels: int, context_dim: int, dim: int, layers: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.time = TimeEmbedding(dim)
        # Neighbours are told apart by a convolution before attention weighs them.
        self.into = MaskedConv(n_mels, dim)
        self.context = nn.Linear(context_dim, dim)
        self.blocks = nn.ModuleList([TransformerBlock(dim, max(dim // self.HEAD_DIM, 1)) for _ in range(layers)])
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.move = zero_linear(dim, 2 * dim)
        self.out = zero_linear(dim, 2 * n_mels)

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame depends on."""
        return 2 + len(self.blocks) * (self.reach + 1)

    def forward(self, x_BFM: Tensor, level_B: Tensor, context_BFC: Tensor, mask_BF1: Tensor) -> Tensor:
        """Returns (B, F, M) of noisy mels, the level of their noise and what is known of each frame."""
        time_B1D = self.time(level_B)[:, None]
        seen_B1FF = within_reach(mask_BF1, self.reach)
        hidden_BFD = self.into(x_BFM, mask_BF1) + self.context(context_BFC)
        for block in self.blocks:
            hidden_BFD = block(hidden_BFD, time_B1D, mask_BF1, seen_B1FF)
        shift, scale = self.move(time_B1D).chunk(2, dim=-1)
        return moved(x_BFM, self.out(self.norm(hidden_BFD) * (1 + scale) + shift))


class TransformerBlock(nn.Module):
    """Attention and a convolutional feed-forward layer, each shifted, scaled and gated by the level of noise."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.move = zero_linear(dim, 6 * dim)
        self.norms = nn.ModuleList([nn.LayerNorm(dim, elementwise_affine=False) for _ in range(2)])
        self.attention = LocalAttention(dim, heads)
        self.wide = MaskedConv(dim, 4 * dim, kernel=3)
        self.back = nn.Linear(4 * dim, dim)

    def forward(self, x_BFD: Tensor, time_B1D: Tensor, mask_BF1: Tensor, seen_B1FF: Tensor) -> Tensor:
        scale, shift, gate, scale_2, shift_2, gate_2 = self.move(time_B1D).chunk(6, dim=-1)
        x_BFD = x_BFD + gate * self.attention(self.norms[0](x_BFD) * (1 + scale) + shift, seen_B1FF)
        moved_BFD = self.norms[1](x_BFD) * (1 + scale_2) + shift_2
        y_BFD: Tensor = x_BFD + gate_2 * self.back(functional.gelu(self.wide(moved_BFD, mask_BF1)))
        return y_BFD
