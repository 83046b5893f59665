"""The acoustic trainer: units, and as far as wanted F0, energy and singer, to mels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autosing.models.acoustic import UNKNOWN_SINGER, AcousticModel, DecoderName, Size, sized
from autosing.models.acoustic_input import frame_inputs, pad_stack
from autosing.models.directory import LoadedModel
from autosing.models.mel_scale import LEAST_SPREAD
from autosing.signal.errors import DataError, MissingColumn, SchemaMismatch, UsageError
from autosing.signal.framing import nearest_frames
from autosing.signal.griffin_lim import griffin_lim
from autosing.signal.mel import MelSpec
from autosing.signal.typed import of_mapping
from autosing.training.loader import Batch
from autosing.training.look import Look, Sound
from autosing.training.manifest import Manifest, rates_of
from autosing.training.metrics import mel_l1, unpadded
from autosing.training.pictures import mel_figure
from autosing.training.sample import Sample
from autosing.training.task import RunConfig, Task, Tensors
from autosing.training.tuning import take_singers

LOSS = "mel_l1"
# Seconds of the sample that is drawn and made audible at each validation.
LOOK_S = 8.0


@dataclass(frozen=True, kw_only=True)
class AcousticConfig(RunConfig):
    """Settings of the acoustic trainer.

    Attributes:
        size: of the model.
        decoder: `parallel`, or `lstm` as in Soft-VC.
        use_f0: give the model `f0_hz` and `voiced`.
        use_energy: give the model `energy`.
        use_singer: give the model the singer.
        singer_dropout: share of training samples whose singer is withheld, so that unknown singers can be sung.
        units: `discrete` ones by their number, or `soft` ones of a content encoder (the column `soft_units`).
        n_units: the most units the codebook may have.
    """

    size: Size = "small"
    decoder: DecoderName = "parallel"
    use_f0: bool = True
    use_energy: bool = True
    use_singer: bool = True
    singer_dropout: float = 0.1
    units: Literal["discrete", "soft"] = "discrete"
    n_units: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.singer_dropout <= 1:
            raise UsageError(f"singer_dropout is {self.singer_dropout}; it must be from 0 to 1")
        self.require_above_0("n_units")

    @property
    def unit_column(self) -> str:
        """The column of what is sung."""
        return "units" if self.units == "discrete" else "soft_units"

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return (
            self.unit_column,
            "mel",
            *(("f0_hz", "voiced") if self.use_f0 else ()),
            *(("energy",) if self.use_energy else ()),
        )

    def task(self, manifest: Manifest) -> "AcousticTask":
        """Returns the task on a built set."""
        return AcousticTask(self, manifest)


class AcousticTask(Task[AcousticModel]):
    """Soft-VC's acoustic model on the samples of a built set.

    Raises:
        MissingColumn: the set lacks a column that the settings use, or singers.
    """

    metric: ClassVar[str] = LOSS
    growing: ClassVar[tuple[str, ...]] = ("singers.weight",)
    overfit_bound: ClassVar[float] = 0.1

    def __init__(self, config: AcousticConfig, manifest: Manifest) -> None:
        manifest.require(config.columns)
        if config.use_singer and not manifest.singers:
            raise MissingColumn(
                f"{manifest.url} names no singer; build it from songs with an `artist` or `singer`, "
                "or set use_singer=false"
            )
        self.config: AcousticConfig = config
        self.singers = manifest.singers if config.use_singer else ()
        self.singer_rows = {name: UNKNOWN_SINGER + 1 + i for i, name in enumerate(self.singers)}
        self.columns = {name: manifest.columns[name] for name in config.columns}
        self.rates = {
            ("units" if name == config.unit_column else name): rate for name, rate in rates_of(self.columns).items()
        }
        self.mel_contract = manifest.contract("mel")
        self.artefacts = manifest.artefacts

    def build(self) -> AcousticModel:
        """Returns the model with random weights."""
        config, n_mels = self.config, self.columns["mel"].dim or 1
        rates = {name: str(rate) for name, rate in self.rates.items()}
        soft_dim = (self.columns["soft_units"].dim or 1) if config.units == "soft" else 0
        told = (config.n_units, n_mels, rates, len(self.singers), soft_dim)
        return AcousticModel(sized(config.size, config.decoder, *told))

    def initialise(self, model: AcousticModel, samples: Iterable[Sample]) -> None:
        """Sets mean and spread of the mel's bins, and each unit's mean mel, from samples all over the training data.

        Of soft units it is the mel that is nearest to linear in them.
        """
        mels, units = self._frames(samples)
        mean, std = mels.mean(0), np.maximum(mels.std(0), LEAST_SPREAD)
        normal = (mels - mean) / std
        with torch.no_grad():
            model.mel_mean.copy_(torch.from_numpy(mean))
            model.mel_std.copy_(torch.from_numpy(std))
            if isinstance(model.unit_mels, torch.nn.Linear):
                weights = _ridge(units, normal)
                model.unit_mels.weight.copy_(torch.from_numpy(weights[:-1].T))
                model.unit_mels.bias.copy_(torch.from_numpy(weights[-1]))
            else:
                sums = np.zeros((self.config.n_units, len(mean)))
                np.add.at(sums, units, normal)
                counts = np.bincount(units, minlength=self.config.n_units)
                model.unit_mels.weight.copy_(torch.from_numpy(sums / np.maximum(counts, 1)[:, None]))

    def adopt(self, model: AcousticModel, base: LoadedModel, samples: Iterable[Sample]) -> None:
        """Takes over a trained model; its singers keep their rows, new ones begin as nobody in particular.

        Raises:
            CheckpointError: it is of another kind, size or contract.
        """
        super().adopt(model, base, samples)
        take_singers(model.singers, base, self.singer_rows)

    def _frames(self, samples: Iterable[Sample]) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
        """Returns mel frames (F, M) of training samples, and the unit at each frame (F,), or the soft one (F, S)."""
        mels, units = [], []
        for sample in samples:
            mel, unit = sample.series["mel"], self._units(sample)
            mels.append(mel.astype(np.float64))
            units.append(unit[nearest_frames(len(mel), self.rates["mel"], len(unit), self.rates["units"])])
        return np.concatenate(mels), np.concatenate(units)

    def contract(self) -> Mapping[str, Any]:
        """Returns mel, rates, definitions, artefacts and the singer table."""
        return {
            "mel": self.mel_contract,
            "rates": {name: str(rate) for name, rate in self.rates.items()},
            "definitions": {name: column.definition for name, column in self.columns.items()},
            "artefacts": self.artefacts,
            "singers": list(self.singers),
        }

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns the model's inputs, the mels and their lengths, side by side."""
        mels = [sample.series["mel"] for sample in samples]
        inputs = [self._inputs(sample) for sample in samples]
        arrays = {name: pad_stack([given[name] for given in inputs]) for name in inputs[0]}
        arrays |= {
            "mel": pad_stack(mels),
            "mel_frames": np.array([len(mel) for mel in mels], np.int32),
            "unit_frames": np.array([len(sample.series[self.config.unit_column]) for sample in samples], np.int32),
            "singer": np.array([self._singer(sample, training) for sample in samples], np.int32),
        }
        keys, seconds = tuple(sample.key for sample in samples), sum(float(s.info["seconds"]) for s in samples)
        return Batch(arrays, {LOSS: sum(mel.size for mel in mels)}, keys, seconds)

    def losses(self, model: AcousticModel, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns the summed absolute error in nats; predicted padding is 0 like the target's."""
        return {LOSS: (model(batch, batch["mel"]) - batch["mel"].float()).abs().sum()}

    def validate(self, model: AcousticModel, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns the mel-L1 running freely, and while the true last frame is given."""
        free: list[npt.NDArray[Any]] = []
        forced: list[npt.NDArray[Any]] = []
        true: list[npt.NDArray[Any]] = []
        for batch in batches:
            lengths = batch["mel_frames"].cpu().numpy()
            for mels, kept in (
                (model.generate(batch), free),
                (model(batch, batch["mel"]), forced),
                (batch["mel"], true),
            ):
                kept.extend(unpadded(mels.float().cpu().numpy(), lengths))
        return {LOSS: mel_l1(free, true), f"{LOSS}_forced": mel_l1(forced, true)}

    def look(self, model: AcousticModel, batch: Tensors) -> Look:
        """Returns target and prediction of the first sample, drawn with the pitch that was asked for, and audible."""
        first = {name: tensor[:1] for name, tensor in batch.items()}
        length = min(int(first["mel_frames"]), round(LOOK_S * self.rates["mel"]))
        found = {"target": first["mel"], "prediction, running freely": model.generate(first)}
        mels = {name: mel[0, :length].float().cpu().numpy() for name, mel in found.items()}
        spec = self._mel_spec()
        figure = mel_figure(mels, self.rates["mel"], self._pitch(first, length, mels) if spec else None, spec)
        return Look({"mel": figure}, self._sounds(mels, spec) if spec else {})

    def _mel_spec(self) -> MelSpec | None:
        """Returns what the mels mean, where the set tells it."""
        told = self.mel_contract.get("spec")
        return of_mapping(MelSpec, told, "the mel contract of the set") if isinstance(told, Mapping) else None

    def _pitch(self, batch: Tensors, length: int, mels: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if "period_s" not in batch:
            return None
        period_s = batch["period_s"][0, :length].float().cpu().numpy()
        f0_hz = np.divide(1, period_s, where=period_s > 0, out=np.zeros_like(period_s))
        return dict.fromkeys(mels, (f0_hz, period_s > 0, self.rates["mel"]))

    def _sounds(self, mels: Mapping[str, npt.NDArray[Any]], spec: MelSpec) -> Mapping[str, Sound]:
        """Returns both mels through one vocoder without weights, so that the ear compares mels."""
        return {
            f"{name}, by Griffin-Lim": Sound(griffin_lim(mel, spec), spec.sample_rate) for name, mel in mels.items()
        }

    def _inputs(self, sample: Sample) -> dict[str, npt.NDArray[Any]]:
        units, n_frames = self._units(sample), len(sample.series["mel"])
        conditions = {k: v for k, v in sample.series.items() if k not in ("mel", self.config.unit_column)}
        return frame_inputs({**conditions, "units": units}, n_frames, self.rates)

    def _units(self, sample: Sample) -> npt.NDArray[Any]:
        units, n_frames = sample.series[self.config.unit_column], len(sample.series["mel"])
        if not len(units) or not n_frames:
            raise DataError(
                f"sample {sample.key} has {len(units)} units and {n_frames} mel frames; build the set again"
            )
        if self.config.units == "discrete" and units.max() >= self.config.n_units:
            raise DataError(
                f"sample {sample.key} has the unit {units.max()}, but n_units is {self.config.n_units}; "
                "set n_units to the size of the codebook"
            )
        return units

    def _singer(self, sample: Sample, training: bool) -> int:
        name = sample.info["singer"]
        withheld = training and sample.rng("singer").random() < self.config.singer_dropout
        if name is None or not self.config.use_singer or withheld:
            return UNKNOWN_SINGER
        if name not in self.singer_rows:
            raise SchemaMismatch(
                f"sample {sample.key} is sung by {name!r}, who is not in the set's table; build it again"
            )
        return self.singer_rows[name]


def _ridge(inputs: npt.NDArray[Any], outputs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the weights (S + 1, M), the last of a constant, by which outputs (F, M) are most linear in inputs."""
    wide = np.concatenate([inputs.astype(np.float64), np.ones((len(inputs), 1))], axis=1)
    square = wide.T @ wide + 1e-3 * len(inputs) * np.eye(wide.shape[1])
    found: npt.NDArray[np.float64] = np.linalg.solve(square, wide.T @ outputs)
    return found
