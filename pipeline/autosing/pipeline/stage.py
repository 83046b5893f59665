"""What a stage is: a frozen dataclass whose fields are its settings and whose result is columns.

A stage knows nothing of files, partitions or clusters. It says which columns it reads and writes and maps songs to
rows; `run.py` decides where and when, `plan.py` whether at all.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.signal.errors import RowError, UsageError
from autosing.signal.mel import MelSpec

Row = Mapping[str, Any]
NOT_IN_DEFINITION = {"definition": False}
"""Metadata of a setting that changes how a column is computed, never what it is (a device, a path of a model)."""


@dataclass(frozen=True)
class Resources:
    """What one worker of a stage occupies.

    Args:
        cpus: CPU cores.
        gpus: GPUs, fractions allowed.
        batch_s: seconds of audio that `process` wants at once; 0 means song by song.
    """

    cpus: float = 1
    gpus: float = 0
    batch_s: float = 0


@dataclass(frozen=True)
class Reach:
    """How far the values of a stage look: what is sung farther away changes none of them.

    Args:
        context_s: on either side.
        period_s: where sections of a song begin must be a whole number of these from its start, so that windows or
            blocks lie in a section as they lie in the song.
    """

    context_s: float
    period_s: Fraction = Fraction(1)


@dataclass(frozen=True)
class Stage(ABC):
    """Maps songs to rows of columns. Fields are settings.

    `version` rises when the same settings mean other values. A stage that is not `by_default` runs where it is asked
    for, or where another stage reads it. One that `streams` reads its audio by `Song.form` and `Song.blocks` alone, one
    that `slices` its series by slices alone: they may be `Rows` on disk.
    One that `keeps` its values has them stored, unless a setting `keep` says otherwise.
    """

    version: ClassVar[int] = 1
    by_default: ClassVar[bool] = True
    streams: ClassVar[bool] = False
    slices: ClassVar[bool] = False
    keep: ClassVar[bool] = True

    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """Returns the columns of a row."""

    @abstractmethod
    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        """Returns one row (or the reason why there is none) per song, in order."""

    def reads(self) -> tuple[str, ...]:
        """Returns the addresses of the columns that are read, audio aside."""
        return ()

    def audio_read(self) -> AudioName | None:
        """Returns which audio is read: the setting `audio`, where the stage has one."""
        return getattr(self, "audio", None)

    def learned_from(self) -> Mapping[str, Mapping[str, Any]]:
        """Returns how the columns were made that a model learned from: instance that is read -> settings, digests.

        Of settings that name models, the digests of these. Instances whose making does not matter are left out.
        """
        return {}

    def models(self) -> Mapping[str, str]:
        """Returns the models that define the values: setting name -> hub id or path."""
        return {}

    def resources(self) -> Resources:
        """Returns what a worker needs."""
        return Resources()

    def setup(self) -> Any:
        """Returns what `process` gets as `model`: whatever is loaded once per worker."""
        return None

    def reach(self, model: Any) -> Reach | None:
        """Returns how far values look, with what `setup` gave; None where all of the song may change any of them."""
        return None

    def settings(self) -> dict[str, Any]:
        """Returns the settings that define the values, as JSON-able values."""
        return {
            f.name: _plain(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if f.metadata.get("definition", True)
        }


@dataclass(frozen=True)
class FittedStage(Stage):
    """A stage that applies an artefact which is fitted once on the data set's own columns (a codebook).

    Adding data never makes the artefact stale; changed fit settings do.

    Attributes:
        artefact_setting: the setting that says where the artefact lies; the data set's own folder where it is empty.
    """

    artefact_setting: ClassVar[str] = "codebook"

    @property
    @abstractmethod
    def artefact(self) -> str:
        """The path of the artefact's folder; "" where the settings need none."""

    @abstractmethod
    def fit_settings(self) -> dict[str, Any]:
        """Returns the settings that the artefact depends on."""

    @abstractmethod
    def fit(self, songs: "FitSource", folder: Path) -> None:
        """Fits on sampled series and writes the artefact into `folder`."""


class FitSource(ABC):
    """The songs that a fit may look at, sampled evenly over the partitions and the same for the same seed."""

    @abstractmethod
    def songs(self, addresses: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """Yields values by address of one sampled song after the other."""

    def series(self, address: str) -> Iterator[npt.NDArray[Any]]:
        """Yields the series (F, dim) of one sampled song after the other."""
        for song in self.songs((address,)):
            yield song[address]

    @abstractmethod
    def seconds(self) -> float:
        """Returns the length of the sampled songs in seconds."""


def fitted(stage: Stage | None) -> FittedStage | None:
    """Returns a stage that needs an artefact with its settings; None for any other."""
    return stage if isinstance(stage, FittedStage) and stage.artefact else None


def named_model(stage: str, model: str, kinds: str) -> str:
    """Returns the model of a stage that has none of its own.

    Args:
        stage: its name.
        model: what the setting `model` says.
        kinds: which models it takes, for the message.

    Raises:
        UsageError: the setting is empty.
    """
    if not model:
        raise UsageError(
            f"{stage}: model is missing; give {kinds}: --set {stage}.model=PATH, or "
            f"`{stage}: {{model: PATH}}` among the stages of datasets.yaml"
        )
    return model


def per_song(songs: Sequence[Song], compute: Any) -> list[Row | RowError]:
    """Returns `compute(song)` for each song; a RowError becomes that song's outcome."""
    rows: list[Row | RowError] = []
    for song in songs:
        try:
            rows.append(compute(song))
        except RowError as error:
            rows.append(error)
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, MelSpec):
        return value.as_mapping()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {k: _plain(v) for k, v in dataclasses.asdict(value).items()}
    return value.item() if isinstance(value, np.generic) else value
