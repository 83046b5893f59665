"""The rule that makes notes of a pitch track: steps, gaps, vibrato, slides, and the synthetic singer's scores."""

import itertools
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosing.signal.notes import SHORTEST_S, Note, transcribe
from autosing.signal.score import compose
from autosing.signal.singer import sing
from autosing.signal.voice import voices

RATE = Fraction(100)
Midi = npt.NDArray[np.float64]


def notes_of(midi: Midi, rate: Fraction = RATE) -> list[Note]:
    """Returns the notes of a track in semitones (F,), NaN where unvoiced."""
    hz = np.nan_to_num(440 * 2 ** ((midi - 69) / 12)).astype(np.float32)
    return transcribe(hz, (hz > 0).astype(np.uint8), rate)


def tones(*parts: tuple[float | None, float], rate: int = 100) -> Midi:
    """Returns a track of (semitones or None, seconds)."""
    return np.concatenate([np.full(round(s * rate), np.nan if midi is None else midi) for midi, s in parts])


def told(notes: list[Note]) -> list[tuple[float, float, float]]:
    return [(round(n.start_s, 2), round(n.end_s, 2), round(n.midi, 2)) for n in notes]


def test_a_step_splits_a_tone_where_it_is_and_so_does_a_gap() -> None:
    assert told(notes_of(tones((60, 0.5), (61, 0.5), (60.2, 0.4)))) == [
        (0, 0.5, 60), (0.5, 1.0, 61), (1.0, 1.4, 60.2),
    ]  # fmt: skip
    assert told(notes_of(tones((60, 0.5), (None, 0.1), (60, 0.5)))) == [(0, 0.5, 60), (0.6, 1.1, 60)]


def test_a_frame_that_the_tracker_drops_and_a_change_within_half_a_semitone_split_nothing() -> None:
    assert told(notes_of(tones((60, 0.5), (None, 0.03), (60.4, 0.5)))) == [(0, 1.03, pytest.approx(60.2, abs=0.21))]
    assert len(notes_of(tones((60, 0.5), (None, 0.04), (60, 0.5)))) == 2


@pytest.mark.parametrize("cents", [30, 60, 100])
def test_vibrato_is_one_note(cents: float) -> None:
    times_s = np.arange(200) / 100
    for rate_hz in (5.0, 5.5, 6.5):
        (note,) = notes_of(60 + cents / 100 * np.sin(2 * np.pi * rate_hz * times_s))
        assert note.midi == pytest.approx(60, abs=0.15) and note.end_s == pytest.approx(2)


def test_an_octave_error_of_a_moment_is_passed_over_and_a_lasting_one_is_a_note() -> None:
    assert len(notes_of(tones((60, 0.5), (72, 0.05), (60, 0.5)))) == 1
    assert [round(n.midi, 3) for n in notes_of(tones((60, 0.5), (72, 0.3), (60, 0.5)))] == [60, 72, 60]


def test_what_is_shorter_than_a_note_is_none() -> None:
    assert notes_of(tones((60, 0.09))) == notes_of(tones((None, 1.0))) == notes_of(np.empty(0)) == []
    assert len(notes_of(tones((60, SHORTEST_S)))) == 1


def test_the_rate_of_the_track_does_not_change_its_notes() -> None:
    parts = ((60, 0.5), (None, 0.2), (64, 0.4), (62, 0.6))
    fine = notes_of(tones(*parts, rate=200), Fraction(200))
    assert told(fine) == told(notes_of(tones(*parts)))


def test_two_series_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\) and voicing of shape \(2,\)"):
        transcribe(np.ones(3, np.float32), np.ones(2, np.uint8), RATE)


@given(st.lists(st.tuples(st.none() | st.floats(40, 80), st.floats(0.01, 0.6)), max_size=12))
def test_notes_are_in_order_long_enough_and_inside_the_track(parts: list[tuple[float | None, float]]) -> None:
    midi = tones(*parts) if parts else np.empty(0)
    found = notes_of(midi)
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(found))
    assert all(n.end_s - n.start_s >= SHORTEST_S - 1e-9 and n.end_s <= len(midi) / 100 + 1e-9 for n in found)
    assert all(np.nanmin(midi) - 1e-3 <= n.midi <= np.nanmax(midi) + 1e-3 for n in found)


def test_most_notes_of_the_synthetic_singer_are_found_in_time_and_in_tune() -> None:
    score = compose(3, 12.0)
    sung = sing(score, voices(4)[0], seed=3)
    found = transcribe(sung.f0_hz, sung.voiced, RATE)
    right = [
        any(abs(n.start_s - start_s) < 0.15 and abs(n.midi - midi) < 0.5 for n in found)
        for start_s, _, midi, _ in sung.notes
    ]
    assert np.mean(right) > 0.8 and len(found) < 1.3 * len(sung.notes)
