"""F0 and notes beside truth that is made: known errors give known figures."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hand_made import Made

from autosing.evaluation import f0, notes
from autosing.evaluation.tasks import evaluate
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource
from autosing.pipeline.schema import NOTES, Column
from autosing.pipeline.stages.f0 import F0Stage
from autosing.signal.errors import DataError, RowError

F0 = tuple(c for c in F0Stage().columns() if c.name != "periodicity")
REF_F0 = [c for c in REFERENCE_COLUMNS if c.name in ("ref_f0_hz", "ref_voiced")]
REF_NOTES = Column("ref_notes", NOTES, nullable=True)


def track(*parts: tuple[float, float]) -> tuple[Any, Any]:
    """Returns F0 and voicing at 100 Hz of (Hz, seconds), 0 Hz where unvoiced."""
    hz = np.concatenate([np.full(round(seconds * 100), pitch, np.float32) for pitch, seconds in parts])
    return hz, (hz > 0).astype(np.uint8)


def made_of(made: Made, truth: tuple[Any, Any], tracks: dict[str, tuple[Any, Any]]) -> None:
    made.songs({"a": {"ref_f0_hz": truth[0], "ref_voiced": truth[1]}}, REF_F0)
    for name, (hz, voiced) in tracks.items():
        made.instance(name, F0, {"a": {"f0_hz": hz, "voiced": voiced}})


def score(*played: tuple[float, float, float]) -> list[dict[str, Any]]:
    return [{"text": "la", "start_s": a, "end_s": b, "midi": midi} for a, b, midi in played]


def test_known_errors_of_frames_give_known_figures(made: Made) -> None:
    truth = track((200, 1), (0, 1), (400, 2))
    off = track((200 * 2 ** (30 / 1200), 1), (300, 0.5), (0, 0.5), (800, 0.5), (400, 1), (0, 0.5))
    made_of(made, truth, {"f0": off, "f0.best": truth})
    rows = {row.instance: row.values for row in f0.compare(made.dataset).rows}
    assert rows["f0.best"]["rpa_pct"] == rows["f0.best"]["voicing_f1_pct"] == 100
    values = rows["f0"]
    assert values["median_cents"] == pytest.approx(30, abs=0.01) and values["rpa_pct"] == pytest.approx(100 * 2 / 3)
    assert values["rca_pct"] == pytest.approx(100 * 2.5 / 3) and values["octave_pct"] == pytest.approx(20)
    assert values["voicing_recall_pct"] == pytest.approx(100 * 2.5 / 3) and values["false_alarm_pct"] == pytest.approx(
        50
    )
    assert values["voicing_f1_pct"] == pytest.approx(100 * 2 * 2.5 / 6) and math.isnan(values["note_50_pct"])


def test_truth_at_another_rate_is_taken_at_the_tracks_frames(made: Made) -> None:
    hz = np.repeat(np.array([200, 0, 400], np.float32), 50)
    columns = [Column("ref_f0_hz", REF_F0[0].dtype, Fraction(50)), Column("ref_voiced", REF_F0[1].dtype, Fraction(50))]
    made.songs({"a": {"ref_f0_hz": hz, "ref_voiced": (hz > 0).astype(np.uint8)}}, columns)
    pitch, voiced = track((200, 1), (0, 1), (400, 1.2))
    made.instance("f0", F0, {"a": {"f0_hz": pitch, "voiced": voiced}})
    (row,) = f0.compare(made.dataset).rows
    assert row.values["rpa_pct"] == 100 and row.values["voicing_f1_pct"] == pytest.approx(100 * 400 / 420)


def test_a_track_of_another_length_and_an_empty_one_are_named(made: Made) -> None:
    truth = track((200, 3))
    made.songs({n: {"ref_f0_hz": truth[0], "ref_voiced": truth[1]} for n in ("short", "good", "bad")}, REF_F0)
    rows = {n: {"f0_hz": hz, "voiced": voiced} for n, (hz, voiced) in {"short": track((200, 1)), "good": truth}.items()}
    made.instance("f0", F0, {**rows, "bad": RowError("no sound")})
    found = f0.compare(made.dataset)
    assert [row.id for row in found.rows] == ["good"]
    assert {a.id: a.reason for a in found.absent} == {
        "short": "the track lasts 1.00 s and the true one 3.00 s",
        "bad": "error: no sound",
    }
    made.instance("f0", F0, dict.fromkeys(rows | {"bad": None}, RowError("no sound")))
    with pytest.raises(DataError, match="no song could be compared: 3 x f0: error: no sound"):
        evaluate("f0", made.dataset)


def test_with_a_score_alone_the_median_pitch_of_each_note_counts(made: Made) -> None:
    played = score((0, 1, 69), (1, 2, 69), (2, 3, 69), (3, 4, 69), (4, 4, 69))
    made.songs({"a": {"ref_notes": played}, "b": {"ref_notes": None}}, [REF_NOTES])
    hz, voiced = track((440 * 2 ** (-55 / 1200), 0.6), (100, 0.4), (440, 1), (0, 1), (220, 1))
    made.instance("f0", F0, {n: {"f0_hz": hz, "voiced": voiced} for n in ("a", "b")})
    found = f0.compare(made.dataset)
    (row,) = found.rows
    assert (row.values["notes"], row.values["silent_pct"]) == (4, 25)
    assert (row.values["note_50_pct"], row.values["note_60_pct"]) == (25, 50)
    assert (row.values["note_chroma_50_pct"], row.values["note_chroma_60_pct"]) == (50, 75)
    assert found.worst_by == "note_chroma_50_pct" and found.notes and math.isnan(row.values["rpa_pct"])
    assert [(a.id, a.reason) for a in found.absent] == [("b", "no ref_f0_hz or ref_notes")]


def test_notes_are_scored_in_the_octave_that_is_sung(made: Made) -> None:
    played = score((0.5, 1, 69), (1.2, 1.8, 71), (2, 2.6, 72))
    hz = [440 * 2 ** ((midi - 69 - 12) / 12) for midi in (69, 71, 72)]
    low = track((0, 0.5), (hz[0], 0.5), (0, 0.2), (hz[1], 0.6), (0, 0.2), (hz[2], 0.6), (0, 0.4))
    made.songs({"a": {"ref_notes": played}, "b": {"ref_notes": score((1, 1, 60))}}, [REF_NOTES])
    made.instance("f0", F0, {n: {"f0_hz": low[0], "voiced": low[1]} for n in ("a", "b")})
    found = notes.compare(made.dataset)
    (row,) = found.rows
    assert (row.values["notes"], row.values["found"], row.values["octave"]) == (3, 3, -1)
    assert row.values["conpoff_50ms_pct"] == 100 and row.values["note_50_pct"] == 0
    assert row.values["note_chroma_50_pct"] == 100
    assert [(a.id, a.reason) for a in found.absent] == [("b", "none of the 1 notes of the score has a length")]


def test_late_and_missing_notes_lower_the_scores(made: Made) -> None:
    played = score((0.5, 1, 69), (1.2, 1.8, 69), (2, 2.6, 69))
    made.songs({n: {"ref_notes": played} for n in ("late", "silent")}, [REF_NOTES])
    late = track((0, 0.58), (440, 0.42), (0, 0.28), (440, 0.52), (0, 1.2))
    silent = track((0, 3))
    made.instance("f0", F0, {"late": dict(zip(("f0_hz", "voiced"), late, strict=True)),
                             "silent": dict(zip(("f0_hz", "voiced"), silent, strict=True))})  # fmt: skip
    rows = {row.id: row.values for row in notes.compare(made.dataset).rows}
    assert rows["late"]["con_50ms_pct"] == 0 and rows["late"]["con_100ms_pct"] == pytest.approx(100 * 2 * 2 / 5)
    assert rows["silent"]["found"] == rows["silent"]["conp_100ms_pct"] == rows["silent"]["note_50_pct"] == 0


def test_the_true_track_of_the_synthetic_singer_is_perfect_and_its_notes_are_nearly_found(made: Made) -> None:
    songs = list(SyntheticSource(2, 8.0).songs())
    truths = {song.id: song.reference for song in songs}
    made.songs(truths, REFERENCE_COLUMNS)
    made.instance("f0", F0, {id: {"f0_hz": t["ref_f0_hz"], "voiced": t["ref_voiced"]} for id, t in truths.items()})
    (total,) = f0.compare(made.dataset).totals
    assert total.values["rpa_pct"] == total.values["voicing_f1_pct"] == 100 and total.values["note_50_pct"] > 95
    (total,) = notes.compare(made.dataset).totals
    assert total.values["conp_100ms_pct"] > 80
