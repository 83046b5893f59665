"""A language model of tokens that are sung: what comes next, given text, backing, singer and pace.

An encoder for each source reads it whole; a decoder predicts one token after the other and attends to itself and to all
sources, each with a weight that is learned per layer. AutoSing, whose idea this is, weighs text and backing 0.8 to 0.2
for good, counts the positions of streams that go at different rates alike, and guides by zeros, which are a code. Here
a source has one token more, `NOTHING`, before its own: it is what a model hears of a source that is absent, in training
and in generation alike, and it leaves no query without anything to look at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.attention import HEAD_DIM, Heard, Turns, present, turns_at
from autosing.models.language_blocks import NOBODY, BlockFields, Cache, DecoderBlock, Mlp, SourceEncoder, last_layers
from autosing.models.width import begin, begin_silent
from autosing.signal.errors import UsageError
from autosing.signal.framing import frames

LanguageSize = Literal["tiny", "small", "medium", "large"]
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class LanguageFields:
    """What a language model of tokens is built from.

    Attributes:
        n_tokens: V, how many different tokens there are.
        rate: tokens per second, as a fraction.
        sources: how many different tokens each source has, `NOTHING` among them, by name.
        conditions: how many rows the table of each condition has, `NOBODY`'s among them, by name.
        dim: width of all layers.
        layers: of the decoder.
        source_layers: of the encoder of each source.
        mlp: what a block computes token by token.
        dropout: of what a layer adds.
    """

    n_tokens: int
    rate: str
    sources: Mapping[str, int]
    conditions: Mapping[str, int]
    dim: int
    layers: int
    source_layers: int
    mlp: Mlp
    dropout: float

    def __post_init__(self) -> None:
        if self.dim < HEAD_DIM or self.dim % HEAD_DIM:
            raise UsageError(f"dim is {self.dim}; it must be a multiple of {HEAD_DIM}, the width of a head")
        if self.n_tokens < 2:
            raise UsageError(f"n_tokens is {self.n_tokens}; it must be at least 2")
        if not self.sources:
            raise UsageError("a language model of tokens has no source; name one, such as text")


LANGUAGE_SIZES: Mapping[LanguageSize, tuple[int, int, int]] = {
    "tiny": (128, 4, 2),
    "small": (768, 10, 4),
    "medium": (1024, 16, 6),
    "large": (1536, 28, 8),
}
"""Width, layers of the decoder and layers of an encoder; with one source 2, 126, 350 and 1 290 million parameters."""


class Told(NamedTuple):
    """What a model says of tokens.

    Attributes:
        logits: (B, N, V).
        attention: for each watched layer how much each token attends to the watched source's, (B, H, N, S).
    """

    logits: Tensor
    attention: Sequence[Tensor]


class TokenLanguage(nn.Module):
    """Predicts tokens (B, N) one by one from those before and what accompanies them.

    Inputs are, for each source, its tokens (B, S) beginning with `NOTHING`, under its name; `<name>_s` (B, S), their
    times in seconds; `<name>_counts` (B,), how many there are; for each condition its row (B,), under its name; and
    `withheld` (B,), where a sample is to hear none of all this. A batch gives what its samples give one by one.
    """

    fields_type: ClassVar = LanguageFields

    def __init__(self, fields: LanguageFields) -> None:
        super().__init__()
        self.fields, dim = fields, fields.dim
        # Here, since a compiler does not follow a fraction.
        self.tokens_per_s = float(Fraction(fields.rate))
        # One row more than tokens: what stands before the first. There is no logit for it.
        self.tokens = nn.Embedding(fields.n_tokens + 1, dim)
        self.conditions = nn.ModuleDict({name: nn.Embedding(n, dim) for name, n in fields.conditions.items()})
        block = BlockFields(dim, fields.mlp, fields.dropout)
        # A mapping may come back from JSON in another order, and the mixture's shares have no names.
        names = sorted(fields.sources)
        self.encoders = nn.ModuleDict(
            {name: SourceEncoder(block, fields.source_layers, fields.sources[name]) for name in names}
        )
        self.blocks = nn.ModuleList([DecoderBlock(block, names) for _ in range(fields.layers)])
        self.norm = nn.RMSNorm(dim)
        self.readout = nn.Linear(dim, fields.n_tokens, bias=False)
        begin(self)
        begin_silent(self.readout, *(layer for block in self.modules() for layer in last_layers(block)))

    def forward(self, inputs: Tensors, tokens_BN: Tensor, watched: Sequence[int] = (), source: str = "text") -> Told:
        """Returns what is predicted of each token from the true ones before it.

        Args:
            inputs: as the class says.
            tokens_BN: what comes after a sample's end is not looked at by anything before it.
            watched: layers whose attention is told, too.
            source: to what.
        """
        heard, told_BD = self.heard(inputs), self.told(inputs)
        x_BND = self.tokens(self.before(tokens_BN)) + told_BD[:, None]
        places = torch.arange(tokens_BN.shape[1], device=tokens_BN.device)
        turns, attention = turns_at(self.times_s(places)[None]), []
        for number, block in enumerate(self.blocks):
            if number in watched:
                kept: list[Tensor] = []
                x_BND = block(x_BND, turns, heard[number], watch=(source, kept))
                attention += kept
            else:
                x_BND = block(x_BND, turns, heard[number])
        return Told(self.readout(self.norm(x_BND)), attention)

    def step(
        self,
        last_B: Tensor,
        place: Tensor,
        told_BD: Tensor,
        heard: Sequence[Mapping[str, Heard]],
        caches: Sequence[Cache],
    ) -> Tensor:
        """Returns the logits (B, V) of the token at a place, and adds the one before it to the caches.

        Args:
            last_B: the token before; `fields.n_tokens` before the first.
            place: a number without a shape; it is a tensor so that all steps are one graph.
            told_BD: of `told`.
            heard: of `heard`.
            caches: of `caches`, with what the places before have left there.
        """
        x_B1D = self.tokens(last_B)[:, None] + told_BD[:, None]
        turns = turns_at(self.times_s(place).reshape(1, 1))
        for block, of_layer, cache in zip(self.blocks, heard, caches, strict=True):
            x_B1D = block(x_B1D, turns, of_layer, cache=cache, place=place)
        logits_BV: Tensor = self.readout(self.norm(x_B1D))[:, 0]
        return logits_BV

    def heard(self, inputs: Tensors) -> list[dict[str, Heard]]:
        """Returns keys and values of all sources for each layer, by name; they do not depend on what is sung."""
        encoded: dict[str, tuple[Tensor, Turns, Tensor]] = {}
        for name, encoder in self.encoders.items():
            counts_B = inputs[f"{name}_counts"]
            if "withheld" in inputs:
                counts_B = counts_B.where(~inputs["withheld"], 1)
            turns, seen = turns_at(inputs[f"{name}_s"]), present(counts_B, inputs[name].shape[1])
            encoded[name] = encoder(inputs[name], turns, seen), turns, seen
        return [block.heard(encoded) for block in cast(Sequence[DecoderBlock], self.blocks)]

    def told(self, inputs: Tensors) -> Tensor:
        """Returns what the conditions add to every token (B, D)."""
        some = inputs[next(iter(self.fields.sources))]
        told_BD = self.tokens.weight.new_zeros(len(some), self.fields.dim)
        for name, table in self.conditions.items():
            rows_B = inputs[name]
            if "withheld" in inputs:
                rows_B = rows_B.where(~inputs["withheld"], NOBODY)
            told_BD = told_BD + table(rows_B)
        return told_BD

    @property
    def singers(self) -> nn.Module | None:
        """The table of who sings; None of a model that is not told."""
        return self.conditions["singer"] if "singer" in self.fields.conditions else None

    def before(self, tokens_BN: Tensor) -> Tensor:
        """Returns for each token the one before it, and what stands before the first."""
        return functional.pad(tokens_BN, (1, -1), value=self.fields.n_tokens)

    def times_s(self, places: Tensor) -> Tensor:
        """Returns the centres of tokens in seconds, by their numbers."""
        return (places.float() + 0.5) / self.tokens_per_s

    def caches(self, batch: int, n: int) -> list[Cache]:
        """Returns empty caches of `n` tokens for each layer."""
        like, heads = self.tokens.weight, self.fields.dim // HEAD_DIM
        shape = (batch, heads, n, HEAD_DIM)
        return [Cache(like.new_zeros(shape), like.new_zeros(shape)) for _ in self.blocks]


def token_count(fields: LanguageFields, seconds: float) -> int:
    """Returns how many tokens last `seconds`, to the millisecond, half a token rounded up."""
    return frames(round(seconds * 1000), 1000, Fraction(fields.rate))
