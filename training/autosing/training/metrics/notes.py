"""How well the notes of a song are transcribed, and how near an F0 track is to the notes of a score."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.training.metrics.pitch import PitchTrack
from autosing.training.metrics.shapes import require_equal_shapes

Doubles = npt.NDArray[np.float64]

ONSET_TOLERANCE_S = 0.05
PITCH_TOLERANCE_CENTS = 50.0
# Of an end, beside the onset's tolerance: a fifth of the true note, as in MIREX.
OFFSET_SHARE = 0.2
_OCTAVE = 12.0


class Notes(NamedTuple):
    """Notes of a song.

    start_s: (N,) in seconds.
    end_s: (N,) in seconds, after the starts.
    midi: (N,) in semitones; A4 = 440 Hz is 69.
    """

    start_s: npt.NDArray[np.floating[Any]]
    end_s: npt.NDArray[np.floating[Any]]
    midi: npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class NoteScores:
    """F1 of notes, from 0 to 1 (Molina et al., 2014); 0 where nothing is transcribed, NaN where there is no true note.

    Attributes:
        con: notes whose onset is right.
        conp: notes whose onset and pitch are right.
        conpoff: notes whose onset, pitch and end are right.
    """

    con: float
    conp: float
    conpoff: float


def note_scores(
    predicted: Notes,
    target: Notes,
    onset_tolerance_s: float = ONSET_TOLERANCE_S,
    pitch_tolerance_cents: float = PITCH_TOLERANCE_CENTS,
) -> NoteScores:
    """Returns the measures of `mir_eval.transcription`; an end is right within the onset's tolerance or a fifth.

    Raises:
        ValueError: a note has no length, a time is negative, or the arrays of `Notes` have several lengths.
    """
    from mir_eval import transcription

    if not len(target.start_s):
        return NoteScores(math.nan, math.nan, math.nan)
    if not len(predicted.start_s):
        return NoteScores(0.0, 0.0, 0.0)
    times, pitches = zip(_as_intervals(target), _as_intervals(predicted), strict=True)
    notes = times[0], pitches[0], times[1], pitches[1]
    limits = {
        "onset_tolerance": onset_tolerance_s,
        "pitch_tolerance": pitch_tolerance_cents,
        "offset_min_tolerance": onset_tolerance_s,
    }
    con = transcription.onset_precision_recall_f1(*times, onset_tolerance=onset_tolerance_s)[2]
    conp = transcription.precision_recall_f1_overlap(*notes, **limits, offset_ratio=None)[2]
    conpoff = transcription.precision_recall_f1_overlap(*notes, **limits, offset_ratio=OFFSET_SHARE)[2]
    return NoteScores(float(con), float(conp), float(conpoff))


def _as_intervals(notes: Notes) -> tuple[Doubles, Doubles]:
    """Returns starts and ends (N, 2) in seconds and pitches (N,) in Hz."""
    require_equal_shapes(notes.start_s, notes.end_s)
    require_equal_shapes(notes.start_s, notes.midi)
    hz = 440 * 2 ** ((notes.midi.astype(np.float64) - 69) / _OCTAVE)
    return np.stack([notes.start_s, notes.end_s], axis=1).astype(np.float64), np.asarray(hz)


def note_deviations_cents(track: PitchTrack, rate_hz: float, notes: Notes) -> Doubles:
    """Returns (N,) how far the median F0 of the voiced frames in each note is from the note; NaN where none is voiced.

    Frame `i` is at `(i + 1/2) / rate_hz`.
    """
    midi = np.full(len(track.f0_hz), np.nan)
    voiced = track.voiced.astype(bool) & (track.f0_hz > 0)
    midi[voiced] = 69 + _OCTAVE * np.log2(track.f0_hz[voiced].astype(np.float64) / 440)
    first, last = (
        np.clip(np.ceil(np.asarray(t, np.float64) * rate_hz - 0.5), 0, len(midi)).astype(int)
        for t in (notes.start_s, notes.end_s)
    )
    medians = [_median(midi[a:b]) for a, b in zip(first, last, strict=True)]
    return 100 * (np.array(medians, np.float64) - notes.midi)


def _median(values: Doubles) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def octaves_folded_cents(deviations_cents: Doubles) -> Doubles:
    """Returns deviations (N,) with octaves forgiven: from -600 to 600."""
    return np.asarray(deviations_cents - 1200 * np.round(deviations_cents / 1200))
