"""What the trainers of conversion models have in common: samples, their inputs, augmentation, and what is looked at."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autosing.models.acoustic import UNKNOWN_SINGER
from autosing.models.acoustic_input import pad_stack
from autosing.models.svc import SvcFields, SvcModel
from autosing.models.svc_input import svc_inputs
from autosing.models.svc_sampling import Sampling, draw
from autosing.signal.errors import DataError, UsageError
from autosing.signal.griffin_lim import griffin_lim
from autosing.signal.mel import MelSpec, shifted_log_mel
from autosing.signal.resample import resample
from autosing.signal.typed import of_mapping
from autosing.training.loader import Batch
from autosing.training.look import Look, Sound
from autosing.training.manifest import AUDIO, Manifest, described
from autosing.training.pictures import mel_figure
from autosing.training.sample import Sample
from autosing.training.task import RunConfig, Task, Tensors
from autosing.training.tasks.singer_input import (
    EMBEDDING,
    SingerName,
    require_singers,
    singer_row,
    singer_vector,
    vector_width,
)

if TYPE_CHECKING:
    from torch import nn

Model = TypeVar("Model", bound="nn.Module")
# Seconds of the sample that is drawn and made audible at each validation.
LOOK_S = 8.0
# Percentiles of the pitch beyond which a tracker may have erred.
OUTLIERS = (1, 99)
# The octave that samples are moved up or down by, at most, before their singer would be another.
MOST_KEY = 12.0


@dataclass(frozen=True, kw_only=True)
class ConversionConfig(RunConfig):
    """Settings that both trainers of conversion models have.

    Attributes:
        singer_dropout: share of training samples whose singer is withheld: what guidance moves away from, and what
            unknown singers begin as.
        key_shift: semitones up or down that samples are moved by in training, pitch and formants together; needs audio
            in the samples. The model is told the formants' part, so that it can be asked for other ones.
        key_share: share of training samples that are moved.
    """

    singer_dropout: float = 0.1
    key_shift: float = 0.0
    key_share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("singer_dropout", "key_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        if not 0 <= self.key_shift <= MOST_KEY:
            raise UsageError(f"key_shift is {self.key_shift}; it must be from 0 to {MOST_KEY:g} semitones")

    @property
    @abstractmethod
    def given(self) -> "Given":
        """What the model is given."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return (*self.given.series, "mel", *((AUDIO,) if self.key_shift else ()))


@dataclass(frozen=True)
class Given:
    """What a model is given of a sample: streams of content, pitch and energy as wanted, and who sings."""

    content: tuple[str, ...]
    has_pitch: bool
    has_energy: bool
    singer: SingerName

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Given":
        """Returns what a model with these fields is given."""
        singer: SingerName = "embedding" if fields["embedding_dim"] else "table" if fields["n_singers"] else "none"
        return cls(tuple(sorted(fields["streams"])), fields["pitch"] != "none", "energy" in fields["rates"], singer)

    @property
    def series(self) -> tuple[str, ...]:
        """Names of the columns with a rate."""
        pitch = ("f0_hz", "voiced") if self.has_pitch else ()
        return (*self.content, *pitch, *(("energy",) if self.has_energy else ()))


