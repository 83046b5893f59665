"""`autosing eval notes`: the notes that `signal.notes` makes of a pitch track, beside `ref_notes`.

What is measured is the tracker and the rule that cuts its track into notes together, as in mir_eval's transcription:
COn is the F1 of onsets, COnP that of onsets with the right pitch (50 cents), COnPOff also with the right end.

Many scores tell pitches but not the octave that is sung (UltraStar's, and those of men who read a treble clef). So the
score of a song is first moved by the octaves by which most of its notes are off, and `octave` tells by how many.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autosing.evaluation.comparison import Comparison, ErrorAxis, Measure, Row, log_limits
from autosing.evaluation.f0 import COLUMNS, STAGE, octave_of, score, shares_within, track_of
from autosing.evaluation.songs import Case, Source, compared, outcomes
from autosing.pipeline.dataset import Dataset
from autosing.signal.errors import RowError
from autosing.signal.notes import transcribe
from autosing.training.metrics import Notes, note_deviations_cents, note_scores

TRUTHS = ("ref_notes",)
TOLERANCES_MS = (50, 100)

ONSETS = ErrorAxis(
    "note onsets",
    "s",
    ("early", "late"),
    log_limits(0.005, 10, (0.01, 0.05, 0.1, 0.3, 1, 3, 10)),
    (0.01, 0.05, 0.1, 0.3, 1, 3, 10),
    tuple(np.linspace(-0.5, 0.5, 41).tolist()),
)


def _within(ms: int) -> tuple[Measure, ...]:
    group = f"F1 at {ms} ms"
    return (
        Measure(f"con_{ms}ms_pct", "COn", f"F1 of onsets within {ms} ms", "%", 1, group, better="high"),
        Measure(f"conp_{ms}ms_pct", "COnP", "F1 of onsets with the right pitch", "%", 1, group, better="high"),
        Measure(
            f"conpoff_{ms}ms_pct", "COnPOff", "F1 of onsets with the right pitch and end", "%", 1, group, better="high"
        ),
    )


MEASURES = (
    Measure("notes", "notes", "notes of the score", "", 0, total="sum", better=""),
    Measure("found", "found", "notes that the rule makes of the track", "", 0, total="sum", better=""),
    Measure("octave", "octave", "octaves that the singing is above the score, by median", "", 1, better=""),
    *(measure for ms in TOLERANCES_MS for measure in _within(ms)),
    Measure("note_50_pct", "≤50 cents", "notes of the score whose median F0 is within 50 cents", "%", 1, better="high"),
    Measure("note_chroma_50_pct", "≤50 fold", "the same, octaves forgiven", "%", 1, better="high"),
)


def source_of(instances: Sequence[str]) -> Source:
    """Returns what is read of each song."""
    return Source(instances, COLUMNS, TRUTHS)


def compare(dataset: Dataset, wanted: Sequence[str] = ()) -> Comparison:
    """Returns how well the notes of songs are transcribed from each instance of `f0`.

    Raises:
        UsageError: a wanted instance is of another stage.
        MissingColumn: there is no such instance, or no truth.
    """
    found = compared(dataset, STAGE, wanted, source_of, lambda case, source: outcomes(case, source, _row))
    return Comparison(
        "notes",
        dataset.url,
        found.instances,
        found.settings,
        MEASURES,
        "conp_100ms_pct",
        found.made,
        found.absent,
        axis=ONSETS,
    )


def _row(case: Case, instance: str) -> Row:
    truth, found = score(case.truth("ref_notes")), transcribed(case, instance)
    track, rate_hz = track_of(case, instance)
    off = note_deviations_cents(track, rate_hz, truth)
    octave = octave_of(off)
    moved = truth._replace(midi=truth.midi + 12 * octave)
    values = {"notes": float(len(truth.midi)), "found": float(len(found.midi)), "octave": octave}
    for ms in TOLERANCES_MS:
        try:
            scores = note_scores(found, moved, ms / 1000)
        except ValueError as error:
            raise RowError(f"its notes can't be compared: {error}") from error
        values |= {f"{name}_{ms}ms_pct": 100 * share for name, share in vars(scores).items()}
    values |= shares_within(off, 50)
    return Row(*case.song, instance, values, ONSETS.spread(_onset_errors(found, truth)))


def transcribed(case: Case, instance: str) -> Notes:
    """Returns the notes that the rule makes of an instance's track."""
    track, _ = track_of(case, instance)
    notes = transcribe(track.f0_hz, track.voiced, case.rate(instance, "f0_hz"))
    return Notes(*(np.array([getattr(n, key) for n in notes], np.float64) for key in ("start_s", "end_s", "midi")))


def _onset_errors(found: Notes, truth: Notes) -> npt.NDArray[np.float64]:
    """Returns how far the nearest transcribed onset is from each true one; nothing where nothing is transcribed."""
    if not len(found.start_s):
        return np.empty(0)
    after = np.clip(np.searchsorted(found.start_s, truth.start_s), 1, max(len(found.start_s) - 1, 1))
    sides = np.stack([found.start_s[after - 1], found.start_s[np.minimum(after, len(found.start_s) - 1)]])
    off = sides - truth.start_s
    return np.asarray(np.take_along_axis(off, np.abs(off).argmin(axis=0)[None], axis=0)[0])
