"""What the trainers of content encoders share: heads' settings, hidden frames, labels, losses and figures."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from autosing.models.acoustic_input import interpolate, pad_stack
from autosing.models.listener import Heard, Listener
from autosing.signal.errors import DataError, UsageError
from autosing.signal.framing import nearest_frames
from autosing.training.loader import Batch
from autosing.training.look import Look
from autosing.training.manifest import AUDIO, Manifest, described, rates_of
from autosing.training.pictures import attention_figure
from autosing.training.sample import Sample
from autosing.training.task import Phase, RunConfig, Task, Tensors

UNITS = "units"
UNIT_LOSS, PITCH_LOSS, DYNAMIC_LOSS = "units", "pitch", "dynamics"
# Ends the name of a loss over frames that are hidden; without it a loss is over those that are heard.
MASKED = "_masked"
LOSSES = (UNIT_LOSS, PITCH_LOSS, DYNAMIC_LOSS)
METRIC = "nats"
NOT_COUNTED = -100


@dataclass(frozen=True, kw_only=True)
class ListenerConfig(RunConfig):
    """Settings of every trainer of content encoders.

    Attributes:
        n_units: of the discrete units that soft ones lie among; 0 hears none.
        soft_dim: width of the soft units.
        temperature: of the cosines.
        pitch_bins: how many bins of pitch there are above the lowest that is measured; 0 hears none.
        pitch_cents: width of a bin of pitch.
        dynamic_bins: how many bins of dynamics there are between the quietest and the loudest; 0 hears none.
        masked_share: of the frames that are hidden in training, less where spans overlap; 0 hides none.
        masked_span: frames of a hidden span.
        masked_weight: of the losses of hidden frames.
        unmasked_weight: of the losses of frames that are heard; with 0, as in Soft-VC's masked training, they teach
            nothing.
        dropout: in the layers.
    """

    n_units: int = 100
    soft_dim: int = 256
    temperature: float = 0.1
    pitch_bins: int = 0
    pitch_cents: float = 50.0
    dynamic_bins: int = 0
    masked_share: float = 0.3
    masked_span: int = 10
    masked_weight: float = 1.0
    unmasked_weight: float = 1.0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_above_0("soft_dim", "temperature", "pitch_cents", "masked_span")
        self.require_not_below_0("n_units", "pitch_bins", "dynamic_bins", "masked_weight", "unmasked_weight")
        if not 0 <= self.masked_share < 1:
            raise UsageError(f"masked_share is {self.masked_share}; it must be from 0 to below 1")
        if not (self.n_units or self.pitch_bins or self.dynamic_bins):
            raise UsageError("n_units, pitch_bins and dynamic_bins are all 0; there is nothing to hear")
        if not self.unmasked_weight and not (self.masked_share and self.masked_weight):
            raise UsageError("unmasked_weight is 0, and no hidden frames teach; set it, or masked_share, above 0")

    @property
    def heard(self) -> tuple[str, ...]:
        """The series that say what is to be heard."""
        units = (UNITS,) if self.n_units else ()
        pitch = ("f0_hz", "voiced") if self.pitch_bins else ()
        return *units, *pitch, *(("energy",) if self.dynamic_bins else ())


class ListenerTask(Task[Listener]):
    """Cross-entropies of units, and of pitch and dynamics with labels that are soft over neighbouring bins.

    Attributes:
        of_voiced: the figures of validation that are shares of the voiced frames; the others are of all.

    Raises:
        MissingColumn: the set lacks a column that the settings use.
    """

    metric: ClassVar[str] = METRIC
    overfit_bound: ClassVar[float] = 0.3
    of_voiced: ClassVar[tuple[str, ...]] = ("pitch_within_semitone", "dynamics_within_bin")

    def __init__(self, config: ListenerConfig, manifest: Manifest) -> None:
        manifest.require(config.columns)
        self.config: ListenerConfig = config
        self.column_of = {name: manifest.columns[name] for name in config.columns if name != AUDIO}
        self.rates = rates_of(self.column_of)
        self.artefacts = manifest.artefacts

    def initialise(self, model: Listener, samples: Iterable[Sample]) -> None:
        """Measures the bins of pitch and dynamics on samples all over the training data."""
        pitches, levels = [np.zeros(0)], [np.zeros(0)]
        for sample in samples:
            if self.config.pitch_bins:
                pitches.append(np.where(sample.series["voiced"] > 0, sample.series["f0_hz"], 0))
            if self.config.dynamic_bins:
                levels.append(sample.series["energy"])
        model.measure(np.concatenate(pitches), np.concatenate(levels))

    def phases(self) -> Sequence[Phase]:
        """Returns one turn, in which frames that are heard, and hidden ones, count as much as is set."""
        heard = dict.fromkeys(LOSSES, self.config.unmasked_weight)
        return (Phase(weights={**heard, **{name + MASKED: self.config.masked_weight for name in LOSSES}}),)

    def contract(self) -> Mapping[str, Any]:
        """Returns rates and definitions, and the codebook of the units."""
        return {**described(self.column_of), "artefacts": self.artefacts if self.config.n_units else {}}

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns what is listened to, which frames are hidden, and what is to be heard, side by side."""
        arrays, counts = self._listened_to(samples)
        hidden = [self._hidden(sample, n, training) for sample, n in zip(samples, counts, strict=True)]
        arrays |= {"frames": np.array(counts, np.int64), "is_hidden": pad_stack(hidden)}
        n_hidden = int(sum(one.sum() for one in hidden))
        elements = dict.fromkeys(LOSSES, sum(counts) - n_hidden)
        elements |= {name + MASKED: n_hidden for name in LOSSES}
        if self.config.n_units:
            arrays[UNITS] = pad_stack([self._units(s, n) + 1 for s, n in zip(samples, counts, strict=True)]) - 1
        if self.config.pitch_bins:
            arrays["f0_hz"] = pad_stack([self._f0(s, n) for s, n in zip(samples, counts, strict=True)])
        if self.config.dynamic_bins:
            arrays["energy"] = pad_stack([self._energy(s, n) for s, n in zip(samples, counts, strict=True)])
        seconds = sum(float(sample.info["seconds"]) for sample in samples)
        return Batch(arrays, elements, tuple(sample.key for sample in samples), seconds)

    def losses(self, model: Listener, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns cross-entropies in nats, summed over frames; of soft labels, beyond what the labels' blur costs."""
        heard = self._heard(model, batch, batch["is_hidden"])
        return self._losses(model, heard, batch)

    def validate(self, model: Listener, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns nats per frame, all losses together, and how often each is right, of frames that it is about."""
        totals: dict[str, float] = {}
        for batch in batches:
            heard = self._heard(model, batch)
            losses = self._losses(model, heard, batch)
            found = {METRIC: sum(losses.values(), torch.zeros(())), **self._right(model, heard, batch)}
            found["frames"] = batch["frames"].sum()
            for name, value in found.items():
                totals[name] = totals.get(name, 0.0) + float(value)
        frames = max(totals.pop("frames"), 1.0)
        voiced = max(totals.pop("voiced_frames", 0.0), 1.0)
        return {name: total / (voiced if name in self.of_voiced else frames) for name, total in totals.items()}

    def look(self, model: Listener, batch: Tensors) -> Look:
        """Returns what is heard of the first sample: probabilities of units, and of pitch."""
        n = int(batch["frames"][0])
        heard = self._heard(model, {name: tensor[:1] for name, tensor in batch.items()})
        figures = {}
        for name, logits in (("units", heard.units), ("pitch", heard.pitch), ("dynamics", heard.dynamics)):
            if logits is not None:
                probability = logits[0, :n].float().softmax(-1).cpu().numpy()
                figures[name] = attention_figure(probability.T, None, float(self.rate))
        return Look(figures)

    @property
    @abstractmethod
    def rate(self) -> Fraction:
        """Frames per second of what is listened to."""

    @abstractmethod
    def _listened_to(self, samples: Sequence[Sample]) -> tuple[dict[str, npt.NDArray[Any]], list[int]]:
        """Returns what is listened to side by side, by name, and how many frames each sample has."""

    @abstractmethod
    def _heard(self, model: Any, batch: Tensors, is_hidden: Tensor | None = None) -> Heard:
        """Returns what is heard of a batch, in which some frames may be hidden."""

    def _losses(self, model: Listener, heard: Heard, batch: Tensors) -> dict[str, Tensor]:
        hidden_BN = batch["is_hidden"].float() if model.training else torch.zeros_like(batch["is_hidden"]).float()
        open_BN = frames_mask(batch).float() - hidden_BN
        nats = self._nats(model, heard, batch)
        found = {name: (nats_BN * open_BN).sum() for name, nats_BN in nats.items()}
        if self.config.masked_share:
            found |= {name + MASKED: (nats_BN * hidden_BN).sum() for name, nats_BN in nats.items()}
        return found

    def _nats(self, model: Listener, heard: Heard, batch: Tensors) -> dict[str, Tensor]:
        """Returns for each loss how wrong every frame is, (B, N); what lies behind a sample's end is not to count."""
        found: dict[str, Tensor] = {}
        if heard.units is not None:
            wanted = torch.where(frames_mask(batch), batch[UNITS].long(), NOT_COUNTED)
            told = heard.units.transpose(1, 2)
            found[UNIT_LOSS] = functional.nll_loss(told, wanted, ignore_index=NOT_COUNTED, reduction="none")
        if heard.pitch is not None:
            found[PITCH_LOSS] = _divergence(heard.pitch, self._pitch_labels(model, batch))
        if heard.dynamics is not None:
            found[DYNAMIC_LOSS] = _divergence(heard.dynamics, self._dynamic_labels(model, batch))
        return found

    def _pitch_labels(self, model: Listener, batch: Tensors) -> Tensor:
        """Returns the probability of being unvoiced and of each bin, (B, N, 1 + P)."""
        is_voiced = (batch["f0_hz"] > 0).float()[..., None]
        return torch.cat([1 - is_voiced, is_voiced * model.pitches.soft_labels(batch["f0_hz"])], dim=-1)

    def _dynamic_labels(self, model: Listener, batch: Tensors) -> Tensor:
        """Returns the probability of each bin, (B, N, D)."""
        places = torch.from_numpy(model.dynamic_places(batch["energy"].cpu().numpy())).to(batch["energy"].device)
        bins = torch.arange(self.config.dynamic_bins, device=places.device)
        return torch.softmax(-0.5 * ((bins - places[..., None]) / 0.5).square(), dim=-1)

    def _right(self, model: Listener, heard: Heard, batch: Tensors) -> dict[str, Tensor]:
        """Returns how many frames are heard right; of pitch and dynamics, among the voiced ones."""
        mask_BN = frames_mask(batch)
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
            span = self.config.masked_span
            n_spans = int(self.config.masked_share * n_frames / span + rng.random())
            for start in rng.integers(0, max(n_frames - span, 0) + 1, n_spans).tolist():
                hidden[start : start + span] = True
        return hidden

    def _units(self, sample: Sample, n_frames: int) -> npt.NDArray[np.int64]:
        units = sample.series[UNITS].astype(np.int64)
        if not len(units) or units.max() >= self.config.n_units:
            told = f"the unit {units.max()}" if len(units) else "no units"
            raise DataError(
                f"sample {sample.key} has {told}, and n_units is {self.config.n_units}; set n_units to the size of the "
                "codebook, or build the set again"
            )
        return units[nearest_frames(n_frames, self.rate, len(units), self.rates[UNITS])]

    def _f0(self, sample: Sample, n_frames: int) -> npt.NDArray[np.float32]:
        f0_hz = np.where(sample.series["voiced"] > 0, sample.series["f0_hz"], 0).astype(np.float32)
        return f0_hz[nearest_frames(n_frames, self.rate, len(f0_hz), self.rates["f0_hz"])]

    def _energy(self, sample: Sample, n_frames: int) -> npt.NDArray[np.float32]:
        energy = sample.series["energy"].astype(np.float32)
        return interpolate(energy, n_frames, self.rate, self.rates["energy"]).astype(np.float32)


def frames_mask(batch: Tensors) -> Tensor:
    """Returns which frames of a batch are a sample's, (B, N)."""
    return torch.arange(batch["is_hidden"].shape[1], device=batch["frames"].device) < batch["frames"][:, None]


def _divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """Returns how far a prediction is from soft labels, in nats: 0 where it is the same."""
    return functional.kl_div(logits.float().log_softmax(-1), wanted, reduction="none").sum(-1)
