"""A plain decoder over units, for measuring the loop at the sizes that lyrics-to-tokens models have.

`decoder:recipe` is a recipe like any other, with this folder on the path: `autosing train decoder:recipe ...`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.directory import register_model
from autosing.training.loader import Batch
from autosing.training.look import Look
from autosing.training.manifest import Manifest
from autosing.training.metrics import TokenCounts, count_tokens
from autosing.training.sample import Sample
from autosing.training.task import RunConfig, Task, Tensors

Size = Literal["tiny", "124m", "350m"]
LOSS = "cross_entropy"
VOCABULARY = 2048


@dataclass(frozen=True)
class DecoderFields:
    """Sizes: layers, width, heads, and the longest sequence."""

    layers: int = 4
    width: int = 128
    heads: int = 4
    length: int = 256


SIZES: Mapping[Size, DecoderFields] = {
    "tiny": DecoderFields(),
    "124m": DecoderFields(12, 768, 12, 1024),
    "350m": DecoderFields(24, 1024, 16, 2048),
}


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.wide = nn.Linear(width, 4 * width, bias=False)
        self.back = nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        shape = (*x_BLD.shape[:2], 3, self.heads, -1)
        q, k, v = self.queries_keys_values(self.norms[0](x_BLD)).view(shape).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BLD = x_BLD + self.out(mixed.transpose(1, 2).flatten(2))
        return x_BLD + self.back(functional.gelu(self.wide(self.norms[1](x_BLD))))


class Decoder(nn.Module):
    """Tokens (B, L) to logits (B, L, V) of the next ones."""

    fields_type = DecoderFields

    def __init__(self, fields: DecoderFields) -> None:
        super().__init__()
        self.fields = fields
        self.tokens = nn.Embedding(VOCABULARY, fields.width)
        self.places = nn.Embedding(fields.length, fields.width)
        self.blocks = nn.ModuleList([Block(fields.width, fields.heads) for _ in range(fields.layers)])
        self.norm = nn.LayerNorm(fields.width)
        self.readout = nn.Linear(fields.width, VOCABULARY, bias=False)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        x_BLD = self.tokens(tokens_BL) + self.places.weight[: tokens_BL.shape[1]]
        for block in self.blocks:
            x_BLD = block(x_BLD)
        logits: Tensor = self.readout(self.norm(x_BLD))
        return logits


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(RunConfig):
    """Settings of the decoder; `crop_s` is set by the size, so that every batch has one shape.

    Attributes:
        size: of the model.
    """

    size: Size = "tiny"

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return ("units",)

    def task(self, manifest: Manifest) -> "DecoderTask":
        """Returns the task on a built set."""
        manifest.require(self.columns)
        return DecoderTask(self)


class DecoderTask(Task[Decoder]):
    """The next unit from those before it."""

    metric: ClassVar[str] = "perplexity"
    overfit_bound: ClassVar[float] = 1.1
    readouts: ClassVar[tuple[str, ...]] = ("readout",)

    def __init__(self, config: DecoderConfig) -> None:
        self.config: DecoderConfig = config

    def build(self) -> Decoder:
        """Returns the model with random weights."""
        return Decoder(SIZES[self.config.size])

    def contract(self) -> Mapping[str, Any]:
        """Returns nothing: the model is for measuring."""
        return {}

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns tokens (B, L) of one length; -1 where a sample is shorter."""
        length = SIZES[self.config.size].length
        tokens = np.full((len(samples), length), -1, np.int64)
        for row, sample in zip(tokens, samples, strict=True):
            units = sample.series["units"][:length]
            row[: len(units)] = units
        n_tokens = int((tokens >= 0).sum())
        n_targets = int((tokens[:, 1:] >= 0).sum())
        keys, seconds = tuple(s.key for s in samples), sum(float(s.info["seconds"]) for s in samples)
        return Batch({"tokens": tokens}, {LOSS: n_targets}, keys, seconds, n_tokens)

    def losses(self, model: Decoder, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns the summed cross-entropy in nats."""
        tokens_BL = batch["tokens"]
        logits = model(tokens_BL.clamp(min=0)[:, :-1])
        total = functional.cross_entropy(
            logits.flatten(0, 1), tokens_BL[:, 1:].flatten(), ignore_index=-1, reduction="sum"
        )
        return {LOSS: total}

    def validate(self, model: Decoder, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns perplexity and accuracy."""
        counts = TokenCounts()
        for batch in batches:
            targets = batch["tokens"][:, 1:].cpu().numpy()
            logits = model(batch["tokens"].clamp(min=0)[:, :-1]).float().cpu().numpy()
            counts = counts + count_tokens(logits, np.maximum(targets, 0), targets >= 0)
        return {"perplexity": counts.perplexity, "accuracy": counts.token_accuracy}

    def look(self, model: Decoder, batch: Tensors) -> Look:
        """Returns nothing."""
        return Look()

    def flops_per_token(self, model: Decoder) -> float:
        """Returns 6 N + 12 L D T (Chowdhery et al., 2022, appendix B); the readout counts, the embeddings do not."""
        fields = model.fields
        n_parameters = sum(p.numel() for p in (*model.blocks.parameters(), *model.readout.parameters()))
        return 6.0 * n_parameters + 12.0 * fields.layers * fields.width * fields.length


def recipe(**settings: Any) -> DecoderConfig:
    """Units to the next units."""
    return DecoderConfig(**{"lr": 6e-4, "readers": 0, **settings})


register_model("benchmark_decoder", "decoder", "Decoder")
