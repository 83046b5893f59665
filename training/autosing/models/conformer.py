"""A conformer (Gulati et al., 2020) whose attention reaches a stated number of frames, so that pieces equal the whole.

Amphion's "conformer" has no convolution module and attends to everything. Here padding takes no part in anything, the
order is told by rotations of queries and keys (RoPE; Su et al., 2021), and batch norm, which would mix samples, is a
layer norm.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

# Frames that the depthwise convolution sees.
CONV_KERNEL = 15
# Of rotations: the slowest turns once in about this many frames.
ROPE_BASE = 10_000.0


class Conformer(nn.Module):
    """Blocks over hidden frames (B, F, D)."""

    def __init__(self, dim: int, layers: int, heads: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.reach = reach
        self.blocks = nn.ModuleList([ConformerBlock(dim, heads, dropout) for _ in range(layers)])

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame depends on."""
        return len(self.blocks) * (self.reach + CONV_KERNEL // 2)

    def forward(self, x_BFD: Tensor, mask_BF1: Tensor) -> Tensor:
        """Returns (B, F, D)."""
        seen_B1FF = within_reach(mask_BF1, self.reach)
        for block in self.blocks:
            x_BFD = block(x_BFD, mask_BF1, seen_B1FF)
        return x_BFD


class ConformerBlock(nn.Module):
    """Half a feed-forward layer, attention, convolution, and the other half."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.before = FeedForward(dim, dropout)
        self.attention = LocalAttention(dim, heads)
        self.attention_norm = nn.LayerNorm(dim)
        self.convolution = ConvModule(dim, dropout)
        self.after = FeedForward(dim, dropout)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BFD: Tensor, mask_BF1: Tensor, seen_B1FF: Tensor) -> Tensor:
        x_BFD = x_BFD + 0.5 * self.before(x_BFD)
        x_BFD = x_BFD + self.dropout(self.attention(self.attention_norm(x_BFD), seen_B1FF))
        x_BFD = x_BFD + self.convolution(x_BFD, mask_BF1)
        y_BFD: Tensor = self.norm(x_BFD + 0.5 * self.after(x_BFD))
        return y_BFD


class FeedForward(nn.Module):
    """Norm, four times the width, and back."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        wide = 4 * dim
        self.layers = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, wide), nn.SiLU(), nn.Linear(wide, dim), nn.Dropout(dropout)
        )

    def forward(self, x_BFD: Tensor) -> Tensor:
        y_BFD: Tensor = self.layers(x_BFD)
        return y_BFD


class ConvModule(nn.Module):
    """Norm, a gate, a depthwise convolution over frames, norm and back."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, 2 * dim)
        self.conv = nn.Conv1d(dim, dim, CONV_KERNEL, padding=CONV_KERNEL // 2, groups=dim)
        self.conv_norm = nn.LayerNorm(dim)
        self.back = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BFD: Tensor, mask_BF1: Tensor) -> Tensor:
        gated_BFD = functional.glu(self.gate(self.norm(x_BFD)), dim=-1) * mask_BF1
        heard_BFD = self.conv(gated_BFD.transpose(1, 2)).transpose(1, 2)
        y_BFD: Tensor = self.dropout(self.back(functional.silu(self.conv_norm(heard_BFD))))
        return y_BFD


class LocalAttention(nn.Module):
    """Attention of frames to those that `seen` allows."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BFD: Tensor, seen_B1FF: Tensor) -> Tensor:
        split = (*x_BFD.shape[:2], self.heads, -1)
        queries, keys, values = (part.reshape(split).transpose(1, 2) for part in self.qkv(x_BFD).chunk(3, dim=-1))
        queries, keys = (rotated(part) for part in (queries, keys))
        heard_BHFD = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen_B1FF)
        y_BFD: Tensor = self.out(heard_BHFD.transpose(1, 2).reshape(x_BFD.shape))
        return y_BFD


def within_reach(mask_BF1: Tensor, reach: int) -> Tensor:
    """Returns which frames each frame may look at (B, 1, F, F): those of its sample at most `reach` away."""
    frames_F = torch.arange(mask_BF1.shape[1], device=mask_BF1.device)
    apart_FF = (frames_F[:, None] - frames_F).abs()
    real_B1F = (mask_BF1[..., 0] > 0)[:, None]
    # Padding looks at itself: with nothing to look at it would be no number.
    return (((apart_FF <= reach) & real_B1F) | (apart_FF == 0))[:, None]


def rotated(x_BHFD: Tensor) -> Tensor:
    """Returns vectors turned by their frame's number, so that products tell how far two frames are apart."""
    half = x_BHFD.shape[-1] // 2
    turns_D = ROPE_BASE ** (-torch.arange(half, device=x_BHFD.device) / half)
    angle_FD = torch.arange(x_BHFD.shape[-2], device=x_BHFD.device)[:, None] * turns_D
    cosine, sine = angle_FD.cos().to(x_BHFD.dtype), angle_FD.sin().to(x_BHFD.dtype)
    one, other = x_BHFD[..., :half], x_BHFD[..., half : 2 * half]
    return torch.cat([one * cosine - other * sine, one * sine + other * cosine], dim=-1)
