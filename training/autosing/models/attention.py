"""Attention whose positions are seconds: streams of different rates line up in it without being resampled.

Queries and keys are turned by the time of their token (RoPE; Su et al., 2021), so that products tell how far apart two
tokens are in time, whichever streams they are of. With the numbers of tokens in place of times, a backing of 20.83
tokens a second and a voice of 83.33 would be laid beside each other as if they went at one pace.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

HEAD_DIM = 64
"""Width of a head at every size, so that products of queries and keys are alike in all (see `width`)."""
# Of rotations, the quickest turns once in this time, two tokens or more of any stream that is coarse enough to be
# predicted one by one; the slowest hardly turns within a song.
SHORTEST_S, LONGEST_S = 0.1, 600.0
# Nats that a token at the same time is ahead of one that is far away, before anything is learned.
NEAR_NATS = 8.0


class Turns(NamedTuple):
    """Cosine and sine of the angles that tokens are turned by, (B, 1, N, HEAD_DIM / 2); B may be 1."""

    cosine: Tensor
    sine: Tensor


class Heard(NamedTuple):
    """What attention attends to: keys and values (B, H, S, HEAD_DIM), and which of them a query sees.

    Attributes:
        keys: turned by their times.
        values: beside them.
        seen: (B, 1, N or 1, S), true where a query may look; None where it sees itself and all before.
    """

    keys: Tensor
    values: Tensor
    seen: Tensor | None


def turns_at(times_s_BN: Tensor) -> Turns:
    """Returns the turns of tokens at their times in seconds, in float32, since angles of long songs need it."""
    half = HEAD_DIM // 2
    octaves = math.log2(LONGEST_S / SHORTEST_S) * torch.arange(half, device=times_s_BN.device) / (half - 1)
    per_s_D = 2 * math.pi / (SHORTEST_S * 2.0**octaves)
    angle_B1ND = times_s_BN.float()[:, None, :, None] * per_s_D
    return Turns(angle_B1ND.cos(), angle_B1ND.sin())


def turned(x_BHND: Tensor, turns: Turns) -> Tensor:
    """Returns vectors turned by the times of their tokens."""
    one, other = x_BHND.float().chunk(2, dim=-1)
    rotated = torch.cat([one * turns.cosine - other * turns.sine, one * turns.sine + other * turns.cosine], dim=-1)
    return rotated.to(x_BHND.dtype)


def present(counts_B: Tensor, n: int) -> Tensor:
    """Returns which of `n` tokens are of a sample and no padding, for all queries, (B, 1, 1, N)."""
    return (torch.arange(n, device=counts_B.device) < counts_B[:, None])[:, None, None]


class Attention(nn.Module):
    """Attention of tokens (B, N, D) to those that are `heard`, which may be themselves.

    Args:
        dim: of the tokens.
        near_first: begin by attending to what is near in time, whatever it is: queries and keys have a part that all
            of them share, and turned by their times its products are largest where these are the same.
    """

    def __init__(self, dim: int, near_first: bool = False) -> None:
        super().__init__()
        self.here = nn.Parameter(_here(dim)) if near_first else None
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def heard(self, x_BSD: Tensor, turns: Turns, seen: Tensor | None) -> Heard:
        """Returns keys and values of tokens, which are the same for all that attend to them."""
        return Heard(turned(_heads(self._placed(self.key(x_BSD))), turns), _heads(self.value(x_BSD)), seen)

    def forward(self, x_BND: Tensor, turns: Turns, heard: Heard) -> Tensor:
        """Returns (B, N, D)."""
        queries = turned(_heads(self._placed(self.query(x_BND))), turns)
        is_causal = heard.seen is None
        mixed_BHND = functional.scaled_dot_product_attention(
            queries, heard.keys, heard.values, attn_mask=heard.seen, is_causal=is_causal
        )
        y_BND: Tensor = self.out(mixed_BHND.transpose(1, 2).reshape(x_BND.shape))
        return y_BND

    def weights(self, x_BND: Tensor, turns: Turns, heard: Heard, seen: Tensor) -> Tensor:
        """Returns how much each token attends to each (B, H, N, S), among those that are `seen`; for losses and eyes.

        It is computed once more, since fast attention keeps no weights.
        """
        queries = turned(_heads(self._placed(self.query(x_BND))), turns)
        logits_BHNS = queries.float() @ heard.keys.float().transpose(-1, -2) / math.sqrt(HEAD_DIM)
        return logits_BHNS.masked_fill(~seen, -torch.inf).softmax(-1)

    def _placed(self, x_BND: Tensor) -> Tensor:
        return x_BND if self.here is None else x_BND + self.here


def _here(dim: int) -> Tensor:
    """Returns the part (D,) that queries and keys begin to share: one side of each turned pair, alike in all heads."""
    side = math.sqrt(NEAR_NATS * math.sqrt(HEAD_DIM) / (HEAD_DIM // 2))
    return torch.tensor([side, 0.0]).repeat_interleave(HEAD_DIM // 2).repeat(dim // HEAD_DIM)


def _heads(x_BND: Tensor) -> Tensor:
    """Returns (B, H, N, HEAD_DIM)."""
    return x_BND.reshape(*x_BND.shape[:2], -1, HEAD_DIM).transpose(1, 2)
