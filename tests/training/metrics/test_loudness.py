"""The loudness error of gains is the gain."""

import math

import numpy as np
import pytest

from autosing.training.metrics import loudness_error

HZ = 24_000
TONE = 0.1 * np.sin(2 * np.pi * 440 * np.arange(2 * HZ) / HZ)


@pytest.mark.parametrize("gain_db", [-12.0, 0.0, 6.0])
def test_a_gain_is_an_error_of_as_many_lu(gain_db: float) -> None:
    assert loudness_error(TONE * 10 ** (gain_db / 20), TONE, HZ) == pytest.approx(gain_db, abs=1e-3)


def test_lengths_and_channels_may_differ() -> None:
    assert loudness_error(TONE[:HZ], TONE, HZ) == pytest.approx(0.0, abs=0.1)
    stereo = np.stack([TONE, TONE], axis=1)
    assert loudness_error(stereo, TONE, HZ) == pytest.approx(3.01, abs=0.01)


def test_a_silent_target_has_no_error_and_a_silent_prediction_an_infinite_one() -> None:
    silence = np.zeros(HZ)
    assert math.isnan(loudness_error(TONE, silence, HZ))
    assert math.isnan(loudness_error(silence, silence, HZ))
    assert math.isnan(loudness_error(TONE, TONE[:100], HZ))
    assert loudness_error(silence, TONE, HZ) == -math.inf


def test_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prediction of shape \(0,\)"):
        loudness_error(np.zeros(0), TONE, HZ)
    with pytest.raises(ValueError, match=r"target of shape \(0, 2\)"):
        loudness_error(TONE, np.zeros((0, 2)), HZ)
