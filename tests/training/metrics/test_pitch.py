"""Pitch metrics of tracks whose errors are known, and against mir_eval's own evaluation."""

import math

import mir_eval
import numpy as np
import pytest

from autosing.training.metrics import (
    PitchTrack,
    f0_rmse_cents,
    log_f0_correlation,
    octave_error_rate,
    pitch_accuracy,
    voicing_f1,
)

METRICS = (f0_rmse_cents, log_f0_correlation, octave_error_rate, voicing_f1, pitch_accuracy)


def track(*f0_hz: float) -> PitchTrack:
    """Returns a track that is voiced where its pitch is above 0."""
    pitch = np.array(f0_hz, np.float32)
    return PitchTrack(pitch, (pitch > 0).astype(np.uint8))


def cents(f0_hz: float, error: float) -> float:
    return f0_hz * 2 ** (error / 1200)


def test_the_error_is_over_the_frames_voiced_in_both() -> None:
    target = track(200, 300, 0, 400, 500)
    predicted = track(cents(200, 30), cents(300, -40), 100, 0, 500)
    assert f0_rmse_cents(predicted, target) == pytest.approx(math.sqrt((900 + 1600) / 3), rel=1e-4)


def test_the_correlation_is_of_the_logarithm() -> None:
    target = track(100, 200, 400, 0)
    assert log_f0_correlation(track(220, 440, 880, 50), target) == pytest.approx(1.0)
    assert log_f0_correlation(track(400, 200, 100, 50), target) == pytest.approx(-1.0)
    shares = np.log([100, 400, 200]), np.log([100, 200, 400])
    assert log_f0_correlation(track(100, 400, 200, 50), target) == pytest.approx(np.corrcoef(*shares)[0, 1])


def test_octave_errors_are_whole_octaves_of_either_direction() -> None:
    target = track(*[200] * 8, 0)
    predicted = track(400, 100, 800, cents(400, 49), cents(400, 60), cents(200, 599), 200, 0, 100)
    assert octave_error_rate(predicted, target) == pytest.approx(4 / 7)


def test_the_voicing_f1_is_twice_the_hits_over_all_calls() -> None:
    assert voicing_f1(track(100, 100, 100, 0, 0), track(100, 100, 0, 100, 0)) == pytest.approx(4 / 6)


def test_the_accuracies_are_those_of_mir_eval() -> None:
    rng = np.random.default_rng(0)
    target = track(*np.where(rng.random(500) < 0.7, rng.uniform(100, 400, 500), 0))
    error = rng.normal(0, 60, 500) + 1200 * rng.integers(-1, 2, 500)
    predicted = track(*np.where(rng.random(500) < 0.8, np.maximum(target.f0_hz, 90) * 2 ** (error / 1200), 0))
    times = np.arange(500) / 100
    expected = mir_eval.melody.evaluate(
        times, target.f0_hz.astype(np.float64), times, predicted.f0_hz.astype(np.float64)
    )
    found = pitch_accuracy(predicted, target)
    assert found.rpa == pytest.approx(expected["Raw Pitch Accuracy"])
    assert found.rca == pytest.approx(expected["Raw Chroma Accuracy"])
    assert found.overall_accuracy == pytest.approx(expected["Overall Accuracy"])
    assert found.voicing_recall == pytest.approx(expected["Voicing Recall"])
    assert found.voicing_false_alarm == pytest.approx(expected["Voicing False Alarm"])
    assert 0 < found.rpa < found.rca < 1


def test_the_accuracies_of_five_frames_by_hand() -> None:
    found = pitch_accuracy(track(200, 600, 0, 100, 0), track(200, 300, 400, 0, 0))
    assert found.rpa == pytest.approx(1 / 3)
    assert found.rca == pytest.approx(2 / 3)
    assert found.overall_accuracy == pytest.approx(2 / 5)
    assert found.voicing_recall == pytest.approx(2 / 3)
    assert found.voicing_false_alarm == pytest.approx(1 / 2)


def test_a_pitch_counts_where_the_tracker_calls_it_unvoiced() -> None:
    target = track(200, 300)
    predicted = PitchTrack(target.f0_hz, np.array([1, 0], np.uint8))
    assert pitch_accuracy(predicted, target).rpa == 1
    assert pitch_accuracy(predicted, target).overall_accuracy == 0.5


def test_what_is_never_voiced_in_both_has_no_error() -> None:
    predicted, target = track(100, 0, 0), track(0, 200, 300)
    assert math.isnan(f0_rmse_cents(predicted, target))
    assert math.isnan(log_f0_correlation(predicted, target))
    assert math.isnan(octave_error_rate(predicted, target))
    assert voicing_f1(predicted, target) == 0


def test_a_prediction_without_a_voice_is_wrong_and_not_undefined() -> None:
    found = pitch_accuracy(track(0, 0, 0), track(0, 200, 300))
    assert (found.rpa, found.rca, found.voicing_recall, found.voicing_false_alarm) == (0, 0, 0, 0)
    assert found.overall_accuracy == pytest.approx(1 / 3)


def test_a_target_without_a_voice_has_no_pitch_accuracy() -> None:
    found = pitch_accuracy(track(100, 0), track(0, 0))
    assert all(math.isnan(value) for value in (found.rpa, found.rca, found.voicing_recall))
    assert (found.overall_accuracy, found.voicing_false_alarm) == (0.5, 0.5)
    assert math.isnan(voicing_f1(track(0, 0), track(0, 0)))


def test_a_target_that_is_always_voiced_has_no_false_alarms() -> None:
    assert math.isnan(pitch_accuracy(track(100), track(100)).voicing_false_alarm)


def test_one_frame_or_a_constant_pitch_has_no_correlation() -> None:
    assert math.isnan(log_f0_correlation(track(100), track(100)))
    assert math.isnan(log_f0_correlation(track(100, 100), track(100, 200)))


@pytest.mark.parametrize("metric", METRICS)
def test_tracks_that_do_not_fit_are_refused(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match=r"shape \(2,\) cannot be compared with a target of shape \(3,\)"):
        metric(track(100, 100), track(100, 100, 100))
    with pytest.raises(ValueError, match="are empty"):
        metric(track(), track())
    with pytest.raises(ValueError, match="predicted track has a voiced frame without a pitch"):
        metric(PitchTrack(np.zeros(2), np.ones(2)), track(100, 100))
    with pytest.raises(ValueError, match="target track has a voiced frame without a pitch"):
        metric(track(100, 100), PitchTrack(np.array([100, np.nan]), np.ones(2)))
