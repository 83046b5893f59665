"""Measures of notes by hand and against mir_eval."""

import math
import warnings

import mir_eval
import numpy as np
import pytest

from autosing.training.metrics import (
    Notes,
    PitchTrack,
    f0_median_error_cents,
    note_deviations_cents,
    note_scores,
    octaves_folded_cents,
)


def notes(*played: tuple[float, float, float]) -> Notes:
    """Returns notes of (start, end, semitones)."""
    return Notes(*np.array(played, np.float64).reshape(-1, 3).T)


TRUE = notes((0, 1, 60), (1, 2, 62), (2, 3, 64), (3, 5, 65))


def test_onsets_pitches_and_ends_are_asked_for_one_after_another() -> None:
    found = note_scores(notes((0.04, 1, 60), (1, 2, 62.4), (2.04, 2.5, 64), (3.06, 5, 65)), TRUE)
    assert (found.con, found.conp, found.conpoff) == (0.75, 0.75, 0.5)
    assert note_scores(notes((0, 1, 60.6)), TRUE).conp == 0 and note_scores(TRUE, TRUE).conpoff == 1
    wide = note_scores(notes((0.08, 1, 60), (1, 2, 62.4)), TRUE, onset_tolerance_s=0.1, pitch_tolerance_cents=30)
    assert (wide.con, wide.conp) == (pytest.approx(2 * 2 / 6), pytest.approx(2 * 1 / 6))


def test_the_measures_are_those_of_mir_eval() -> None:
    rng = np.random.default_rng(0)
    starts = np.sort(rng.uniform(0, 60, 100))
    truth = Notes(starts, starts + rng.uniform(0.1, 0.6, 100), rng.uniform(50, 70, 100))
    moved = truth.start_s + rng.normal(0, 0.05, 100).clip(-0.09, None)
    guess = Notes(np.maximum(moved, 0), truth.end_s + 0.2, truth.midi + rng.normal(0, 0.4, 100))
    intervals = [np.stack([n.start_s, n.end_s], 1) for n in (truth, guess)]
    hz = [mir_eval.util.midi_to_hz(n.midi) for n in (truth, guess)]
    expected = mir_eval.transcription.evaluate(intervals[0], hz[0], intervals[1], hz[1])
    found = note_scores(guess, truth)
    assert found.con == pytest.approx(expected["Onset_F-measure"])
    assert found.conp == pytest.approx(expected["F-measure_no_offset"])
    assert found.conpoff == pytest.approx(expected["F-measure"])


def test_nothing_transcribed_is_zero_and_nothing_to_transcribe_is_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert note_scores(notes(), TRUE).con == 0
        assert math.isnan(note_scores(TRUE, notes()).conpoff)


def test_notes_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        note_scores(notes((1, 1, 60)), TRUE)
    with pytest.raises(ValueError, match=r"shape \(2,\) cannot be compared with a target of shape \(1,\)"):
        note_scores(Notes(np.zeros(2), np.ones(1), np.ones(2)), TRUE)


def test_the_pitch_of_a_note_is_the_median_of_its_voiced_frames() -> None:
    hz = np.concatenate(
        [np.full(100, 440.0), np.full(40, 880.0), np.full(60, 440.0), np.zeros(100), np.full(50, 220.0)]
    )
    track = PitchTrack(hz, hz > 0)
    score = notes((0, 1, 69.5), (1, 2, 69), (2, 3, 69), (2.9, 9, 57), (8, 9, 57))
    found = note_deviations_cents(track, 100, score)
    assert found == pytest.approx([-50, 0, math.nan, 0, math.nan], nan_ok=True)
    folded = octaves_folded_cents(np.array([1150.0, -1230, 40, 600, math.nan]))
    assert folded == pytest.approx([-50, -30, 40, folded[3], math.nan], nan_ok=True) and abs(folded[3]) == 600


def test_octave_errors_do_not_move_the_median_error() -> None:
    target = PitchTrack(np.full(5, 200.0), np.array([1, 1, 1, 1, 0]))
    predicted = PitchTrack(np.array([400.0, 200 * 2 ** (10 / 1200), 200 * 2 ** (-20 / 1200), 200, 50]), np.ones(5))
    assert f0_median_error_cents(predicted, target) == pytest.approx(15)
    silent = PitchTrack(np.zeros(5), np.zeros(5))
    assert math.isnan(f0_median_error_cents(silent, target))
