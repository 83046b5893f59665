"""The baselines against hand-made cases and least squares."""

from fractions import Fraction

import numpy as np

from autosing.signal.framing import nearest_frames
from autosing.training.baselines import CONTEXT, RIDGE, MeanBaseline, RidgeBaseline

UNIT_RATE, MEL_RATE = Fraction(50), Fraction(375, 4)
RNG = np.random.default_rng(0)


def test_the_mean_baseline_weighs_frames_equally() -> None:
    baseline = MeanBaseline.fit([np.full((3, 2), 1.0), np.full((1, 2), 5.0)])
    np.testing.assert_allclose(baseline.predict(4), np.full((4, 2), 2.0))


def context_of(units: np.ndarray, n_frames: int, n_units: int) -> np.ndarray:
    """Returns the regressors (F, 7 * V) the plain way."""
    rows = np.zeros((n_frames, 2 * CONTEXT + 1, n_units))
    for frame, near in enumerate(nearest_frames(n_frames, MEL_RATE, len(units), UNIT_RATE)):
        for place in range(-CONTEXT, CONTEXT + 1):
            if 0 <= near + place < len(units):
                rows[frame, place + CONTEXT, units[near + place]] = 1
    return rows.reshape(n_frames, -1)


def test_the_ridge_baseline_is_least_squares_with_a_penalty_on_all_but_the_constant() -> None:
    samples = [(RNG.integers(0, 5, 40), RNG.standard_normal((75, 3))) for _ in range(6)]
    ours = RidgeBaseline.fit(samples, 5, UNIT_RATE, MEL_RATE)
    rows = np.concatenate([context_of(units, len(mel), 5) for units, mel in samples])
    mels = np.concatenate([mel for _, mel in samples])
    # The penalty as rows of its own: sqrt(RIDGE) * w = 0 for every weight.
    penalised = np.concatenate([rows - rows.mean(0), np.sqrt(RIDGE) * np.eye(rows.shape[1])])
    targets = np.concatenate([mels - mels.mean(0), np.zeros((rows.shape[1], 3))])
    weights = np.linalg.lstsq(penalised, targets, rcond=None)[0]
    units = RNG.integers(0, 5, 40)
    expected = (context_of(units, 75, 5) - rows.mean(0)) @ weights + mels.mean(0)
    np.testing.assert_allclose(ours.predict(units, 75), expected, atol=1e-8)
