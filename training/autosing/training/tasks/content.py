"""The trainer of content encoders: features of a speech encoder to soft units, pitch and dynamics."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from autosing.models.acoustic import Size
from autosing.models.acoustic_input import interpolate, pad_stack
from autosing.models.content import CONTENT_SIZES, ContentEncoder, ContentFields, Heard
from autosing.signal.errors import DataError, UsageError
from autosing.signal.framing import nearest_frames
from autosing.training.loader import Batch
from autosing.training.look import Look
from autosing.training.manifest import Manifest, described, rates_of
from autosing.training.pictures import attention_figure
from autosing.training.sample import Sample
from autosing.training.task import Phase, RunConfig, Task, Tensors

SSL, UNITS = "ssl", "units"
UNIT_LOSS, MASKED_LOSS, PITCH_LOSS, DYNAMIC_LOSS = "units", "units_masked", "pitch", "dynamics"
METRIC = "nats"
# Of masked spans, in frames.
SPAN = 10
NOT_COUNTED = -100


@dataclass(frozen=True, kw_only=True)
class ContentConfig(RunConfig):
    """Settings of the trainer of content encoders.

    Attributes:
        size: of the encoder.
        n_layers: how many layers of an encoder lie side by side in `ssl`.
        n_units: of the discrete units that soft ones lie among; 0 hears none.
        soft_dim: width of the soft units.
        temperature: of the cosines.
        pitch_bins: how many bins of pitch there are above the lowest that is measured; 0 hears none.
        pitch_cents: width of a bin of pitch.
        dynamic_bins: how many bins of dynamics there are between the quietest and the loudest; 0 hears none.
        masked_share: of the frames, in spans of ten, that are hidden in training; 0 hides none.
        masked_weight: of the units of hidden frames, beside 1 of those that are heard. Soft-VC's 1.0 of either alone
            leaves the others untaught.
        dropout: in the layers.
    """

    size: Size = "small"
    n_layers: int = 1
    n_units: int = 100
    soft_dim: int = 256
    temperature: float = 0.1
    pitch_bins: int = 0
    pitch_cents: float = 50.0
    dynamic_bins: int = 0
    masked_share: float = 0.3
    masked_weight: float = 1.0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_above_0("n_layers", "soft_dim", "temperature", "pitch_cents")
        self.require_not_below_0("n_units", "pitch_bins", "dynamic_bins", "masked_weight")
        if not 0 <= self.masked_share < 1:
            raise UsageError(f"masked_share is {self.masked_share}; it must be from 0 to below 1")
        if not (self.n_units or self.pitch_bins or self.dynamic_bins):
            raise UsageError("n_units, pitch_bins and dynamic_bins are all 0; there is nothing to hear")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        units = (UNITS,) if self.n_units else ()
        pitch = ("f0_hz", "voiced") if self.pitch_bins else ()
        return SSL, *units, *pitch, *(("energy",) if self.dynamic_bins else ())

    def task(self, manifest: Manifest) -> "ContentTask":
        """Returns the task on a built set."""
        return ContentTask(self, manifest)


class ContentTask(Task[ContentEncoder]):
    """Cross-entropies of units, and of pitch and dynamics with labels that are soft over neighbouring bins.

    Raises:
        MissingColumn: the set lacks a column that the settings use.
    """

    metric: ClassVar[str] = METRIC
    overfit_bound: ClassVar[float] = 0.3

    def __init__(self, config: ContentConfig, manifest: Manifest) -> None:
        manifest.require(config.columns)
        self.config: ContentConfig = config
        self.column_of = {name: manifest.columns[name] for name in config.columns}
        self.rates = rates_of(self.column_of)
        self.artefacts = manifest.artefacts

    def build(self) -> ContentEncoder:
        """Returns the encoder with random weights."""
        config, column = self.config, self.column_of[SSL]
        dim, layers = CONTENT_SIZES[config.size]
        fields = ContentFields(
            rate=str(column.rate),
            feature_dim=column.dim or 1,
            n_layers=config.n_layers,
            n_units=config.n_units,
            soft_dim=config.soft_dim,
            temperature=config.temperature,
            pitch_bins=config.pitch_bins,
            pitch_cents=config.pitch_cents,
            dynamic_bins=config.dynamic_bins,
            dim=dim,
            layers=layers,
            dropout=config.dropout,
        )
        return ContentEncoder(fields)

    def initialise(self, model: ContentEncoder, samples: Iterable[Sample]) -> None:
        """Measures the bins of pitch and dynamics on samples all over the training data."""
        pitches, levels = [np.zeros(0)], [np.zeros(0)]
        for sample in samples:
            if self.config.pitch_bins:
                pitches.append(np.where(sample.series["voiced"] > 0, sample.series["f0_hz"], 0))
            if self.config.dynamic_bins:
                levels.append(sample.series["energy"])
        model.measure(np.concatenate(pitches), np.concatenate(levels))

    def phases(self) -> Sequence[Phase]:
        """Returns one turn, in which hidden frames count as much as is set."""
        return (Phase(weights={MASKED_LOSS: self.config.masked_weight}),)

    def contract(self) -> Mapping[str, Any]:
        """Returns rates and definitions, and the codebook of the units."""
        return {**described(self.column_of), "artefacts": self.artefacts if self.config.n_units else {}}

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns features, which frames are hidden, and what is to be heard, side by side."""
        features = [sample.series[SSL].astype(np.float32) for sample in samples]
        counts = [len(one) for one in features]
        hidden = [self._hidden(sample, n, training) for sample, n in zip(samples, counts, strict=True)]
        arrays: dict[str, npt.NDArray[Any]] = {
            SSL: pad_stack(features),
            "frames": np.array(counts, np.int64),
            "is_hidden": pad_stack(hidden),
        }
        n_frames, n_hidden = sum(counts), int(sum(one.sum() for one in hidden))
        elements = {UNIT_LOSS: n_frames - n_hidden, MASKED_LOSS: n_hidden}
        elements |= dict.fromkeys((PITCH_LOSS, DYNAMIC_LOSS), n_frames)
        if self.config.n_units:
            arrays[UNITS] = pad_stack([self._units(s, n) + 1 for s, n in zip(samples, counts, strict=True)]) - 1
        if self.config.pitch_bins:
            arrays["f0_hz"] = pad_stack([self._f0(s, n) for s, n in zip(samples, counts, strict=True)])
        if self.config.dynamic_bins:
            arrays["energy"] = pad_stack([self._energy(s, n) for s, n in zip(samples, counts, strict=True)])
        seconds = sum(float(sample.info["seconds"]) for sample in samples)
        return Batch(arrays, elements, tuple(sample.key for sample in samples), seconds)

    def losses(self, model: ContentEncoder, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns cross-entropies in nats, summed over frames; of soft labels, beyond what the labels' blur costs."""
        heard = model(batch[SSL], batch["frames"], batch["is_hidden"] if self.config.masked_share else None)
        return self._losses(model, heard, batch)

    def validate(self, model: ContentEncoder, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns nats per frame, all losses together, and how often each is right, of frames that it is about."""
        totals: dict[str, float] = {}
        for batch in batches:
            heard = model(batch[SSL], batch["frames"])
            losses = self._losses(model, heard, batch)
            found = {METRIC: sum(losses.values(), torch.zeros(())), **self._right(model, heard, batch)}
            found["frames"] = batch["frames"].sum()
            for name, value in found.items():
                totals[name] = totals.get(name, 0.0) + float(value)
        frames = max(totals.pop("frames"), 1.0)
        voiced = max(totals.pop("voiced_frames", 0.0), 1.0)
        return {
            name: total / (voiced if name in ("pitch_within_semitone", "dynamics_within_bin") else frames)
            for name, total in totals.items()
        }

    def look(self, model: ContentEncoder, batch: Tensors) -> Look:
        """Returns what is heard of the first sample: probabilities of units, and of pitch."""
        n = int(batch["frames"][0])
        heard = model(batch[SSL][:1], batch["frames"][:1])
        rate = self.column_of[SSL].rate
        figures = {}
        for name, logits in (("units", heard.units), ("pitch", heard.pitch), ("dynamics", heard.dynamics)):
            if logits is not None:
                probability = logits[0, :n].float().softmax(-1).cpu().numpy()
                figures[name] = attention_figure(probability.T, None, float(rate) if rate else None)
        return Look(figures)

    def _losses(self, model: ContentEncoder, heard: Heard, batch: Tensors) -> dict[str, Tensor]:
        mask_BN = (torch.arange(batch[SSL].shape[1], device=batch[SSL].device) < batch["frames"][:, None]).float()
        found: dict[str, Tensor] = {}
        if heard.units is not None:
            wanted = torch.where(mask_BN > 0, batch[UNITS].long(), NOT_COUNTED)
            nats_BN = functional.nll_loss(
                heard.units.transpose(1, 2), wanted, ignore_index=NOT_COUNTED, reduction="none"
            )
            hidden_BN = batch["is_hidden"].float() if model.training else torch.zeros_like(mask_BN)
            found |= {UNIT_LOSS: (nats_BN * (1 - hidden_BN)).sum(), MASKED_LOSS: (nats_BN * hidden_BN).sum()}
        if heard.pitch is not None:
            soft_BNP = model.pitches.soft_labels(batch["f0_hz"])
            is_voiced = (batch["f0_hz"] > 0).float()[..., None]
            wanted_BNP = torch.cat([1 - is_voiced, is_voiced * soft_BNP], dim=-1)
            found[PITCH_LOSS] = (_divergence(heard.pitch, wanted_BNP) * mask_BN).sum()
        if heard.dynamics is not None:
            found[DYNAMIC_LOSS] = (_divergence(heard.dynamics, self._dynamic_labels(model, batch)) * mask_BN).sum()
        return found

    def _dynamic_labels(self, model: ContentEncoder, batch: Tensors) -> Tensor:
        places = torch.from_numpy(model.dynamic_places(batch["energy"].cpu().numpy())).to(batch["energy"].device)
        bins = torch.arange(self.config.dynamic_bins, device=places.device)
        return torch.softmax(-0.5 * ((bins - places[..., None]) / 0.5).square(), dim=-1)

    def _right(self, model: ContentEncoder, heard: Heard, batch: Tensors) -> dict[str, Tensor]:
        """Returns how many frames are heard right; of pitch and dynamics, among the voiced ones."""
        mask_BN = torch.arange(batch[SSL].shape[1], device=batch[SSL].device) < batch["frames"][:, None]
        found: dict[str, Tensor] = {}
        if heard.units is not None:
            found["units_accuracy"] = ((heard.units.argmax(-1) == batch[UNITS]) & mask_BN).sum()
        voiced_BN = mask_BN & (batch["f0_hz"] > 0) if "f0_hz" in batch else mask_BN
        found["voiced_frames"] = voiced_BN.sum()
        if heard.pitch is not None:
            told = heard.pitch.argmax(-1)
            off = 12 * torch.log2(model.pitches.pitch_hz(heard.pitch[..., 1:], 1) / batch["f0_hz"].clamp(min=1.0))
            found["pitch_within_semitone"] = ((off.abs() <= 1) & (told > 0) & voiced_BN).sum()
            found["voicing_accuracy"] = (((told > 0) == (batch["f0_hz"] > 0)) & mask_BN).sum()
        if heard.dynamics is not None:
            true = self._dynamic_labels(model, batch).argmax(-1)
            found["dynamics_within_bin"] = (((heard.dynamics.argmax(-1) - true).abs() <= 1) & voiced_BN).sum()
        return found

    def _hidden(self, sample: Sample, n_frames: int, training: bool) -> npt.NDArray[np.bool_]:
        """Returns which frames are hidden: spans at random places, which may overlap."""
        hidden = np.zeros(n_frames, np.bool_)
        if training and self.config.masked_share:
            rng = sample.rng("hidden")
            n_spans = int(self.config.masked_share * n_frames / SPAN + rng.random())
            for start in rng.integers(0, max(n_frames - SPAN, 0) + 1, n_spans).tolist():
                hidden[start : start + SPAN] = True
        return hidden

    def _units(self, sample: Sample, n_frames: int) -> npt.NDArray[np.int64]:
        units = sample.series[UNITS].astype(np.int64)
        if not len(units) or units.max() >= self.config.n_units:
            told = f"the unit {units.max()}" if len(units) else "no units"
            raise DataError(
                f"sample {sample.key} has {told}, and n_units is {self.config.n_units}; set n_units to the size of the "
                "codebook, or build the set again"
            )
        return units[nearest_frames(n_frames, self.rates[SSL], len(units), self.rates[UNITS])]

    def _f0(self, sample: Sample, n_frames: int) -> npt.NDArray[np.float32]:
        f0_hz = np.where(sample.series["voiced"] > 0, sample.series["f0_hz"], 0).astype(np.float32)
        return f0_hz[nearest_frames(n_frames, self.rates[SSL], len(f0_hz), self.rates["f0_hz"])]

    def _energy(self, sample: Sample, n_frames: int) -> npt.NDArray[np.float32]:
        energy = sample.series["energy"].astype(np.float32)
        return interpolate(energy, n_frames, self.rates[SSL], self.rates["energy"]).astype(np.float32)


def _divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """Returns how far a prediction is from soft labels, in nats: 0 where it is the same."""
    return functional.kl_div(logits.float().log_softmax(-1), wanted, reduction="none").sum(-1)