class ConversionTask(Task[Model]):
    """Samples as a conversion model sees them.

    Raises:
        MissingColumn: the set lacks a column that the settings use, or singers.
    """

    config: ConversionConfig

    def __init__(self, config: ConversionConfig, manifest: Manifest) -> None:
        self.given = config.given
        of_song = (EMBEDDING,) if self.given.singer == "embedding" else ()
        manifest.require([*config.columns, *of_song])
        require_singers(manifest, self.given.singer)
        self.config = config
        self.singers = manifest.singers if self.given.singer == "table" else ()
        self.singer_rows = {name: UNKNOWN_SINGER + 1 + i for i, name in enumerate(self.singers)}
        self.columns = {name: manifest.columns[name] for name in (*self.given.series, "mel", *of_song)}
        told = described(self.columns)
        self.rates = {name: c.rate for name, c in self.columns.items() if c.rate is not None}
        self.tokens = [name for name in self.given.content if np.dtype(self.columns[name].dtype).kind == "u"]
        self.mel_contract = manifest.contract("mel")
        self.spec = of_mapping(MelSpec, self.mel_contract.get("spec", {}), "the mel contract of the set")
        origins = {"instances": dict(manifest.contracts), "artefacts": manifest.artefacts}
        addresses = {name: column.address for name, column in self.columns.items()}
        self._contract = {**told, **origins, "columns": addresses, "mel": self.mel_contract}

    def contract(self) -> Mapping[str, Any]:
        """Returns mel, rates, definitions and settings of all that is given, artefacts, and the singer table."""
        return {**self._contract, "singers": list(self.singers)}

    def fields(self, **settings: Any) -> SvcFields:
        """Returns the fields of a model for the set's columns."""
        conditions = ("mel", "f0_hz", "energy")
        rates = {name: str(rate) for name, rate in self.rates.items() if name in (*conditions, *self.given.content)}
        column = self.columns
        return SvcFields(
            n_mels=column["mel"].dim or 1,
            rates=rates,
            streams={name: column[name].dim or 1 for name in self.given.content},
            n_singers=len(self.singers),
            embedding_dim=vector_width(column[EMBEDDING]) if EMBEDDING in column else 0,
            uses_formant=self.config.key_shift > 0,
            **settings,
        )

    def measure_pitch(self, model: SvcModel, samples: Iterable[Sample]) -> None:
        """Takes the median pitch of each singer and of all, and the range that is trained, augmentation included."""
        if not self.given.has_pitch:
            return
        heard: dict[int, list[npt.NDArray[Any]]] = {row: [] for row in range(len(model.f0_medians_hz))}
        for sample in samples:
            f0_hz = sample.series["f0_hz"][sample.series["voiced"] > 0]
            row = self.singer_rows.get(str(sample.info["singer"]), UNKNOWN_SINGER)
            for each in {UNKNOWN_SINGER, row}:
                heard[each].append(f0_hz[f0_hz > 0])
        everything = np.concatenate([np.zeros(0, np.float32), *heard[UNKNOWN_SINGER]])
        if not len(everything):
            return
        medians = [np.median(found) if len(found := np.concatenate([[], *parts])) else 0.0 for parts in heard.values()]
        model.f0_medians_hz.copy_(torch.tensor(medians))
        factor = 2 ** (self.config.key_shift / 12)
        low_hz, high_hz = np.percentile(everything, OUTLIERS)
        model.f0_range_hz.copy_(torch.tensor([low_hz / factor, high_hz * factor]))

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns the model's inputs, the mels and their lengths, side by side."""
        rows = [self._row(sample, training) for sample in samples]
        arrays = {name: pad_stack([row[name] for row in rows]) for name in rows[0] if rows[0][name].ndim}
        arrays |= {name: np.stack([row[name] for row in rows]) for name in rows[0] if not rows[0][name].ndim}
        keys, seconds = tuple(sample.key for sample in samples), sum(float(s.info["seconds"]) for s in samples)
        n_values = sum(row["mel"].size for row in rows)
        return Batch(arrays, dict.fromkeys(self.counted, n_values), keys, seconds)

    @property
    @abstractmethod
    def counted(self) -> Sequence[str]:
        """The losses, each of which is summed over the values of mels."""

    def _row(self, sample: Sample, training: bool) -> dict[str, npt.NDArray[Any]]:
        mel = sample.series["mel"]
        for name in self.given.content:
            if not len(sample.series[name]) or not len(mel):
                raise DataError(f"sample {sample.key} has no {name} or no mel; build the set again")
        key = self._key(sample) if training else 0.0
        if key:
            wave = resample(sample.series[AUDIO], sample.sample_rate_hz, self.spec.sample_rate)
            mel = shifted_log_mel(wave, self.spec, len(mel), key / 12)
        given = svc_inputs(sample.series, self.given.content, self.tokens, len(mel), self.rates, key, key / 12)
        return {**given, "mel": mel, "mel_frames": np.array(len(mel), np.int32), **self._singer(sample, training)}

    def _key(self, sample: Sample) -> float:
        """Returns the semitones that a training sample is moved by."""
        rng = sample.rng("key")
        moved = rng.random() < self.config.key_share
        return float(rng.uniform(-1, 1)) * self.config.key_shift * moved

    def _singer(self, sample: Sample, training: bool) -> dict[str, npt.NDArray[Any]]:
        withheld = training and sample.rng("singer").random() < self.config.singer_dropout
        if self.given.singer == "embedding":
            told = singer_vector(sample, vector_width(self.columns[EMBEDDING]))
            return {EMBEDDING: (told * (not withheld))[None]}
        known = self.given.singer == "table" and not withheld
        row = singer_row(sample, self.singer_rows, UNKNOWN_SINGER) if known else UNKNOWN_SINGER
        return {"singer": np.array(row, np.int32)}

    def look_at(self, model: SvcModel, batch: Tensors, ways: Mapping[str, Sampling]) -> Look:
        """Returns target and predictions of the first sample, drawn and audible."""
        first = {name: tensor[:1] for name, tensor in batch.items()}
        length = min(int(first["mel_frames"]), round(LOOK_S * float(self.spec.rate)))
        found = {"target": first["mel"], **{name: drawn(model, first, how) for name, how in ways.items()}}
        mels = {name: mel[0, :length].float().cpu().numpy() for name, mel in found.items()}
        sounds = {
            f"{n}, by Griffin-Lim": Sound(griffin_lim(m, self.spec), self.spec.sample_rate) for n, m in mels.items()
        }
        return Look({"mel": mel_figure(mels, self.spec.rate, None, self.spec)}, sounds)


def drawn(model: SvcModel, batch: Tensors, how: Sampling) -> Tensor:
    """Returns mels (B, F, M) of a batch, drawn with torch's own randomness."""
    return draw(model, batch, _fresh(batch["mel"]), how)


def _fresh(like: Tensor) -> Iterator[Tensor]:
    while True:
        yield torch.randn(like.shape, device=like.device)
