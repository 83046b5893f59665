"""Pooling against means taken by hand."""

from fractions import Fraction

import numpy as np
import pytest

from autosing.signal.errors import RowError
from autosing.signal.pooling import pool

FIFTY = Fraction(50)


def _column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_a_whole_ratio_is_the_plain_mean_of_neighbours() -> None:
    series = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    np.testing.assert_allclose(pool(series, FIFTY, 3, Fraction(25, 2)), series.reshape(3, 4, 5).mean(axis=1), atol=1e-6)


def test_the_same_rate_changes_nothing() -> None:
    series = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float16)
    np.testing.assert_array_equal(pool(series, FIFTY, 7, FIFTY), series.astype(np.float32))


def test_frames_that_straddle_count_by_the_time_they_share() -> None:
    # 20 ms sources into 30 ms frames: [0, 30) holds source 0 whole and half of source 1.
    pooled = pool(_column(1, 2, 3), FIFTY, 2, Fraction(100, 3))
    np.testing.assert_allclose(pooled, _column((20 * 1 + 10 * 2) / 30, (10 * 2 + 20 * 3) / 30), rtol=1e-6)


def test_a_finer_rate_repeats_and_mixes() -> None:
    # 20 ms sources into 15 ms frames.
    pooled = pool(_column(0, 3, 6), FIFTY, 4, Fraction(200, 3))
    np.testing.assert_allclose(pooled, _column(0, 10 * 3 / 15, (10 * 3 + 5 * 6) / 15, 6), rtol=1e-6)


def test_a_frame_covered_in_part_is_the_mean_of_that_part() -> None:
    np.testing.assert_allclose(pool(_column(1, 2, 9), FIFTY, 2, Fraction(25)), _column(1.5, 9), rtol=1e-6)


def test_frames_behind_the_end_repeat_the_last_source_frame() -> None:
    np.testing.assert_array_equal(pool(_column(4, 5), FIFTY, 4, FIFTY), _column(4, 5, 5, 5))


@pytest.mark.parametrize("rate", ["25", "50/3", "25/3", "375/4"])
def test_the_mean_over_the_whole_series_is_kept(rate: str) -> None:
    series = np.random.default_rng(1).normal(size=(120, 4)).astype(np.float32)
    n_frames = int(Fraction(120, 50) * Fraction(rate))
    pooled = pool(series, FIFTY, n_frames, Fraction(rate))
    np.testing.assert_allclose(pooled.mean(axis=0), series.mean(axis=0), atol=1e-5)


def test_a_series_without_frames_is_a_row_error() -> None:
    with pytest.raises(RowError, match="nothing to pool"):
        pool(np.zeros((0, 3), np.float32), FIFTY, 4, FIFTY)
