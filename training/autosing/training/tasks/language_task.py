"""What the trainers of singing language models have in common: sizes, backing, singers, and what is withheld."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, TypeVar

import numpy as np
from torch import nn

from autosing.models.acoustic_input import pad_stack
from autosing.models.columns import FORGOTTEN, ColumnLanguage
from autosing.models.directory import LoadedModel
from autosing.models.language import LANGUAGE_SIZES, LanguageSize
from autosing.models.language_blocks import NOBODY, Mlp
from autosing.models.width import lr_scales
from autosing.signal.errors import UsageError
from autosing.training.loader import Batch
from autosing.training.manifest import Manifest, described
from autosing.training.packing import Rows, Stream, packed
from autosing.training.sample import Sample
from autosing.training.task import Phase, RunConfig, Task
from autosing.training.tasks.language_input import Array, coded_source, side_by_side
from autosing.training.tasks.singer_input import (
    EMBEDDING,
    SingerName,
    require_singers,
    singer_row,
    singer_vector,
    vector_width,
)
from autosing.training.tuning import take_singers

BACKING, SINGER, CONDITIONS = "backing", "singer", "conditions"
# Of AdamW: language models of tokens have few of each kind in a batch, and the second moment must forget them sooner.
BETAS = (0.9, 0.95)


@dataclass(frozen=True, kw_only=True)
class LanguageConfig(RunConfig):
    """Settings that all trainers of singing language models have.

    Attributes:
        size: of the model; the learning rate of one is that of all, with AdamW.
        backing: columns of codes of the backing, such as those of a codec's coarse levels; none does without.
        n_backing_tokens: how many different ones a level may have; 0 is as many as the set tells.
        singer: by a `table` of those in the set, by the column `singer_embedding` (any singer), or `none`.
        condition_dropout: share of training samples that hear no condition at all, which guidance leads away from.
        singer_dropout: share of training samples whose singer is withheld, so that unknown singers can be sung.
        backing_dropout: share of training samples whose backing is withheld, so that one may sing without.
        mlp: what a layer computes token by token: `swiglu` or `gelu`.
        dropout: in all layers.
        history_dropout: share of the columns of training samples that those after them do not see (word dropout, Bowman
            et al. 2016), so that sources are listened to, and what was sung wrong is not believed.
        near_first: begin by attending to those tokens of a source that are near in time.
        row_s: training samples share rows of so many seconds, so that all batches have one shape, as `compile` wants; 0
            lays each sample in a row of its own.
    """

    size: LanguageSize = "small"
    backing: tuple[str, ...] = ()
    n_backing_tokens: int = 0
    singer: SingerName = "table"
    condition_dropout: float = 0.1
    singer_dropout: float = 0.1
    backing_dropout: float = 0.1
    mlp: Mlp = "swiglu"
    dropout: float = 0.1
    history_dropout: float = 0.0
    near_first: bool = True
    row_s: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_not_below_0("n_backing_tokens", "row_s")
        if self.row_s > self.seconds_per_batch:
            raise UsageError(
                f"row_s is {self.row_s:g} and seconds_per_batch {self.seconds_per_batch:g}; a batch must hold a row"
            )
        self.require_shares("condition_dropout", "singer_dropout", "backing_dropout", "dropout", "history_dropout")
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise UsageError(f"a column is named twice among {', '.join(self.columns)}; name each once")

    def require_shares(self, *names: str) -> None:
        """Raises UsageError where one of the settings is no share."""
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")


class Learner(nn.Module):
    """What is trained: a language model, and beside it a baseline that it is compared with."""

    language: ColumnLanguage


Model = TypeVar("Model", bound=Learner)


class LanguageTask(Task[Model]):
    """Samples with the backing and the singers of a set.

    Raises:
        MissingColumn: the set lacks a column that the settings use, or singers.
        UsageError: it doesn't tell how many tokens there are, and neither do the settings.
    """

    readouts: ClassVar[tuple[str, ...]] = ("language.readout", f"language.conditions.{EMBEDDING}")
    statistics_samples: ClassVar[int] = 4096
    growing: ClassVar[tuple[str, ...]] = ("conditions.singer.weight",)
    config: LanguageConfig

    def __init__(self, config: LanguageConfig, manifest: Manifest) -> None:
        manifest.require(config.columns)
        require_singers(manifest, config.singer)
        self.config = config
        of_song = (EMBEDDING,) if config.singer == "embedding" else ()
        self.column_of = {name: manifest.columns[name] for name in (*config.columns, *of_song)}
        self.origins = {"instances": dict(manifest.contracts), "artefacts": manifest.artefacts}
        self.backing = {name: self.column_of[name] for name in config.backing}
        self.backing_sizes = [self.size_of(name, config.n_backing_tokens, "n_backing_tokens") for name in self.backing]
        self.singers = manifest.singers if config.singer == "table" else ()
        self.singer_rows = {name: NOBODY + 1 + i for i, name in enumerate(self.singers)}

    @property
    def shared_rows(self) -> Rows | None:
        """The rows that the samples of a training batch share; None where each has its own."""
        if not self.config.row_s:
            return None
        n = int(self.config.seconds_per_batch // self.config.row_s)
        return Rows(n, self.config.row_s, float(self.columns_beside / self.column_rate))

    @property
    @abstractmethod
    def column_rate(self) -> Fraction:
        """Columns that are predicted a second."""

    @property
    def columns_beside(self) -> int:
        """The most columns of a sample beside those of its seconds."""
        return 1

    def for_training(
        self,
        samples: Sequence[Sample],
        batch: Batch,
        columns: Mapping[str, Sequence[Array]],
        fills: Mapping[str, int],
    ) -> Batch:
        """Returns a batch that forgets columns, and whose samples share rows, if they are to.

        Args:
            samples: of the batch.
            batch: side by side, with sources and their counts.
            columns: the arrays of what is predicted, (N, ...), by name and sample.
            fills: of padding, where it is not 0.
        """
        rows, arrays = self.shared_rows, dict(batch.arrays)
        if self.config.history_dropout:
            lengths = map(len, next(iter(columns.values())))
            columns = {**columns, FORGOTTEN: list(map(self._forgotten, samples, lengths))}
            arrays[FORGOTTEN] = pad_stack(columns[FORGOTTEN])
        if rows is None:
            return replace(batch, arrays=arrays)
        streams = {"columns": Stream(columns, fills)}
        for name in self.sources:
            counts = arrays.pop(f"{name}_counts")
            own = {
                key: [row[:n] for row, n in zip(arrays.pop(key), counts, strict=True)] for key in (name, f"{name}_s")
            }
            streams[name] = Stream(own, {})
        of_samples = {key: array for key, array in arrays.items() if key in self.told_of_samples}
        row_length = math.ceil(Fraction(rows.seconds) * self.column_rate)
        return replace(batch, arrays=packed(streams, of_samples, rows, row_length))

    @property
    @abstractmethod
    def sources(self) -> Sequence[str]:
        """The names of the model's sources."""

    @property
    def told_of_samples(self) -> Sequence[str]:
        """The names of what is told of a sample as a whole."""
        return ("withheld", SINGER, EMBEDDING)

    def fields_of_all(self) -> dict[str, Any]:
        """Returns what the fields of all such models have, sources and conditions that are common to all among them."""
        config, (dim, layers, source_layers) = self.config, LANGUAGE_SIZES[self.config.size]
        return {
            "sources": {BACKING: 1 + sum(self.backing_sizes)} if self.backing else {},
            "conditions": {SINGER: 1 + len(self.singers)} if self.singers else {},
            "vectors": {EMBEDDING: vector_width(self.column_of[EMBEDDING])} if EMBEDDING in self.column_of else {},
            "dim": dim,
            "layers": layers,
            "source_layers": source_layers,
            "mlp": config.mlp,
            "dropout": config.dropout,
            "near_first": config.near_first,
        }

    def adopt(self, model: Model, base: LoadedModel, samples: Iterable[Sample]) -> None:
        """Takes over a trained model; its singers keep their rows, new ones begin as nobody in particular.

        Raises:
            CheckpointError: it is of another kind, size or contract.
        """
        super().adopt(model, base, samples)
        take_singers(model.language.singers, base, self.singer_rows)
        self.initialise(model, samples)

    def phases(self) -> Sequence[Phase]:
        """Returns one turn."""
        return (Phase(betas=BETAS),)

    def lr_scales(self, model: Model) -> Mapping[nn.Parameter, float]:
        """Returns what makes the learning rate of one width that of all; a vector that is given has its own width."""
        given = {id(model.language.conditions[name].weight) for name in model.language.fields.vectors}
        scales = lr_scales(model, model.language.fields.dim)
        return {parameter: scale for parameter, scale in scales.items() if id(parameter) not in given}

    def kept(self, model: Model) -> ColumnLanguage:
        """Returns the model without the baseline."""
        return model.language

    def contract(self) -> Mapping[str, Any]:
        """Returns what backing and singers are: columns with rates, definitions and origins, and the table."""
        return {
            **described(self.column_of),
            **self.origins,
            "columns": {name: column.address for name, column in self.column_of.items()},
            # Lists, since JSON may order a mapping otherwise, and levels have rows by their order.
            "backing": {"columns": list(self.backing), "n_tokens": list(self.backing_sizes)},
            "singers": list(self.singers),
        }

    def accompaniment(self, samples: Sequence[Sample], training: bool) -> dict[str, Array]:
        """Returns backing and singers side by side, what of all is withheld, and how long the samples are."""
        arrays: dict[str, Array] = {
            "seconds": np.array([sample.info["seconds"] for sample in samples], np.float32),
            "withheld": np.array([self.withholds(sample, CONDITIONS, training) for sample in samples]),
        }
        if self.backing:
            coded = [coded_source(s, self.backing, self.backing_sizes, "n_backing_tokens") for s in samples]
            without = np.array([self.withholds(sample, BACKING, training) for sample in samples])
            arrays |= side_by_side(BACKING, coded)
            arrays[f"{BACKING}_counts"][without] = 1
        if self.singers:
            arrays[SINGER] = np.array([self._row(sample, training) for sample in samples], np.int64)
        if EMBEDDING in self.column_of:
            arrays[EMBEDDING] = np.stack([self._vector(sample, training) for sample in samples])
        return arrays

    def withholds(self, sample: Sample, what: str, training: bool) -> bool:
        """Says whether something is withheld from a training sample."""
        config = self.config
        shares = {CONDITIONS: config.condition_dropout, BACKING: config.backing_dropout, SINGER: config.singer_dropout}
        return training and bool(sample.rng(what).random() < shares[what])

    def flops_per_token(self, model: Model) -> float:
        """Returns the operations of the decoder's layers; what reads sources, and attention itself, come on top."""
        layers = [layer for layer in model.language.blocks.modules() if isinstance(layer, nn.Linear)]
        return 6.0 * sum(layer.weight.numel() for layer in [*layers, model.language.readout])

    def size_of(self, name: str, setting: int, told_by: str) -> int:
        """Returns how many different tokens a column may have: what a setting says, or the set.

        Raises:
            UsageError: neither does.
        """
        size = setting or self.column_of[name].n_tokens
        if not size:
            raise UsageError(
                f"the set does not tell how many different {name} there are; set {told_by}, or build again"
            )
        return size

    def _forgotten(self, sample: Sample, n: int) -> Array:
        return sample.rng(FORGOTTEN).random(n) < self.config.history_dropout

    def _row(self, sample: Sample, training: bool) -> int:
        return NOBODY if self.withholds(sample, SINGER, training) else singer_row(sample, self.singer_rows, NOBODY)

    def _vector(self, sample: Sample, training: bool) -> Array:
        told = singer_vector(sample, vector_width(self.column_of[EMBEDDING]))
        return told * (not self.withholds(sample, SINGER, training))
