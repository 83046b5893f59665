"""A decoder that goes on column by column: what `ColumnLanguage.columns` gives whole streams, in few calls.

With one sample, small layers take less time than it takes to call them. So matrices that are applied to the same
vectors are put together, the norms' weights and the mixture's shares go into those that follow them, and what is the
same for all layers, or for all columns, is computed once. Keys and values of the columns before are kept in caches of
fixed size.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.attention import HEAD_DIM, Attention, Heard, Turns, turns_at
from autosing.models.columns import ColumnLanguage, Tensors
from autosing.models.language_blocks import DecoderBlock

EPSILON = torch.finfo(torch.float32).eps
"""Of the norms, as `nn.RMSNorm` has it."""


class Source(NamedTuple):
    """Keys and values (B, H, S, HEAD_DIM) of a source for one layer; 0 where they are seen, else -inf (B, 1, 1, S)."""

    keys: Tensor
    values: Tensor
    unseen: Tensor


class Cache(NamedTuple):
    """Keys and values (B, H, N, HEAD_DIM) of one layer, of the columns so far; its size never changes."""

    keys: Tensor
    values: Tensor


class State(NamedTuple):
    """What goes on from column to column.

    Attributes:
        told: what the conditions add to every column (B, D).
        heard: of each layer, the sources in their order.
        caches: of each layer.
    """

    told: Tensor
    heard: Sequence[Sequence[Source]]
    caches: Sequence[Cache]

    @property
    def tensors(self) -> list[Tensor]:
        """All of it, in one order."""
        of_sources = (tensor for layer in self.heard for source in layer for tensor in source)
        return [self.told, *of_sources, *(tensor for cache in self.caches for tensor in cache)]


class Stepper(nn.Module):
    """The decoder of a model with its weights as they are now, on the device where it is.

    Args:
        model: in evaluation mode.
    """

    readout: Tensor
    impossible: Tensor
    least: Tensor

    @torch.no_grad()
    def __init__(self, model: ColumnLanguage) -> None:
        super().__init__()
        self._model = [model]  # not a part of this one
        self.layers = nn.ModuleList(_Layer(block) for block in cast(Sequence[DecoderBlock], model.blocks))
        self.sizes = model.sizes
        self.register_buffer("least", _least(model.readout.weight))
        self.register_buffer("readout", _after(model.norm, model.readout.weight))
        allowed_RV = torch.arange(max(self.sizes), device=self.readout.device) < model.row_sizes[:, None]
        self.register_buffer(
            "impossible", self.readout.new_zeros(allowed_RV.shape).masked_fill(~allowed_RV, -torch.inf)
        )

    @property
    def model(self) -> ColumnLanguage:
        """The model whose decoder it is."""
        return self._model[0]

    def begin(self, inputs: Tensors, n: int) -> State:
        """Returns where `n` columns begin, given what accompanies them."""
        model = self.model
        told_BD = model.told(inputs)
        caches = [layer.cache(len(told_BD), n) for layer in cast(Sequence[_Layer], self.layers)]
        return State(told_BD, self.heard(inputs), caches)

    def heard(self, inputs: Tensors) -> list[list[Source]]:
        """Returns keys and values of all sources for each layer."""
        return [[_source(layer[name]) for name in self.model.encoders] for layer in self.model.heard(inputs)]

    def turns(self, times_s_N: Tensor) -> Turns:
        """Returns what columns are turned by at their times: cosines, and sines with their signs, (N, HEAD_DIM)."""
        cosine, sine = (one[0, 0] for one in turns_at(times_s_N[None]))
        return Turns(torch.cat([cosine, cosine], -1), torch.cat([-sine, sine], -1))

    def step(
        self,
        last_BR: Tensor,
        place: Tensor,
        turns: Turns,
        told_BD: Tensor,
        heard: Sequence[Sequence[Source]],
        caches: Sequence[Cache],
    ) -> Tensor:
        """Returns the logits (B, R, V) of the column at a place, and adds the one before it to the caches.

        Args:
            last_BR: the column before; `EMPTY` before the first.
            place: its number, (1,); it is a tensor so that all steps are one graph.
            turns: of `turns`, (1, HEAD_DIM) at this place.
            told_BD: of the state, as all that follows.
            heard: of the sources.
            caches: with what the places before have left there.
        """
        x_MD = self.model.embedded(last_BR[:, None])[:, 0] + told_BD
        places = torch.arange(caches[0].keys.shape[2], device=place.device)
        unseen_1N = torch.where(places <= place, 0.0, -torch.inf).to(x_MD.dtype)[None]
        for layer, sources, cache in zip(cast(Sequence[_Layer], self.layers), heard, caches, strict=True):
            x_MD = layer(x_MD, turns, sources, cache, place, unseen_1N)
        logits_BV = functional.linear(normal(x_MD, self.least), self.readout)
        return logits_BV.view(-1, *self.impossible.shape) + self.impossible

    def fill(self, cells_BNR: Tensor, turns: Turns, state: State) -> None:
        """Adds the first columns to the caches, all at once.

        Args:
            cells_BNR: that come before each: `EMPTY` before the first.
            turns: of `turns`, of all of them.
            state: is added to.
        """
        x_MD = (self.model.embedded(cells_BNR) + state.told[:, None]).flatten(0, 1)
        places = torch.arange(cells_BNR.shape[1], device=cells_BNR.device)
        for layer, sources, cache in zip(cast(Sequence[_Layer], self.layers), state.heard, state.caches, strict=True):
            x_MD = layer(x_MD, turns, sources, cache, places, None)


class _Layer(nn.Module):
    """A block, its matrices put together."""

    least: Tensor
    own: Tensor
    own_out: Tensor
    across: Tensor
    across_here: Tensor
    across_out: Tensor
    wide: Tensor
    narrow: Tensor

    def __init__(self, block: DecoderBlock) -> None:
        super().__init__()
        own, mlp = block.own, block.mlp
        sources = cast(Sequence[Attention], list(block.across.values()))
        shares = [1.0] if block.mixture is None else block.mixture.softmax(0)
        queries = torch.cat([one.query.weight for one in sources])
        here = [torch.zeros_like(own.out.weight[0]) if one.here is None else one.here for one in sources]
        wide = [mlp.wide.weight] if mlp.gate is None else [mlp.gate.weight, mlp.wide.weight]
        self.is_gated, self.n_heads = mlp.gate is not None, len(own.out.weight) // HEAD_DIM
        for name, weight in {
            "least": _least(own.out.weight),
            "own": _after(block.own_norm, torch.cat([own.query.weight, own.key.weight, own.value.weight])),
            "own_out": own.out.weight,
            "across": _after(block.across_norm, queries),
            "across_here": torch.cat(here),
            "across_out": torch.cat([share * one.out.weight for share, one in zip(shares, sources, strict=True)], 1),
            "wide": _after(mlp.norm, torch.cat(wide)),
            "narrow": mlp.out.weight,
        }.items():
            self.register_buffer(name, weight.detach())

    def cache(self, batch: int, n: int) -> Cache:
        """Returns an empty one of `n` columns."""
        shape = (batch, self.n_heads, n, HEAD_DIM)
        return Cache(self.own.new_zeros(shape), self.own.new_zeros(shape))

    def forward(
        self,
        x_MD: Tensor,
        turns: Turns,
        sources: Sequence[Source],
        cache: Cache,
        places: Tensor,
        unseen: Tensor | None,
    ) -> Tensor:
        """Returns (B N, D): of the first columns, where nothing is unseen but what comes later, or of one."""
        own = self._heads(functional.linear(normal(x_MD, self.least), self.own), cache)
        turned = _turned(own[:, : 2 * self.n_heads], turns)
        queries, keys, values = turned[:, : self.n_heads], turned[:, self.n_heads :], own[:, 2 * self.n_heads :]
        cache.keys.index_copy_(2, places, keys)
        cache.values.index_copy_(2, places, values)
        if unseen is None:
            mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        else:
            mixed = functional.scaled_dot_product_attention(queries, cache.keys, cache.values, attn_mask=unseen)
        x_MD = torch.addmm(x_MD, _flat(mixed), self.own_out.T)
        across = self._heads(torch.addmm(self.across_here, normal(x_MD, self.least), self.across.T), cache)
        to_sources = torch.split(_turned(across, turns), self.n_heads, 1)
        found = [
            functional.scaled_dot_product_attention(of_source, keys, values, attn_mask=unseen)
            for of_source, (keys, values, unseen) in zip(to_sources, sources, strict=True)
        ]
        x_MD = torch.addmm(x_MD, _flat(torch.cat(found, 1)), self.across_out.T)
        wide = functional.linear(normal(x_MD, self.least), self.wide)
        if self.is_gated:
            gate, wide = wide.chunk(2, -1)
            hidden = functional.silu(gate) * wide
        else:
            hidden = functional.gelu(wide)
        return torch.addmm(x_MD, hidden, self.narrow.T)

    def _heads(self, x_MD: Tensor, cache: Cache) -> Tensor:
        return x_MD.view(len(cache.keys), -1, x_MD.shape[1] // HEAD_DIM, HEAD_DIM).transpose(1, 2)


def normal(x_MD: Tensor, least: Tensor) -> Tensor:
    """Returns vectors of the length of `nn.RMSNorm`'s, but for the square root of their width, in few calls.

    `_after` brings in the rest. A number beside the length is what the norm adds to the mean square.
    """
    length = torch.linalg.vector_norm(x_MD, dim=-1, keepdim=True, dtype=torch.float32)
    return (x_MD / torch.hypot(length, least)).to(x_MD.dtype)


def _least(weight_VD: Tensor) -> Tensor:
    return torch.tensor(math.sqrt(EPSILON * weight_VD.shape[1]), device=weight_VD.device)


def _after(norm: nn.Module, weight_VD: Tensor) -> Tensor:
    """Returns a matrix for what `normal` gives, in place of a norm and the matrix."""
    scale_D = cast(Tensor, norm.weight).float() * math.sqrt(weight_VD.shape[1])
    return (weight_VD.float() * scale_D).to(weight_VD.dtype)


def _turned(x_BHND: Tensor, turns: Turns) -> Tensor:
    """Returns vectors turned by the times of their columns, as `attention.turned` does."""
    rotated = torch.addcmul(x_BHND * turns.cosine, x_BHND.roll(HEAD_DIM // 2, -1), turns.sine)
    return rotated.to(x_BHND.dtype)


def _flat(x_BHND: Tensor) -> Tensor:
    return x_BHND.transpose(1, 2).reshape(x_BHND.shape[0] * x_BHND.shape[2], -1)


def _source(heard: Heard) -> Source:
    assert heard.seen is not None
    unseen = torch.zeros_like(heard.seen, dtype=heard.keys.dtype).masked_fill(~heard.seen, -torch.inf)
    return Source(heard.keys, heard.values, unseen)
