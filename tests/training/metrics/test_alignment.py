"""Alignment metrics by hand and against mir_eval."""

import math

import mir_eval
import numpy as np
import pytest

from autosing.training.metrics import alignment_scores, derailment_rate

TARGET = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
PREDICTED = np.array([1.0, 2.09, 3.25, 4.4, 7.0])


def test_five_words_by_hand() -> None:
    found = alignment_scores(PREDICTED, TARGET)
    assert found.aae_s == pytest.approx((0 + 0.09 + 0.25 + 0.4 + 2) / 5)
    assert found.median_ae_s == pytest.approx(0.25)
    assert found.pco == {0.05: 0.2, 0.1: 0.4, 0.2: 0.4, 0.3: 0.6}
    assert found.pcs == pytest.approx((1 + 0.91 + 0.75 + 0.6) / 4)
    assert found.derailment_rate == 0.2


def test_the_measures_are_those_of_mir_eval() -> None:
    rng = np.random.default_rng(0)
    target = np.sort(rng.uniform(0, 100, 80))
    predicted = np.sort(np.maximum(target + rng.normal(0, 0.3, 80), 0))
    expected = mir_eval.alignment.evaluate(target, predicted, duration=110.0)
    found = alignment_scores(predicted, target, duration_s=110.0)
    assert (found.aae_s, found.median_ae_s) == pytest.approx((expected["aae"], expected["mae"]))
    assert found.pco[0.3] == pytest.approx(expected["pc"])
    assert found.pcs == pytest.approx(expected["pcs"])
    assert found.perceptual == pytest.approx(expected["perceptual"])


def test_perfect_times_are_perfect_but_to_karaoke_singers_who_like_them_early() -> None:
    found, early = alignment_scores(TARGET, TARGET), alignment_scores(TARGET - 0.05, TARGET)
    assert (found.aae_s, found.pcs, found.derailment_rate, set(found.pco.values())) == (0, 1, 0, {1})
    assert found.perceptual == pytest.approx(0.96, abs=0.01)
    assert found.perceptual < early.perceptual <= 1


def test_a_word_exactly_on_the_threshold_has_not_derailed() -> None:
    assert derailment_rate(np.array([2.0, 3.5]), np.array([1.0, 2.0])) == 0.5
    assert derailment_rate(np.array([2.0, 3.5]), np.array([1.0, 2.0]), threshold_s=0.5) == 1


def test_a_single_word_has_segments_only_in_a_song_of_known_length() -> None:
    one = np.array([2.0])
    assert math.isnan(alignment_scores(one, one).pcs)
    assert alignment_scores(one + 1, one, duration_s=10).pcs == pytest.approx(0.9)


def test_estimates_that_go_back_in_time_have_errors_but_no_segments() -> None:
    found = alignment_scores(np.array([1.0, 3.2, 2.9]), np.array([1.0, 2.0, 3.0]), duration_s=5)
    assert found.aae_s == pytest.approx(1.3 / 3) and found.pco[0.2] == pytest.approx(2 / 3)
    assert math.isnan(found.pcs) and math.isnan(found.perceptual)


@pytest.mark.parametrize(
    ("predicted", "target", "message"),
    [
        ([1.0], [1.0, 2.0], "found 1 in prediction and 2 in ground truth"),
        ([], [], "empty"),
        ([1.0, 2.0], [2.0, 1.0], "not monotonically increasing"),
        ([-1.0, 1.0], [1.0, 2.0], "below 0"),
    ],
)
def test_times_that_are_no_alignment_are_refused(predicted: list[float], target: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        alignment_scores(np.array(predicted), np.array(target))


def test_derailment_refuses_two_numbers_of_words() -> None:
    with pytest.raises(ValueError, match=r"shape \(1,\) cannot be compared with a target of shape \(2,\)"):
        derailment_rate(np.ones(1), np.ones(2))
