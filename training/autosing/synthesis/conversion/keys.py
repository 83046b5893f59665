"""How far a song is moved so that it lies where the singer who is asked for sings, and whether that was trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.models.directory import LoadedModel

Array = npt.NDArray[Any]

# With less pitch than this a median says nothing.
LEAST_VOICED_S = 0.25
# A voice that keeps one note within half a semitone tells that note, and not how high it sings.
MONOTONE_CENTS = 50.0
# As much of the pitch may lie outside of the range that was trained, whose ends leave as much out.
MOST_OUTSIDE = 0.05


@dataclass(frozen=True)
class TrainedPitch:
    """What a model was trained on.

    Attributes:
        medians_hz: of the voiced pitch, by singer, as far as it is known.
        range_hz: lowest and highest pitch, augmentation included; None where it is not known.
    """

    medians_hz: Mapping[str, float]
    range_hz: tuple[float, float] | None

    @classmethod
    def of(cls, loaded: LoadedModel) -> "TrainedPitch":
        """Returns what a model keeps beside its weights, by row of its table, or what its contract tells."""
        contract, model = loaded.contract, loaded.model
        medians = {name: float(hz) for name, hz in (contract.get("f0_medians_hz") or {}).items()}
        told = contract.get("f0_range_hz") or (0, 0)
        if hasattr(model, "f0_medians_hz"):
            rows, told = (getattr(model, name).tolist() for name in ("f0_medians_hz", "f0_range_hz"))
            medians |= dict(zip(contract.get("singers", ()), rows[1:], strict=False))
        low_hz, high_hz = map(float, told)
        # A pitch of 0 was never measured.
        known = {name: hz for name, hz in medians.items() if hz > 0}
        return cls(known, (low_hz, high_hz) if high_hz > 0 else None)


@dataclass(frozen=True)
class SourcePitch:
    """The pitch of a recording.

    Attributes:
        voiced_hz: of the voiced frames.
        median_hz: None where it says nothing.
        reason: why it says nothing.
    """

    voiced_hz: npt.NDArray[np.float32]
    median_hz: float | None
    reason: str = ""

    @classmethod
    def of(cls, f0_hz: Array, voiced: Array, frames_per_s: float) -> "SourcePitch":
        """Returns the pitch of a track (F,)."""
        voiced_hz = np.asarray(f0_hz, np.float32)[np.asarray(voiced, bool) & (np.asarray(f0_hz) > 0)]
        if len(voiced_hz) < LEAST_VOICED_S * frames_per_s:
            return cls(voiced_hz, None, f"it is voiced for {len(voiced_hz) / frames_per_s:.2f} s only")
        low_hz, high_hz = np.percentile(voiced_hz, (5, 95))
        if 1200 * np.log2(high_hz / low_hz) < MONOTONE_CENTS:
            return cls(voiced_hz, None, f"it keeps to one pitch, {np.median(voiced_hz):.0f} Hz")
        return cls(voiced_hz, float(np.median(voiced_hz)))


@dataclass(frozen=True)
class Key:
    """Semitones that the pitch is moved by, and what is to be said of it."""

    semitones: float
    target_median_hz: float | None = None
    warnings: tuple[str, ...] = ()


def target_median_hz(medians_hz: Mapping[str, float], shares: Mapping[str, float]) -> float | None:
    """Returns the median pitch of a mixture of singers, in octaves; None where that of one is not known."""
    if any(name not in medians_hz for name, share in shares.items() if share > 0):
        return None
    octaves = sum(share * np.log2(medians_hz[name]) for name, share in shares.items() if share > 0)
    return float(2 ** (octaves / sum(shares.values())))


def auto_key(source: SourcePitch, target_hz: float | None, rounded: bool) -> Key:
    """Returns the key in which the median of the source becomes that of the target; 0 with a warning without one."""
    if source.median_hz is None:
        return Key(0.0, target_hz, (f"the source's pitch has no median ({source.reason}): the key stays; say --key",))
    if target_hz is None:
        return Key(0.0, None, ("how high the singer sings is not known to the model: the key stays; say --key",))
    semitones = float(12 * np.log2(target_hz / source.median_hz))
    return Key(float(round(semitones)) if rounded else semitones, target_hz)


def range_warnings(source: SourcePitch, semitones: float, range_hz: tuple[float, float] | None) -> tuple[str, ...]:
    """Returns what is to be said where much of the pitch lies outside of what was trained."""
    if range_hz is None or not len(source.voiced_hz):
        return ()
    moved_hz = source.voiced_hz * 2 ** (semitones / 12)
    outside = float(np.mean((moved_hz < range_hz[0]) | (moved_hz > range_hz[1])))
    if outside <= MOST_OUTSIDE:
        return ()
    told = f"{100 * outside:.0f} % of the pitch is outside of what the model was trained on"
    return (f"in the key {semitones:+g} {told}, {range_hz[0]:.0f} to {range_hz[1]:.0f} Hz; say another --key",)
