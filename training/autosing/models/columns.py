"""A language model of columns: what comes next, given sources, conditions and the columns before.

A column has one cell or more, all of which are predicted from the columns before. An encoder for each source reads it
whole; a decoder goes from column to column and attends to itself and to all sources, each with a weight that is learned
per layer. AutoSing, whose idea this is, weighs text and backing 0.8 to 0.2 for good, counts the positions of streams
that go at different rates alike, and guides by zeros, which are a code. Here a source has one token more, `NOTHING`,
before its own: it is what a model hears of a source that is absent, in training and in generation alike, and it leaves
no query without anything to look at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.attention import HEAD_DIM, Heard, Turns, present, turns_at
from autosing.models.language_blocks import NOBODY, NOTHING, BlockFields, DecoderBlock, Mlp, SourceEncoder, last_layers
from autosing.models.patterns import EMPTY
from autosing.models.segments import is_first, of_places, together, together_before
from autosing.models.width import begin, begin_silent
from autosing.signal.errors import UsageError

Tensors = Mapping[str, Tensor]
COLUMNS = "columns_segments"
"""The input that tells which sample of its row each column is of."""
FORGOTTEN = "forgotten"
"""The input that tells which columns are not told to those after them."""


@dataclass(frozen=True, kw_only=True)
class ColumnFields:
    """What all language models of columns are built from.

    Attributes:
        sources: how many different tokens each source has, `NOTHING` among them, by name.
        conditions: how many rows the table of each condition has, `NOBODY`'s among them, by name.
        vectors: width of each condition that is told by a vector, such as a singer embedding, by name.
        dim: width of all layers.
        layers: of the decoder.
        source_layers: of the encoder of each source.
        mlp: what a block computes token by token.
        dropout: of what a layer adds.
        near_first: whether the decoder begins by attending to what is near in time.
    """

    sources: Mapping[str, int]
    conditions: Mapping[str, int] = field(default_factory=dict)
    vectors: Mapping[str, int] = field(default_factory=dict)
    dim: int
    layers: int
    source_layers: int
    mlp: Mlp
    dropout: float
    near_first: bool = True

    def __post_init__(self) -> None:
        if self.dim < HEAD_DIM or self.dim % HEAD_DIM:
            raise UsageError(f"dim is {self.dim}; it must be a multiple of {HEAD_DIM}, the width of a head")
        if not self.sources:
            raise UsageError("a language model of tokens has no source; name one, such as text")
        if self.conditions.keys() & self.vectors.keys():
            raise UsageError(
                f"{', '.join(self.conditions.keys() & self.vectors.keys())} is told by a table and a vector"
            )


@dataclass(frozen=True)
class Told:
    """What a model says of cells.

    Attributes:
        states: of columns (B, N, D); of large vocabularies logits are made of a few at a time.
        attention: for each watched layer how much each column attends to the watched source's, (B, H, N, S).
        read: makes logits of states.
    """

    states: Tensor
    attention: Sequence[Tensor]
    read: Callable[[Tensor], Tensor]

    @property
    def logits(self) -> Tensor:
        """All of them, (B, N, R, V), or (B, N, V) of tokens."""
        return self.read(self.states)


class ColumnLanguage(nn.Module):
    """Predicts columns of cells (B, N, R) one by one from those before and what accompanies them.

    Inputs are, for each source, its tokens (B, S) beginning with `NOTHING`, under its name; `<name>_s` (B, S), their
    times in seconds; `<name>_counts` (B,), how many there are; for each condition its row (B,), or its vector (B, E),
    all zeros for nobody, under its name; and `withheld` (B,), where a sample is to hear none of all this. A batch gives
    what its samples give one by one.

    With `forgotten` (B, N) columns after those that it is true of are told nothing of them, in training.

    With `columns_segments` (B, N) rows hold several samples, of which none hears another (see `segments`): sources have
    `<name>_segments` (B, S) in place of counts, and conditions and `withheld` are told of each sample, (B, K, ...).

    Args:
        fields: of all such models.
        sizes: how many different tokens the cells of each row may hold.
    """

    row_begins: Tensor
    row_sizes: Tensor

    def __init__(self, fields: ColumnFields, sizes: Sequence[int]) -> None:
        super().__init__()
        self.fields, self.sizes, dim = fields, tuple(sizes), fields.dim
        # Each row has one more, `EMPTY`, which no token has and there is no logit for: it stands before the first
        # column, too.
        self.tokens = nn.Embedding(sum(sizes) + len(sizes), dim)
        tables = {name: nn.Embedding(n, dim) for name, n in fields.conditions.items()}
        # Without a bias, so that nobody's vector adds nothing.
        vectors = {name: nn.Linear(n, dim, bias=False) for name, n in fields.vectors.items()}
        self.conditions = nn.ModuleDict({**tables, **vectors})
        block = BlockFields(dim, fields.mlp, fields.dropout, fields.near_first)
        # A mapping may come back from JSON in another order, and the mixture's shares have no names.
        names = sorted(fields.sources)
        self.encoders = nn.ModuleDict(
            {name: SourceEncoder(block, fields.source_layers, fields.sources[name]) for name in names}
        )
        self.blocks = nn.ModuleList([DecoderBlock(block, names) for _ in range(fields.layers)])
        self.norm = nn.RMSNorm(dim)
        self.readout = nn.Linear(dim, len(sizes) * max(sizes), bias=False)
        begins_R = np.cumsum([0, *(size + 1 for size in sizes[:-1])])
        self.register_buffer("row_begins", torch.from_numpy(begins_R), persistent=False)
        self.register_buffer("row_sizes", torch.tensor(sizes), persistent=False)
        begin(self)
        begin_silent(self.readout, *(layer for block in self.modules() for layer in last_layers(block)))

    def columns(
        self, inputs: Tensors, cells_BNR: Tensor, times_s: Tensor, watched: Sequence[int] = (), source: str = ""
    ) -> Told:
        """Returns what is predicted of each column from the true ones before it.

        Args:
            inputs: as the class says.
            cells_BNR: what comes after a sample's end is not looked at by anything before it.
            times_s: of the columns, (B or 1, N), each sample's from its start.
            watched: layers whose attention is told, too.
            source: to what.
        """
        heard, told = self.heard(inputs), self.told(inputs)
        if FORGOTTEN in inputs:
            cells_BNR = cells_BNR.masked_fill(inputs[FORGOTTEN][..., None], EMPTY)
        before_BNR, seen = functional.pad(cells_BNR, (0, 0, 1, -1), value=EMPTY), None
        if COLUMNS in inputs:
            segments_BN = inputs[COLUMNS]
            before_BNR = before_BNR.masked_fill(is_first(segments_BN)[..., None], EMPTY)
            told, seen = of_places(told, segments_BN), together_before(segments_BN)
        else:
            told = told[:, None]
        x_BND = self.embedded(before_BNR) + told
        turns, attention = turns_at(times_s), list[Tensor]()
        for number, block in enumerate(self.blocks):
            watch = (source, attention) if number in watched else None
            x_BND = block(x_BND, turns, heard[number], watch=watch, seen=seen)
        return Told(self.norm(x_BND), attention, self.read)

    def embedded(self, cells_BNR: Tensor) -> Tensor:
        """Returns the vectors of columns (B, N, D), which are the sums of their cells'."""
        rows_BNR = torch.where(cells_BNR < 0, self.row_sizes, cells_BNR) + self.row_begins
        x_BND: Tensor = self.tokens(rows_BNR).sum(2)
        return x_BND

    def read(self, states: Tensor) -> Tensor:
        """Returns logits (..., R, V) of states (..., D); those of tokens that a row does not have are -inf."""
        size = max(self.sizes)
        logits_BNRV: Tensor = self.readout(states).unflatten(-1, (len(self.sizes), size))
        if min(self.sizes) == size:
            return logits_BNRV
        allowed_RV = torch.arange(size, device=states.device) < self.row_sizes[:, None]
        return logits_BNRV.masked_fill(~allowed_RV, -torch.inf)

    def heard(self, inputs: Tensors) -> list[dict[str, Heard]]:
        """Returns keys and values of all sources for each layer, by name; they do not depend on what is sung."""
        encoded: dict[str, tuple[Tensor, Turns, Tensor]] = {}
        for name, encoder in self.encoders.items():
            turns, (within, across) = turns_at(inputs[f"{name}_s"]), self._seen(name, inputs)
            encoded[name] = encoder(inputs[name], turns, within), turns, across
        return [block.heard(encoded) for block in cast(Sequence[DecoderBlock], self.blocks)]

    def told(self, inputs: Tensors) -> Tensor:
        """Returns what the conditions add to every column (B, D), or of each sample of a row (B, K, D)."""
        like = self.tokens.weight
        shape = inputs["withheld"].shape if COLUMNS in inputs else (len(inputs[next(iter(self.fields.sources))]),)
        told = like.new_zeros(*shape, self.fields.dim)
        for name, layer in self.conditions.items():
            given = inputs[name]
            if "withheld" in inputs:
                withheld = inputs["withheld"]
                given = given.masked_fill(
                    withheld.reshape(*withheld.shape, *(1,) * (given.ndim - withheld.ndim)), NOBODY
                )
            if name in self.fields.vectors:
                given = functional.normalize(given.to(like.dtype), dim=-1)
            told = told + layer(given)
        return told

    def _seen(self, name: str, inputs: Tensors) -> tuple[Tensor, Tensor]:
        """Returns which tokens of a source are seen, by each other and by columns; of what is withheld, `NOTHING`."""
        if COLUMNS not in inputs:
            counts_B = inputs[f"{name}_counts"]
            if "withheld" in inputs:
                counts_B = counts_B.where(~inputs["withheld"], 1)
            seen = present(counts_B, inputs[name].shape[1])
            return seen, seen
        segments_BS = inputs[f"{name}_segments"]
        is_heard_BS = ~of_places(inputs["withheld"], segments_BS) | (inputs[name] == NOTHING)
        within, across = (together(queries, segments_BS) for queries in (segments_BS, inputs[COLUMNS]))
        return within & is_heard_BS[:, None, None], across & is_heard_BS[:, None, None]

    @property
    def singers(self) -> nn.Module | None:
        """The table of who sings; None of a model that is not told, or is told by a vector."""
        return self.conditions["singer"] if "singer" in self.fields.conditions else None
