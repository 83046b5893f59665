"""The trainer of semantic bottlenecks: features of a speech encoder to tokens, and from these to features and text."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autosing.aligner.examples import ctc_loss, fits
from autosing.models.acoustic import Size
from autosing.models.acoustic_input import neighbours, pad_stack
from autosing.models.semantic import (
    SEMANTIC_SIZES,
    Semantic,
    SemanticFields,
    Told,
    pooled_features,
)
from autosing.signal.alphabet import BLANK, Kind, alphabet
from autosing.signal.errors import DataError, UsageError
from autosing.training.loader import Batch
from autosing.training.look import Look
from autosing.training.manifest import Manifest, described, rates_of
from autosing.training.metrics import CodebookUse, edit_distance
from autosing.training.pictures import attention_figure, codebook_figure, mel_figure
from autosing.training.sample import Sample
from autosing.training.task import Phase, RunConfig, Task, Tensors
from autosing.training.tasks.aligner import CTC, spelled

SSL = "ssl"
RECONSTRUCTION, COMMITMENT = "reconstruction", "commitment"
METRIC, SYMBOL_ERRORS = "loss", "symbol_errors"
COMMITMENT_WEIGHT = 0.25
# Of what a code has of a batch where all are used alike: below it, a code is dead.
DEAD_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class SemanticConfig(RunConfig):
    """Settings of the trainer of semantic bottlenecks.

    Attributes:
        size: of the network.
        tokens_per_s: tokens per second, at most as many as there are features.
        n_tokens: how many different tokens there are.
        code_dim: width of the codes.
        context_layers: blocks of convolutions before the codes; 0 has each token tell its own features alone, as
            WhisperSpeech does, whose encoder has heard the rest.
        reconstruction_weight: of the features that are told again, beside 1 of a symbol of the text. They keep tokens
            apart until the text begins to teach: with 0.1 of log-mels it took 600 steps in place of 250.
        text_weight: of the text, where samples have one; 0 leaves it out.
        alphabet: what the text is spelled with: `classes` of phones by rules for any script, `letters`, or the phones
            of a `lexicon`. Samples that hold a `language` have their classes by its rules.
        lexicon: the path of a pronunciation dictionary, for the alphabet `lexicon`.
    """

    size: Size = "small"
    tokens_per_s: int = 25
    n_tokens: int = 2048
    code_dim: int = 64
    context_layers: int = 2
    reconstruction_weight: float = 1.0
    text_weight: float = 1.0
    alphabet: Kind = "classes"
    lexicon: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_above_0("tokens_per_s", "n_tokens", "code_dim")
        self.require_not_below_0("context_layers", "reconstruction_weight", "text_weight")
        if not (self.reconstruction_weight or self.text_weight):
            raise UsageError("reconstruction_weight and text_weight are both 0; there is nothing to learn")
        if self.text_weight and self.crop_s:
            raise UsageError("crops have no text; set text_weight=0, or crop_s=0 and cut the songs shorter")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return (SSL,)

    def task(self, manifest: Manifest) -> "SemanticTask":
        """Returns the task on a built set."""
        return SemanticTask(self, manifest)


class SemanticTask(Task[Semantic]):
    """Squared errors of features and CTC of texts, by way of tokens.

    Raises:
        MissingColumn: the set lacks the features.
    """

    metric: ClassVar[str] = METRIC
    overfit_bound: ClassVar[float] = 0.1
    # Without a weight, what tells features or text again is not used.
    leaves_unused: ClassVar[bool] = True

    def __init__(self, config: SemanticConfig, manifest: Manifest) -> None:
        manifest.require(config.columns)
        self.config: SemanticConfig = config
        self.column_of = {name: manifest.columns[name] for name in config.columns}
        self.rate = rates_of(self.column_of)[SSL]
        self.alphabet = alphabet(config.alphabet, config.lexicon) if config.text_weight else None

    @property
    def fields(self) -> SemanticFields:
        """What the bottleneck is built from."""
        config = self.config
        dim, layers = SEMANTIC_SIZES[config.size]
        return SemanticFields(
            rate=str(self.rate),
            feature_dim=self.column_of[SSL].dim or 1,
            token_rate=str(config.tokens_per_s),
            n_tokens=config.n_tokens,
            code_dim=config.code_dim,
            dead_below=DEAD_SHARE * config.seconds_per_batch * config.tokens_per_s / config.n_tokens,
            symbols=tuple(self.alphabet.symbols) if self.alphabet else (),
            dim=dim,
            context_layers=config.context_layers,
            layers=layers,
        )

    def build(self) -> Semantic:
        """Returns the bottleneck with random weights."""
        return Semantic(self.fields)

    def initialise(self, model: Semantic, samples: Iterable[Sample]) -> None:
        """Begins with the principal components of the features, and clusters of them."""
        model.begin_with([sample.series[SSL] for sample in samples])

    def phases(self) -> Sequence[Phase]:
        """Returns one turn, with the weights that are set."""
        config = self.config
        weights = {RECONSTRUCTION: config.reconstruction_weight, CTC: config.text_weight}
        return (Phase(weights={**weights, COMMITMENT: COMMITMENT_WEIGHT}),)

    def contract(self) -> Mapping[str, Any]:
        """Returns rate and definition of the features, what the tokens are, and what spells the text."""
        config = self.config
        text = {"alphabet": config.alphabet, "symbols": list(self.alphabet.symbols)} if self.alphabet else None
        tokens = {"rate": str(config.tokens_per_s), "size": config.n_tokens}
        return {**described(self.column_of), "tokens": tokens, "text": text}

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns features, pooled and at their own rate, where these lie among the tokens, and labels of the texts."""
        features = [self._features(sample) for sample in samples]
        pooled = [pooled_features(self.fields, one) for one in features]
        labels = [self._labels(sample) for sample in samples]
        frames, tokens = ([len(one) for one in found] for found in (features, pooled))
        token_rate = Fraction(self.config.tokens_per_s)
        places = [neighbours(n, self.rate, k, token_rate) for n, k in zip(frames, tokens, strict=True)]
        arrays: dict[str, npt.NDArray[Any]] = {
            SSL: pad_stack(features),
            "frames": np.array(frames, np.int64),
            "pooled": pad_stack(pooled),
            "unit_frames": np.array(tokens, np.int64),
            "left": pad_stack([left for left, _ in places]),
            "share": pad_stack([share for _, share in places]),
            "labels": pad_stack([np.array([*found, BLANK], np.int64) for found in labels]),
            "label_counts": np.array([len(found) for found in labels], np.int64),
        }
        counts = {RECONSTRUCTION: sum(frames), COMMITMENT: sum(tokens), CTC: sum(map(len, labels))}
        seconds = sum(float(sample.info["seconds"]) for sample in samples)
        return Batch(arrays, counts, tuple(sample.key for sample in samples), seconds, tokens=sum(tokens))

    def losses(self, model: Semantic, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns squared errors of features in their variances, CTC in nats, and how far codes are off, summed."""
        return self._losses(model, model(batch), batch)

    def validate(self, model: Semantic, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns the share of the features' variance that tokens do not tell, how codes are used, and errors of text.

        `loss` is of features and text together, as they are weighted.
        """
        totals: dict[str, float] = {}
        use = self._no_use()
        for batch in batches:
            told = model(batch)
            use = sum(self._uses(told, batch), use)
            for name, value in self._sums(model, told, batch).items():
                totals[name] = totals.get(name, 0.0) + float(value)
        found = {RECONSTRUCTION: totals[RECONSTRUCTION] / max(totals["frames"], 1.0)}
        if totals.get("labels"):
            found |= {name: totals[name] / totals["labels"] for name in (CTC, SYMBOL_ERRORS)}
        loss = self.config.reconstruction_weight * found[RECONSTRUCTION] + self.config.text_weight * found.get(CTC, 0.0)
        return {METRIC: loss, **found, "codes_used": use.share_used, "entropy_bits": use.entropy_bits}

    def look(self, model: Semantic, batch: Tensors) -> Look:
        """Returns features of the first sample and what is told of them, its symbols, and the use of all codes."""
        told, n_frames = model(batch), int(batch["frames"][0])
        true = model.scale.normal(batch[SSL])
        shown = {
            name: one[0, :n_frames].float().cpu().numpy() for name, one in (("told", told.features), ("heard", true))
        }
        use = sum(self._uses(told, batch), self._no_use())
        figures = {
            "features": mel_figure(shown, self.rate, unit="standard deviations"),
            "codes": codebook_figure(use.counts),
        }
        if told.text is not None and self.alphabet:
            probability_FV = told.text[0, :n_frames].exp().cpu().numpy()
            names = ["-", *self.alphabet.symbols[1:]]
            figures["symbols"] = attention_figure(probability_FV.T, names, float(self.rate))
        return Look(figures)

    def _losses(self, model: Semantic, told: Told, batch: Tensors) -> dict[str, Tensor]:
        mask_BF = torch.arange(batch[SSL].shape[1], device=batch[SSL].device) < batch["frames"][:, None]
        errors_BF = (told.features.float() - model.scale.normal(batch[SSL])).square().mean(-1)
        found = {
            RECONSTRUCTION: (errors_BF * mask_BF).sum(),
            # The squared distance, for which the codebook gives the mean over dimensions and tokens.
            COMMITMENT: told.off * self.config.code_dim * batch["unit_frames"].sum(),
        }
        if told.text is not None:
            found[CTC] = ctc_loss(told.text[None], batch["frames"], batch["labels"], batch["label_counts"])
        return found

    def _sums(self, model: Semantic, told: Told, batch: Tensors) -> dict[str, Tensor | int]:
        """Returns the losses and what they are sums over, and how many symbols are read wrong."""
        found: dict[str, Tensor | int] = {**self._losses(model, told, batch), "frames": batch["frames"].sum()}
        if told.text is not None:
            found |= {SYMBOL_ERRORS: _errors(told.text, batch), "labels": batch["label_counts"].sum()}
        return found

    def _no_use(self) -> CodebookUse:
        return CodebookUse(np.zeros(self.config.n_tokens, np.int64))

    def _uses(self, told: Told, batch: Tensors) -> list[CodebookUse]:
        counts = batch["unit_frames"].tolist()
        tokens_BN = told.tokens.cpu().numpy()
        return [CodebookUse.of(row[:n], self.config.n_tokens) for row, n in zip(tokens_BN, counts, strict=True)]

    def _features(self, sample: Sample) -> npt.NDArray[np.float32]:
        features = sample.series[SSL].astype(np.float32)
        if not len(features):
            raise DataError(f"sample {sample.key} has no frames; build the set again")
        return features

    def _labels(self, sample: Sample) -> tuple[int, ...]:
        labels = spelled(sample, self.alphabet) if self.alphabet else ()
        # A text that does not fit its time teaches nothing; it is left out by having no labels.
        return labels if fits(labels, len(sample.series[SSL])) else ()


def _errors(text_BFV: Tensor, batch: Tensors) -> int:
    """Returns how many symbols of the texts are wrong, by the likeliest symbol of each frame."""
    best_BF = text_BFV.argmax(-1).tolist()
    known = zip(batch["frames"].tolist(), batch["labels"].tolist(), batch["label_counts"].tolist(), strict=True)
    return sum(
        edit_distance([symbol for symbol, _ in itertools.groupby(row[:n_frames]) if symbol != BLANK], labels[:n])
        for row, (n_frames, labels, n) in zip(best_BF, known, strict=True)
        if n
    )
