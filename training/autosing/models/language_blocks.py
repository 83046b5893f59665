"""Blocks of language models of tokens: an encoder's, and a decoder's for whole streams (one by one: `stepping`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.attention import Attention, Heard, Turns

Mlp = Literal["swiglu", "gelu"]

NOTHING = 0
"""The first token of every source; alone, it is a source that is absent or withheld. Others count from 1."""
NOBODY = 0
"""The row of a condition (a singer, a pace) that is not told; others count from 1."""
# Widths of a layer's middle are multiples of it, as fast kernels want.
ROUND_TO = 64


@dataclass(frozen=True)
class BlockFields:
    """What blocks are built from; see `language.LanguageFields`."""

    dim: int
    mlp: Mlp
    dropout: float
    near_first: bool = True


class SourceEncoder(nn.Module):
    """Reads a source (B, S) whole, in both directions, (B, S, D)."""

    def __init__(self, fields: BlockFields, layers: int, n_tokens: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(n_tokens, fields.dim)
        self.blocks = nn.ModuleList([EncoderBlock(fields) for _ in range(layers)])
        self.norm = nn.RMSNorm(fields.dim)

    def forward(self, tokens_BS: Tensor, turns: Turns, seen: Tensor) -> Tensor:
        x_BSD: Tensor = self.tokens(tokens_BS)
        for block in self.blocks:
            x_BSD = block(x_BSD, turns, seen)
        encoded_BSD: Tensor = self.norm(x_BSD)
        return encoded_BSD


class EncoderBlock(nn.Module):
    """Attention to all tokens of a sample, and a layer for each."""

    def __init__(self, fields: BlockFields) -> None:
        super().__init__()
        self.own, self.own_norm = Attention(fields.dim), nn.RMSNorm(fields.dim)
        self.mlp = FeedForward(fields.dim, fields.mlp)
        self.dropout = nn.Dropout(fields.dropout)

    def forward(self, x_BSD: Tensor, turns: Turns, seen: Tensor) -> Tensor:
        normal_BSD = self.own_norm(x_BSD)
        x_BSD = x_BSD + self.dropout(self.own(normal_BSD, turns, self.own.heard(normal_BSD, turns, seen)))
        y_BSD: Tensor = x_BSD + self.dropout(self.mlp(x_BSD))
        return y_BSD


class DecoderBlock(nn.Module):
    """Attention to the tokens before, attention to each source in a learned mixture, and a layer for each token."""

    def __init__(self, fields: BlockFields, sources: Sequence[str]) -> None:
        super().__init__()
        self.own, self.own_norm = Attention(fields.dim), nn.RMSNorm(fields.dim)
        self.across = nn.ModuleDict({name: Attention(fields.dim, fields.near_first) for name in sources})
        self.across_norm = nn.RMSNorm(fields.dim)
        # Of one source there is nothing to mix.
        self.mixture = nn.Parameter(torch.zeros(len(sources))) if len(sources) > 1 else None
        self.mlp = FeedForward(fields.dim, fields.mlp)
        self.dropout = nn.Dropout(fields.dropout)

    def heard(self, encoded: Mapping[str, tuple[Tensor, Turns, Tensor]]) -> dict[str, Heard]:
        """Returns the keys and values of encoded sources."""
        return {name: attention.heard(*encoded[name]) for name, attention in self.across.items()}  # type: ignore[operator]

    def forward(
        self,
        x_BND: Tensor,
        turns: Turns,
        sources: Mapping[str, Heard],
        watch: tuple[str, list[Tensor]] | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Returns (B, N, D) of whole streams, which see themselves and all before, or what is `seen`."""
        normal_BND = self.own_norm(x_BND)
        own = self.own.heard(normal_BND, turns, seen)
        x_BND = x_BND + self.dropout(self.own(normal_BND, turns, own))
        normal_BND = self.across_norm(x_BND)
        if watch:
            watch[1].append(self._attention(normal_BND, turns, sources[watch[0]], watch[0]))
        x_BND = x_BND + self.dropout(self._mixed(normal_BND, turns, sources))
        y_BND: Tensor = x_BND + self.dropout(self.mlp(x_BND))
        return y_BND

    def _mixed(self, normal_BND: Tensor, turns: Turns, sources: Mapping[str, Heard]) -> Tensor:
        found = [attention(normal_BND, turns, sources[name]) for name, attention in self.across.items()]
        if self.mixture is None:
            return found[0]  # type: ignore[no-any-return]
        shares = self.mixture.softmax(0)
        return torch.stack([share * one for share, one in zip(shares, found, strict=True)]).sum(0)

    def _attention(self, normal_BND: Tensor, turns: Turns, heard: Heard, source: str) -> Tensor:
        """Returns the weights among a source's own tokens: `NOTHING` has one only where there is nothing else."""
        assert heard.seen is not None
        seen = heard.seen.clone()
        seen[..., NOTHING] = seen.sum(-1) == 1
        attention: Attention = self.across[source]  # type: ignore[assignment]
        return attention.weights(normal_BND, turns, heard, seen)


class FeedForward(nn.Module):
    """A norm and two layers with a gate (SwiGLU; Shazeer, 2020) or GELU between, of about the same cost."""

    def __init__(self, dim: int, kind: Mlp) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(dim)
        wide = 4 * dim if kind == "gelu" else round(8 * dim / 3 / ROUND_TO) * ROUND_TO
        self.gate = nn.Linear(dim, wide, bias=False) if kind == "swiglu" else None
        self.wide = nn.Linear(dim, wide, bias=False)
        self.out = nn.Linear(wide, dim, bias=False)

    def forward(self, x_BND: Tensor) -> Tensor:
        normal_BND = self.norm(x_BND)
        wide = self.wide(normal_BND)
        hidden = functional.gelu(wide) if self.gate is None else functional.silu(self.gate(normal_BND)) * wide
        y_BND: Tensor = self.out(hidden)
        return y_BND


def last_layers(block: nn.Module) -> list[nn.Linear]:
    """Returns the layers by which an attention or a feed-forward layer adds to what goes past it."""
    return [block.out] if isinstance(block, Attention | FeedForward) else []
