"""What is heard of each frame of an encoder's features, by heads that all content encoders have.

Soft units are Soft-VC's (van Niekerk et al., 2022), bins of pitch and dynamics are measured on the training data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.acoustic_input import ENERGY_FLOOR
from autosing.models.pitch_bins import PitchBins
from autosing.signal.errors import UsageError

DB_PER_NEPER = 20 / np.log(10)
# What is left out at either end of what is measured.
TAIL = 0.001


class HeadFields(Protocol):
    """What the heads are built from.

    Attributes:
        n_units: of the discrete units that soft ones lie among; 0 hears none.
        soft_dim: width of the soft units.
        temperature: of the cosines.
        pitch_bins: how many bins of `pitch_cents` there are; 0 hears no pitch.
        pitch_cents: width of a bin of pitch.
        dynamic_bins: how many bins there are; 0 hears none.
    """

    @property
    def n_units(self) -> int: ...
    @property
    def soft_dim(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def pitch_bins(self) -> int: ...
    @property
    def pitch_cents(self) -> float: ...
    @property
    def dynamic_bins(self) -> int: ...


def check_heads(fields: HeadFields) -> None:
    """Raises UsageError where there is nothing to hear."""
    if not (fields.n_units or fields.pitch_bins or fields.dynamic_bins):
        raise UsageError("a content encoder without units, pitch and dynamics hears nothing")


@dataclass(frozen=True)
class Heard:
    """What is heard of each frame; None of what a model does not hear.

    Attributes:
        soft: (B, N, S), soft units.
        units: (B, N, K), log probabilities of the discrete ones.
        pitch: (B, N, 1 + P), logits of being unvoiced, and of the bins.
        dynamics: (B, N, D), logits of the bins.
    """

    soft: Tensor | None
    units: Tensor | None
    pitch: Tensor | None
    dynamics: Tensor | None


class Listener(nn.Module):
    """The heads on frames of width `dim`, and what stands for frames that are hidden in training."""

    def __init__(self, fields: HeadFields, dim: int) -> None:
        super().__init__()
        self.heads = fields
        # In place of features that are masked in training.
        self.hidden_away = nn.Parameter(torch.zeros(dim))
        self.soft = nn.Linear(dim, fields.soft_dim) if fields.n_units else None
        self.table = nn.Parameter(torch.randn(fields.n_units, fields.soft_dim)) if fields.n_units else None
        self.pitch = nn.Linear(dim, 1 + fields.pitch_bins) if fields.pitch_bins else None
        self.dynamics = nn.Linear(dim, fields.dynamic_bins) if fields.dynamic_bins else None
        # Measured: the centres of the first bins, and the width of those of dynamics.
        self.register_buffer("lowest_hz", torch.tensor(55.0))
        self.register_buffer("lowest_db", torch.tensor(-80.0))
        self.register_buffer("dynamic_db", torch.tensor(2.5))
        self.lowest_hz: Tensor
        self.lowest_db: Tensor
        self.dynamic_db: Tensor

    @property
    def pitches(self) -> PitchBins:
        """The bins of pitch."""
        fields = self.heads
        return PitchBins(float(self.lowest_hz), fields.pitch_cents, fields.pitch_bins, fields.pitch_cents / 2)

    def dynamic_places(self, energy: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """Returns the places of RMS values in bins of dynamics, fractions; those beyond either end are at it."""
        places = (loudness_db(energy) - float(self.lowest_db)) / float(self.dynamic_db)
        return np.asarray(np.clip(places, 0, self.heads.dynamic_bins - 1), np.float32)

    @torch.no_grad()
    def measure(self, f0_hz: npt.NDArray[np.floating[Any]], energy: npt.NDArray[np.floating[Any]]) -> None:
        """Sets the bins by what voices do: all but a thousandth of the pitches and of the levels, at either end."""
        pitches = f0_hz[f0_hz > 0]
        if len(pitches):
            self.lowest_hz.fill_(float(np.quantile(pitches, TAIL)))
        if len(energy) and self.heads.dynamic_bins > 1:
            low_db, high_db = np.quantile(loudness_db(energy), (TAIL, 1 - TAIL))
            self.lowest_db.fill_(float(low_db))
            self.dynamic_db.fill_(float(max(high_db - low_db, 1.0) / (self.heads.dynamic_bins - 1)))

    def hear(self, x_BND: Tensor) -> Heard:
        """Returns what is heard of frames."""
        soft_BNS = self.soft(x_BND) if self.soft else None
        return Heard(
            soft_BNS,
            None if soft_BNS is None else self._units(soft_BNS),
            self.pitch(x_BND) if self.pitch else None,
            self.dynamics(x_BND) if self.dynamics else None,
        )

    def _units(self, soft_BNS: Tensor) -> Tensor:
        assert self.table is not None
        cosine_BNK = functional.normalize(soft_BNS.float(), dim=-1) @ functional.normalize(self.table, dim=-1).T
        return (cosine_BNK / self.heads.temperature).log_softmax(-1)

    def values(self, heard: Heard) -> dict[str, Tensor]:
        """Returns the values of what is heard, by the names that `Content` has: likeliest bins, and the pitch."""
        found: dict[str, Tensor] = {}
        if heard.soft is not None:
            found["soft_units"] = heard.soft
        if heard.pitch is not None:
            found["pitch_bin"] = heard.pitch.argmax(-1)
            pitch_hz = self.pitches.pitch_hz(heard.pitch[..., 1:], around=1)
            found["f0_hz"] = torch.where(found["pitch_bin"] > 0, pitch_hz, 0.0)
        if heard.dynamics is not None:
            found["dynamic_bin"] = heard.dynamics.argmax(-1)
        return found


def loudness_db(energy: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Returns RMS values in dB of full scale, silence as -80."""
    level_db: npt.NDArray[np.float32] = (DB_PER_NEPER * np.log(np.maximum(energy, ENERGY_FLOOR))).astype(np.float32)
    return level_db


@dataclass(frozen=True)
class Content:
    """What is heard of a song; None of what a model does not hear.

    Attributes:
        soft_units: (N, S).
        pitch_bin: (N,), 0 where unvoiced, else 1 + the bin.
        f0_hz: (N,), the pitch itself, 0 where unvoiced.
        dynamic_bin: (N,).
    """

    soft_units: npt.NDArray[np.float32] | None
    pitch_bin: npt.NDArray[np.uint16] | None
    f0_hz: npt.NDArray[np.float32] | None
    dynamic_bin: npt.NDArray[np.uint16] | None

    @classmethod
    def of(cls, values: Mapping[str, npt.NDArray[Any]]) -> "Content":
        """Returns it with bins as whole numbers, of arrays by name; those that are not among them are None."""
        typed = {"soft_units": np.float32, "pitch_bin": np.uint16, "f0_hz": np.float32, "dynamic_bin": np.uint16}
        found: dict[str, Any] = {n: values[n].astype(t) if n in values else None for n, t in typed.items()}
        return cls(**found)
