"""`autosing eval f0`: pitch tracks beside `ref_f0_hz` and `ref_voiced`, and beside the notes of `ref_notes`.

Frames are compared where frames are known, notes where a score is: of each note the median F0 of its voiced frames. A
singer is not a score: vibrato, slides and expressive tuning are errors here, and so is an instrument that is louder.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.evaluation.comparison import Comparison, ErrorAxis, Measure, Row, Values, log_limits
from autosing.evaluation.songs import Case, Source, compared, outcomes
from autosing.pipeline.dataset import REFERENCE, Dataset
from autosing.signal.errors import RowError
from autosing.signal.framing import nearest_frames
from autosing.training import metrics
from autosing.training.metrics import Notes, PitchTrack, note_deviations_cents, octaves_folded_cents

STAGE = "f0"
COLUMNS = ("f0_hz", "voiced")
TRUTHS, VOICING = ("ref_f0_hz", "ref_notes"), f"{REFERENCE}.ref_voiced"
LARGEST_GAP_S = 0.5
"""Tracks of one recording whose lengths differ by more are not of one recording."""

CENTS = ErrorAxis(
    "pitches",
    "cents",
    ("low", "high"),
    log_limits(1, 2400, (1, 5, 10, 50, 60, 100, 600, 1200, 2400)),
    (1, 5, 10, 50, 100, 600, 1200),
    tuple(np.linspace(-150, 150, 61).tolist()),
)

_FRAMES, _NOTES = "frames", "median F0 of notes"
FRAME_MEASURES = (
    Measure("median_cents", "median", "median absolute error where both are voiced", "cents", 1, _FRAMES),
    Measure("rmse_cents", "RMSE", "root mean square error where both are voiced", "cents", 1, _FRAMES),
    Measure("rpa_pct", "RPA", "voiced frames within 50 cents", "%", 1, _FRAMES, better="high"),
    Measure("rca_pct", "RCA", "voiced frames within 50 cents, octaves forgiven", "%", 1, _FRAMES, better="high"),
    Measure("octave_pct", "oct", "frames voiced in both that are whole octaves off", "%", 1, _FRAMES),
    Measure("voicing_f1_pct", "V F1", "F1 of voiced frames", "%", 1, _FRAMES, better="high"),
    Measure("voicing_recall_pct", "V rec", "voiced frames that are called voiced", "%", 1, _FRAMES, better="high"),
    Measure("false_alarm_pct", "V false", "unvoiced frames that are called voiced", "%", 1, _FRAMES),
)
NOTE_MEASURES = (
    Measure("notes", "notes", "notes of the score", "", 0, _NOTES, "sum", ""),
    Measure("silent_pct", "silent", "notes without a voiced frame; they count as wrong", "%", 1, _NOTES),
    Measure("note_50_pct", "≤50", "notes within 50 cents", "%", 1, _NOTES, better="high"),
    Measure("note_60_pct", "≤60", "notes within 60 cents", "%", 1, _NOTES, better="high"),
    Measure("note_chroma_50_pct", "≤50 fold", "notes within 50 cents, octaves forgiven", "%", 1, _NOTES, better="high"),
    Measure("note_chroma_60_pct", "≤60 fold", "notes within 60 cents, octaves forgiven", "%", 1, _NOTES, better="high"),
    Measure("octave", "octave", "octaves that the singing is above the score, by median", "", 1, _NOTES, better=""),
    Measure("tuning_cents", "tuning", "median deviation, octaves forgiven: how high the singing is tuned", "cents", 1,
            _NOTES, better=""),
)  # fmt: skip


def source_of(instances: Sequence[str]) -> Source:
    """Returns what is read of each song."""
    return Source(instances, COLUMNS, TRUTHS, beside=(VOICING,))


def compare(dataset: Dataset, wanted: Sequence[str] = ()) -> Comparison:
    """Returns how near each instance of `f0` is to the true pitch.

    Raises:
        UsageError: a wanted instance is of another stage.
        MissingColumn: there is no such instance, or no truth.
    """
    found = compared(dataset, STAGE, wanted, source_of, lambda case, source: outcomes(case, source, _row))
    has_frames = any(not math.isnan(row.values["rpa_pct"]) for row in found.made)
    return Comparison(
        STAGE,
        dataset.url,
        found.instances,
        found.settings,
        (*FRAME_MEASURES, *NOTE_MEASURES),
        "rpa_pct" if has_frames else "note_chroma_50_pct",
        found.made,
        found.absent,
        axis=CENTS,
        notes=() if has_frames else ("There is no true F0 here: the curves are of the median F0 of notes.",),
    )


def _row(case: Case, instance: str) -> Row:
    values: dict[str, float] = {m.key: math.nan for m in (*FRAME_MEASURES, *NOTE_MEASURES)}
    track, rate_hz = track_of(case, instance)
    errors: npt.NDArray[Any] = np.empty(0)
    if case.truth("ref_notes"):
        found, errors = _note_values(track, rate_hz, score(case.truth("ref_notes")))
        values |= found
    if case.truth("ref_f0_hz") is not None:
        found, errors = _frame_values(track, true_track(case, instance, len(track.f0_hz)))
        values |= found
    return Row(*case.song, instance, values, CENTS.spread(errors))


def track_of(case: Case, instance: str) -> tuple[PitchTrack, float]:
    """Returns the track of an instance and its rate in Hz."""
    f0_hz, voiced = case.value(instance, "f0_hz"), case.value(instance, "voiced")
    return PitchTrack(f0_hz, voiced.astype(bool) & (f0_hz > 0)), float(case.rate(instance, "f0_hz"))


def true_track(case: Case, instance: str, n_frames: int) -> PitchTrack:
    """Returns the true track at the frames of an instance; beyond its end it is unvoiced.

    Raises:
        RowError: the two are of different lengths in time.
    """
    f0_hz, voiced = case.truth("ref_f0_hz"), case.truth("ref_voiced")
    rate, true_rate = case.rate(instance, "f0_hz"), case.rate(REFERENCE, "ref_f0_hz")
    if not len(f0_hz):
        raise RowError("ref_f0_hz has no frame")
    length_s, true_s = n_frames / float(rate), len(f0_hz) / float(true_rate)
    if abs(length_s - true_s) > LARGEST_GAP_S:
        raise RowError(f"the track lasts {length_s:.2f} s and the true one {true_s:.2f} s")
    at = nearest_frames(n_frames, rate, len(f0_hz), true_rate)
    inside = (np.arange(n_frames) + 0.5) / float(rate) < true_s
    sounding = (f0_hz > 0) if voiced is None else voiced.astype(bool) & (f0_hz > 0)
    return PitchTrack(np.where(inside, f0_hz[at], 0), inside & sounding[at])


def _frame_values(track: PitchTrack, truth: PitchTrack) -> tuple[Values, npt.NDArray[Any]]:
    """Returns the measures of frames, and the error in cents of each that is voiced in both."""
    if not len(track.f0_hz):
        raise RowError("the song has no frame")
    accuracy = metrics.pitch_accuracy(track, truth)
    both = track.voiced & truth.voiced
    errors = 1200 * np.log2(track.f0_hz[both].astype(np.float64) / truth.f0_hz[both])
    values = {
        "median_cents": metrics.f0_median_error_cents(track, truth),
        "rmse_cents": metrics.f0_rmse_cents(track, truth),
        "rpa_pct": 100 * accuracy.rpa,
        "rca_pct": 100 * accuracy.rca,
        "octave_pct": 100 * metrics.octave_error_rate(track, truth),
        "voicing_f1_pct": 100 * metrics.voicing_f1(track, truth),
        "voicing_recall_pct": 100 * accuracy.voicing_recall,
        "false_alarm_pct": 100 * accuracy.voicing_false_alarm,
    }
    return values, errors


def _note_values(track: PitchTrack, rate_hz: float, notes: Notes) -> tuple[Values, npt.NDArray[Any]]:
    """Returns the measures of notes, and the deviation in cents of each that has a voiced frame."""
    off = note_deviations_cents(track, rate_hz, notes)
    folded = octaves_folded_cents(off)
    heard = ~np.isnan(off)
    values = {
        "notes": float(len(off)),
        "silent_pct": 100 * float(np.mean(~heard)),
        "octave": octave_of(off),
        "tuning_cents": float(np.median(folded[heard])) if heard.any() else math.nan,
    }
    return values | shares_within(off, 50) | shares_within(off, 60), off[heard]


def shares_within(deviations_cents: npt.NDArray[np.float64], cents: int) -> dict[str, float]:
    """Returns how many of a song's notes (N,) are within so many cents, in percent; those nobody hears are not."""
    folded = octaves_folded_cents(deviations_cents)
    return {
        f"note_{cents}_pct": 100 * float(np.mean(np.abs(deviations_cents) <= cents)),
        f"note_chroma_{cents}_pct": 100 * float(np.mean(np.abs(folded) <= cents)),
    }


def octave_of(deviations_cents: npt.NDArray[np.float64]) -> float:
    """Returns by how many octaves the notes of a song (N,) are off, by median; 0 where none is heard."""
    heard = deviations_cents[~np.isnan(deviations_cents)]
    return float(np.round(np.median(heard) / 1200)) + 0.0 if len(heard) else 0.0


def score(notes: Sequence[Any]) -> Notes:
    """Returns the notes of a column as arrays; without those of no length, which nobody can sing.

    Raises:
        RowError: there is no other.
    """
    kept = [note for note in notes if note["end_s"] > note["start_s"] >= 0]
    if not kept:
        raise RowError(f"none of the {len(notes)} notes of the score has a length")
    return Notes(*(np.array([note[key] for note in kept], np.float64) for key in ("start_s", "end_s", "midi")))
