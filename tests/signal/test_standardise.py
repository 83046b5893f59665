"""Standardising over a song against numpy, and what must not disturb it."""

from typing import get_args

import numpy as np

from autosing.signal.standardise import Standardise, standardised


def _features(n_frames: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n_frames, 3)) * [1, 5, 0.2] + [0, -40, 7]).astype(np.float32)


def test_every_dimension_has_mean_0_and_deviation_1() -> None:
    out = standardised(_features(), "full")
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(0), 1, atol=1e-5)


def test_without_the_mean_the_deviations_stay() -> None:
    features = _features()
    np.testing.assert_allclose(standardised(features, "mean"), features - features.mean(0), atol=1e-4)
    assert standardised(features, "none") is features


def test_gain_and_offset_are_taken_out() -> None:
    features = _features()
    np.testing.assert_allclose(standardised(3 * features - 2, "full"), standardised(features, "full"), atol=1e-4)


def test_what_never_changes_becomes_0() -> None:
    features = _features()
    features[:, 1] = -40
    assert not standardised(features, "full")[:, 1].any()
    assert not standardised(features[:1], "full").any()
    assert standardised(features[:0], "full").shape == (0, 3)


def test_frames_that_were_not_computed_do_not_count_and_stay_0() -> None:
    features = _features()
    sparse = np.concatenate([np.zeros((500, 3), np.float32), features])
    for how in get_args(Standardise):
        out = standardised(sparse, how)
        assert not out[:500].any()
        np.testing.assert_allclose(out[500:], standardised(features, how), atol=1e-5)


def test_half_precision_is_measured_in_double() -> None:
    features = np.tile(_features(), (300, 1)).astype(np.float16)
    np.testing.assert_allclose(standardised(features, "full").std(0), 1, atol=1e-4)
