"""How far F0 tracks are from each other: in cents where both are voiced, and in where they are voiced.

NaN, never 0 or 1, is the outcome where there is nothing to measure: no frame voiced in both (the errors), none voiced
in the target (RPA, RCA, recall) or none unvoiced (false alarms), none voiced at all (F1). Average over songs with
`numpy.nanmean`, or put the tracks end to end to weigh frames equally.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.training.metrics.shapes import require_equal_shapes

Doubles = npt.NDArray[np.float64]

_OCTAVE_CENTS = 1200


class PitchTrack(NamedTuple):
    """A pitch track.

    f0_hz: (F,), above 0 where voiced.
    voiced: (F,), 1 or true where there is a pitch.
    """

    f0_hz: npt.NDArray[np.floating[Any]]
    voiced: npt.NDArray[Any]


@dataclass(frozen=True)
class PitchAccuracy:
    """The measures of melody extraction, as shares of frames from 0 to 1 (Poliner et al., 2007).

    Attributes:
        rpa: raw pitch accuracy, voiced frames of the target whose pitch is right.
        rca: raw chroma accuracy, the same with octaves forgiven.
        overall_accuracy: all frames that are right: in pitch where voiced, or rightly unvoiced.
        voicing_recall: voiced frames of the target that are called voiced.
        voicing_false_alarm: unvoiced frames of the target that are called voiced.
    """

    rpa: float
    rca: float
    overall_accuracy: float
    voicing_recall: float
    voicing_false_alarm: float


def f0_rmse_cents(predicted: PitchTrack, target: PitchTrack) -> float:
    """Returns the root mean square error in cents over the frames voiced in both; NaN if there is none.

    Raises:
        ValueError: the tracks have two lengths or no frame, or a voiced frame has no pitch.
    """
    error = _errors_cents(predicted, target)
    return float(np.sqrt(np.mean(np.square(error)))) if len(error) else math.nan


def f0_median_error_cents(predicted: PitchTrack, target: PitchTrack) -> float:
    """Returns the median absolute error in cents over the frames voiced in both; NaN if there is none.

    Octave errors, which rule the root mean square, do not move it.

    Raises:
        ValueError: the tracks have two lengths or no frame, or a voiced frame has no pitch.
    """
    error = _errors_cents(predicted, target)
    return float(np.median(np.abs(error))) if len(error) else math.nan


def log_f0_correlation(predicted: PitchTrack, target: PitchTrack) -> float:
    """Returns Pearson's correlation of the log-F0 over the frames voiced in both.

    NaN if there are fewer than two such frames, or if one of the tracks is constant there.

    Raises:
        ValueError: the tracks have two lengths or no frame, or a voiced frame has no pitch.
    """
    both = _voiced_in_both(predicted, target)
    p, t = (np.log(track.f0_hz[both].astype(np.float64)) for track in (predicted, target))
    if len(p) < 2 or np.ptp(p) == 0 or np.ptp(t) == 0:
        return math.nan
    return float(np.corrcoef(p, t)[0, 1])


def octave_error_rate(predicted: PitchTrack, target: PitchTrack, tolerance_cents: float = 50) -> float:
    """Returns the share of the frames voiced in both that are one or more whole octaves off; NaN if there is none.

    Whole means within `tolerance_cents`: what RCA forgives and RPA does not.

    Raises:
        ValueError: the tracks have two lengths or no frame, or a voiced frame has no pitch.
    """
    error = _errors_cents(predicted, target)
    octaves = np.round(error / _OCTAVE_CENTS)
    whole = np.abs(error - octaves * _OCTAVE_CENTS) < tolerance_cents
    return float(np.mean(whole & (octaves != 0))) if len(error) else math.nan


def voicing_f1(predicted: PitchTrack, target: PitchTrack) -> float:
    """Returns the F1 of the frames that are called voiced (V/UV F1); NaN if neither track is ever voiced.

    Raises:
        ValueError: the tracks have two lengths or no frame, or a voiced frame has no pitch.
    """
    hits = len(_errors_cents(predicted, target))
    called = int(np.count_nonzero(predicted.voiced)) + int(np.count_nonzero(target.voiced))
    return 2 * hits / called if called else math.nan


def pitch_accuracy(predicted: PitchTrack, target: PitchTrack, tolerance_cents: float = 50) -> PitchAccuracy:
    """Returns the measures of `mir_eval.melody` of two tracks.

    RPA and RCA look at the pitch alone, as `mir_eval` does: an `f0_hz` above 0 counts in a frame called unvoiced too.

    Raises:
        ValueError: the tracks have two lengths or no frame, or a voiced frame has no pitch.
    """
    from mir_eval import melody

    _voiced_in_both(predicted, target)
    voiced, called = target.voiced.astype(bool), predicted.voiced.astype(bool)
    tracks = voiced.astype(float), _cents(target), called.astype(float), _cents(predicted)
    voicing = tracks[0], tracks[2]
    melodious, silent = bool(voiced.any()), bool((~voiced).any())
    return PitchAccuracy(
        rpa=_share(melody.raw_pitch_accuracy, *tracks, tolerance_cents) if melodious else math.nan,
        rca=_share(melody.raw_chroma_accuracy, *tracks, tolerance_cents) if melodious else math.nan,
        overall_accuracy=_share(melody.overall_accuracy, *tracks, tolerance_cents),
        voicing_recall=_share(melody.voicing_recall, *voicing) if melodious else math.nan,
        voicing_false_alarm=_share(melody.voicing_false_alarm, *voicing) if silent else math.nan,
    )


def _share(measure: Callable[..., Any], *arguments: Any) -> float:
    with warnings.catch_warnings():
        # An estimate without a voiced frame is a result here, not a mistake of the caller.
        warnings.filterwarnings("ignore", message=".*has no voiced frames", category=UserWarning)
        return float(measure(*arguments))


def _cents(track: PitchTrack) -> Doubles:
    """Returns the pitch in cents above 10 Hz, 0 where there is none, as `mir_eval` wants it."""
    f0_hz = track.f0_hz.astype(np.float64)
    return np.where(f0_hz > 0, _OCTAVE_CENTS * np.log2(np.where(f0_hz > 0, f0_hz, 10) / 10), 0.0)


def _errors_cents(predicted: PitchTrack, target: PitchTrack) -> Doubles:
    """Returns the predicted minus the true pitch in cents at the frames voiced in both."""
    both = _voiced_in_both(predicted, target)
    ratio = predicted.f0_hz[both].astype(np.float64) / target.f0_hz[both]
    return np.asarray(_OCTAVE_CENTS * np.log2(ratio))


def _voiced_in_both(predicted: PitchTrack, target: PitchTrack) -> npt.NDArray[np.bool_]:
    for name, track in (("predicted", predicted), ("target", target)):
        require_equal_shapes(track.f0_hz, track.voiced)
        pitch = track.f0_hz[track.voiced.astype(bool)]
        if not (np.isfinite(pitch) & (pitch > 0)).all():
            raise ValueError(f"the {name} track has a voiced frame without a pitch above 0 Hz; set `voiced` to 0 there")
    require_equal_shapes(predicted.f0_hz, target.f0_hz)
    return np.asarray(predicted.voiced.astype(bool) & target.voiced.astype(bool))
