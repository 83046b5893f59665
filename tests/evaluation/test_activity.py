"""Voice activity beside word times, by hand."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hand_made import REF_WORDS, Made

from autosing.evaluation.activity import ALWAYS, LEVEL, compare, loud, sung
from autosing.pipeline.schema import Column
from autosing.signal.errors import MissingColumn

ACTIVITY = (Column("voice_activity", pa.uint8(), Fraction(50)),)
ENERGY = (Column("energy", pa.float32(), Fraction(100)),)
WORDS = [
    {"text": "a", "start_s": 1.0, "end_s": 1.5, "line": 0},
    {"text": "b", "start_s": 1.7, "end_s": 2.0, "line": 0},
    {"text": "c", "start_s": 3.0, "end_s": 4.0, "line": 1},
]


def flags(*sung_s: tuple[float, float], seconds: float = 5, rate: int = 50) -> np.ndarray:
    times_s = (np.arange(round(seconds * rate)) + 0.5) / rate
    return np.any([(times_s >= a) & (times_s < b) for a, b in sung_s], axis=0).astype(np.uint8)


def test_short_gaps_between_words_are_sung_and_long_ones_are_not() -> None:
    assert np.array_equal(sung(WORDS, 250), flags((1, 2), (3, 4)) > 0)
    assert np.array_equal(sung(WORDS[::-1], 250), sung(WORDS, 250))
    inside = [{"text": "", "start_s": 1.1, "end_s": 1.2, "line": 0}, *WORDS]
    assert np.array_equal(sung(inside, 250), sung(WORDS, 250))
    beyond = [{"text": "", "start_s": 4.9, "end_s": 99.0, "line": 0}]
    assert sung(beyond, 250).sum() == 5 and not sung([], 10).any()


def test_precision_recall_and_both_baselines_by_hand(made: Made) -> None:
    made.songs({"a": {"ref_words": WORDS}}, [REF_WORDS])
    made.instance("voice_activity", ACTIVITY, {"a": {"voice_activity": flags((1, 2), (4, 4.5))}})
    level = 0.01 + 0.5 * flags((0, 2), rate=100)
    made.instance("energy", ENERGY, {"a": {"energy": level.astype(np.float32)}})
    found = compare(made.dataset)
    rows = {row.instance: row.values for row in found.rows}
    assert list(found.instances) == ["voice_activity", LEVEL, ALWAYS] and not found.notes
    assert rows["voice_activity"]["precision_pct"] == pytest.approx(100 / 1.5)
    assert rows["voice_activity"]["recall_pct"] == pytest.approx(50)
    assert rows["voice_activity"]["f1_pct"] == pytest.approx(100 * 2 * 1 / 3.5)
    assert (rows[LEVEL]["precision_pct"], rows[LEVEL]["recall_pct"]) == (50, 50)
    assert (rows[ALWAYS]["precision_pct"], rows[ALWAYS]["recall_pct"]) == (40, 100)
    assert rows[ALWAYS]["sung_pct"] == 40 and rows[ALWAYS]["called_pct"] == 100


def test_the_threshold_is_twenty_decibels_below_the_loud_parts() -> None:
    level = np.array([0.0, 0.0009, 0.0011, *[0.01] * 97], np.float32)
    assert loud(level).tolist() == [False, False, True, *[True] * 97]
    assert not loud(np.zeros(10, np.float32)).any()


def test_without_energy_it_is_said_and_songs_without_frames_or_words_are_named(made: Made) -> None:
    made.songs({"a": {"ref_words": WORDS}, "b": {"ref_words": []}, "c": {"ref_words": WORDS}}, [REF_WORDS])
    some = {"voice_activity": flags((1, 2))}
    empty = {"voice_activity": np.empty(0, np.uint8)}
    made.instance("voice_activity.x", ACTIVITY, {"a": some, "b": some, "c": empty})
    found = compare(made.dataset)
    assert list(found.instances) == ["voice_activity.x", ALWAYS] and "energy is not computed" in found.notes[0]
    assert {a.id: a.reason for a in found.absent} == {"b": "no ref_words", "c": "the song has no frame"}
    with pytest.raises(MissingColumn, match="has no voice_activity; compute it with"):
        Made(made.url + "2").songs({"a": {"ref_words": WORDS}}, [REF_WORDS])
        compare(Made(made.url + "2").dataset)
