"""Measures of detection by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from autosing.training.metrics import auroc, detection_scores


def test_the_measures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, called = rng.random((2, 300)) < 0.3
    found = detection_scores(called, truth)
    assert found.precision == pytest.approx(precision_score(truth, called))
    assert found.recall == pytest.approx(recall_score(truth, called))
    assert found.f1 == pytest.approx(f1_score(truth, called))
    scores = np.round(rng.random(300) + 0.3 * truth, 1)
    assert auroc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))


def test_ties_count_half_and_a_perfect_order_is_one() -> None:
    truth = np.array([0, 0, 1, 1])
    assert auroc(np.array([1, 2, 3, 4]), truth) == 1 and auroc(np.array([4, 3, 2, 1]), truth) == 0
    assert auroc(np.ones(4), truth) == 0.5 and auroc(np.array([1, 2, 2, 3]), truth) == 0.875


def test_what_has_no_value_is_nan() -> None:
    none, some = np.zeros(3, np.uint8), np.array([0, 1, 1], np.uint8)
    assert math.isnan(detection_scores(none, some).precision) and detection_scores(none, some).f1 == 0
    assert math.isnan(detection_scores(some, none).recall) and math.isnan(detection_scores(none, none).f1)
    assert math.isnan(auroc(np.arange(3), none)) and math.isnan(auroc(np.arange(3), none + 1))


def test_two_lengths_nothing_and_scores_that_are_no_numbers_are_refused() -> None:
    for measure in (detection_scores, auroc):
        with pytest.raises(ValueError, match=r"shape \(2,\) cannot be compared with a target of shape \(3,\)"):
            measure(np.zeros(2), np.zeros(3))
        with pytest.raises(ValueError, match="empty"):
            measure(np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="score 1 of 3 is not finite"):
        auroc(np.array([0, math.nan, 1]), np.array([0, 1, 1]))
