"""The trainer from semantic tokens to the codes of a codec's levels (SM2A), after AutoSing and SPEAR-TTS."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from autosing.models.acoustic_input import pad_stack
from autosing.models.codes_language import CodesFields, CodesLanguage, strides_of
from autosing.models.patterns import EMPTY
from autosing.signal.errors import UsageError
from autosing.training.loader import Batch
from autosing.training.look import Look
from autosing.training.manifest import Manifest, rates_of
from autosing.training.pictures import cells_figure
from autosing.training.sample import Sample
from autosing.training.task import Tensors
from autosing.training.tasks.entropy_losses import cross_entropy
from autosing.training.tasks.language_input import check_tokens, coded_source, side_by_side
from autosing.training.tasks.language_task import LanguageConfig, LanguageTask, Learner
from autosing.training.tasks.sm2a_figures import LOSS, SEMANTIC, Figures, likelihoods
from autosing.training.unigrams import Unigrams

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Sm2aConfig(LanguageConfig):
    """Settings of the trainer from semantic tokens to codes.

    Attributes:
        semantic: the column of tokens that tell what is sung, such as `semantic` or `units`: T2S's `target`.
        n_semantic_tokens: how many different ones there may be; 0 is as many as the set tells.
        codes: the columns of the voice's codes, coarse levels first.
        n_codes: how many different ones a level may have; 0 is as many as the set tells.
        column_frames: how many of the finest codes a column lasts; 0 is as many as a code of the second level.
        delays: of each level in columns, so that what is coarse is known before what is fine; one more from level to
            level where none is told.
        unrolled_share: share of training samples of which a stretch is learned with a column for each of the finest
            codes, so that one model can generate either way: with few columns, or with none of a level's codes chosen
            beside each other.
    """

    semantic: str = "semantic"
    n_semantic_tokens: int = 0
    codes: tuple[str, ...] = ("codes_0", "codes_1", "codes_2")
    n_codes: int = 0
    column_frames: int = 0
    delays: tuple[int, ...] = ()
    unrolled_share: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_not_below_0("n_semantic_tokens", "n_codes", "column_frames")
        self.require_shares("unrolled_share")
        if not self.codes:
            raise UsageError("codes is empty; name the column of each level, coarse ones first")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return (self.semantic, *self.codes, *self.backing)

    def task(self, manifest: Manifest) -> "Sm2aTask":
        """Returns the task on a built set."""
        return Sm2aTask(self, manifest)


class Sm2aLearner(Learner):
    """A model with the frequencies of codes beside it."""

    def __init__(self, fields: CodesFields) -> None:
        super().__init__()
        self.language = CodesLanguage(fields)
        self.unigrams = Unigrams(fields.sizes)


class Sm2aTask(LanguageTask[Sm2aLearner]):
    """Cross-entropy of the codes of the next column.

    Raises:
        MissingColumn: the set lacks a column that the settings use, or singers.
        UsageError: it doesn't tell how many tokens there are, and neither do the settings; or levels do not fit.
    """

    metric: ClassVar[str] = LOSS
    overfit_bound: ClassVar[float] = 0.1
    config: Sm2aConfig

    def __init__(self, config: Sm2aConfig, manifest: Manifest) -> None:
        super().__init__(config, manifest)
        rates = rates_of(self.column_of)
        self.rates = [rates[name] for name in config.codes]
        self.sizes = [self.size_of(name, config.n_codes, "n_codes") for name in config.codes]
        self.n_semantic = self.size_of(config.semantic, config.n_semantic_tokens, "n_semantic_tokens")
        self.pattern = self.fields.pattern

    @property
    def fields(self) -> CodesFields:
        """What the model is built from."""
        config, told, strides = self.config, self.fields_of_all(), strides_of(self.rates)
        return CodesFields(
            **{**told, "sources": {SEMANTIC: 1 + self.n_semantic, **told["sources"]}},
            sizes=tuple(self.sizes),
            rates=tuple(str(rate) for rate in self.rates),
            column_frames=config.column_frames or strides[:2][-1],
            delays=config.delays or tuple(range(len(strides))),
        )

    def build(self) -> Sm2aLearner:
        """Returns the model with random weights, and the baseline that has counted nothing."""
        return Sm2aLearner(self.fields)

    def initialise(self, model: Sm2aLearner, samples: Iterable[Sample]) -> None:
        """Counts the codes for the baseline; the model begins as it is."""
        model.unigrams.count(self._levels(sample) for sample in samples)

    def contract(self) -> Mapping[str, Any]:
        """Returns what tokens, codes and conditions are: columns with rates and definitions, the pattern, singers."""
        config, fields = self.config, self.fields
        pattern = {"column_frames": fields.column_frames, "delays": list(fields.delays)}
        return {
            **super().contract(),
            "semantic": {"column": config.semantic, "n_tokens": self.n_semantic},
            "codes": {"columns": list(config.codes), "rates": list(fields.rates), "sizes": list(self.sizes)},
            "pattern": pattern,
        }

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns columns of codes with their times, semantic tokens, backing and singers, and what is withheld."""
        laid = [self._columns(sample, training) for sample in samples]
        column = {self.config.semantic: self.column_of[self.config.semantic]}
        heard = [coded_source(sample, column, [self.n_semantic], "n_semantic_tokens") for sample in samples]
        arrays: dict[str, npt.NDArray[Any]] = {
            # Padding is empty, too.
            "cells": pad_stack([cells_NR - EMPTY for cells_NR, _ in laid]) + EMPTY,
            "columns_s": pad_stack([times_s for _, times_s in laid]),
            **side_by_side(SEMANTIC, heard),
            **self.accompaniment(samples, training),
        }
        counts = {LOSS: int((arrays["cells"] != EMPTY).sum())}
        keys, n_columns = tuple(sample.key for sample in samples), sum(len(cells_NR) for cells_NR, _ in laid)
        batch = Batch(arrays, counts, keys, float(arrays["seconds"].sum()), tokens=n_columns)
        if not training:
            return batch
        cells, times_s = zip(*laid, strict=True)
        return self.for_training(samples, batch, {"cells": cells, "columns_s": times_s}, {"cells": EMPTY})

    @property
    def column_rate(self) -> Fraction:
        """Columns a second."""
        return max(self.rates) / self.pattern.column_frames

    @property
    def columns_beside(self) -> int:
        """Delays, and what whole codes of the coarsest level are longer."""
        return max(self.fields.delays) + 1 + -(-max(strides_of(self.rates)) // self.pattern.column_frames)

    @property
    def sources(self) -> Sequence[str]:
        """Semantic tokens, and the backing where there is one."""
        return (SEMANTIC, *self.fields_of_all()["sources"])

    def losses(self, model: Sm2aLearner, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns the cross-entropy of true codes in nats, summed; cells without a code are none of them."""
        told = model.language(batch, batch["cells"], batch["columns_s"])
        return {LOSS: cross_entropy(model.language, told.states, batch["cells"])}

    def validate(self, model: Sm2aLearner, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns how well codes are predicted, of all levels and of each, also by the most frequent code alone.

        `semantic_gap` is the perplexity with the semantic tokens of another sample beside that with the true ones: 1
        where a model does not listen to them.
        """
        found = Figures([row.level for row in self.pattern.rows])
        for batch in batches:
            found.add(model.language, model.unigrams, batch)
        return found.metrics

    def look(self, model: Sm2aLearner, batch: Tensors) -> Look:
        """Returns how likely the true codes of the first sample were, cell by cell."""
        first = {name: tensor[:1] for name, tensor in batch.items()}
        logits = model.language(first, first["cells"], first["columns_s"]).logits[0]
        n_columns = int((first["cells"][0] != EMPTY).any(-1).nonzero().max()) + 1
        shares_RN = likelihoods(logits, first["cells"][0])[:n_columns].T.cpu().numpy()
        names = [self.config.codes[row.level] for row in self.pattern.rows]
        rate = max(self.rates) / self.pattern.column_frames
        return Look({"likelihood of the true codes": cells_figure(shares_RN, names, rate)})

    def _levels(self, sample: Sample) -> list[Codes]:
        """Returns the codes of all levels."""
        levels = [sample.series[name].astype(np.int64) for name in self.config.codes]
        for name, codes, size in zip(self.config.codes, levels, self.sizes, strict=True):
            check_tokens(sample, name, codes, size, "n_codes")
        return levels

    def _columns(self, sample: Sample, training: bool) -> tuple[Codes, Floats]:
        """Returns the columns (N, R) of a sample and their times; of some in training, as many of the unrolled ones."""
        levels = self._levels(sample)
        cells_RN = self.pattern.laid_out(levels)
        times_s = self.pattern.times_s(cells_RN.shape[1], max(self.rates))
        rng = sample.rng("unrolled")
        if not training or rng.random() >= self.config.unrolled_share:
            return cells_RN.T, times_s.astype(np.float32)
        unrolled = self.pattern.unrolled()
        fine_RN, n = unrolled.laid_out(levels), cells_RN.shape[1]
        # Stretches begin where a code of the coarsest level does, so that the first column tells the rest.
        period = max(strides_of(self.rates))
        first = period * int(rng.integers(0, (fine_RN.shape[1] - n) // period + 1))
        fine_s = unrolled.times_s(fine_RN.shape[1], max(self.rates)).astype(np.float32)
        return fine_RN.T[first : first + n], fine_s[first : first + n]
