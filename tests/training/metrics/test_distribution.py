"""Frechet distances against their closed form and scipy's matrix root; global variances by hand."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from autosing.signal.mfcc import mfcc
from autosing.training.metrics import (
    fd_mel,
    fd_mfcc,
    frame_statistics,
    frechet_distance,
    global_variance_error,
)

RNG = np.random.default_rng(0)


def test_the_statistics_of_parts_are_those_of_all_frames_even_far_from_0() -> None:
    parts = [RNG.standard_normal((n, 4)) @ RNG.standard_normal((4, 4)) + 1e6 for n in (30, 1, 0, 80)]
    found, frames = frame_statistics(parts), np.concatenate(parts)
    np.testing.assert_allclose(found.mean, frames.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(frames.T), rtol=1e-6, atol=1e-6)


def test_on_independent_dimensions_the_distance_is_that_of_means_and_deviations() -> None:
    found = frechet_distance(np.array([1.0, 2]), np.diag([4.0, 9]), np.array([0.0, 4]), np.diag([1.0, 16]))
    assert found == pytest.approx(1 + 4 + (2 - 1) ** 2 + (3 - 4) ** 2)


def test_the_distance_is_that_of_the_matrix_root() -> None:
    a, b = (m @ m.T for m in RNG.standard_normal((2, 6, 6)))
    expected = np.trace(a + b - 2 * sqrtm(a @ b).real) + 6 * 0.25
    assert frechet_distance(np.zeros(6), a, np.full(6, 0.5), b) == pytest.approx(expected)
    assert frechet_distance(np.zeros(6), a, np.zeros(6), a) == pytest.approx(0, abs=1e-9)


def test_covariances_of_too_few_frames_do_no_harm() -> None:
    few, many = frame_statistics([RNG.standard_normal((2, 50))]), frame_statistics([RNG.standard_normal((99, 50))])
    assert 0 < frechet_distance(*few, *many) == pytest.approx(frechet_distance(*many, *few))
    constant = frame_statistics([np.ones((5, 50))])
    assert frechet_distance(*constant, *constant) == 0


def test_moved_mels_are_as_far_as_they_were_moved_whatever_their_lengths() -> None:
    mels = [RNG.standard_normal((n, 8)) for n in (50, 70)]
    assert fd_mel(mels, mels) == pytest.approx(0, abs=1e-9)
    assert fd_mel([np.concatenate(mels) + 0.5], mels) == pytest.approx(8 * 0.25)
    assert fd_mel([2 * mel for mel in mels], mels) > 1


def test_fd_mfcc_is_the_distance_of_the_mfcc_columns() -> None:
    noise, filtered = RNG.standard_normal(16_000), np.cumsum(RNG.standard_normal(16_000)) / 50
    expected = fd_mel(*([mfcc(wave.astype(np.float32), 16_000, 50)] for wave in (filtered, noise)))
    assert fd_mfcc([filtered], [noise], 16_000) == pytest.approx(expected)
    assert fd_mfcc([noise], [noise], 16_000) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(fd_mfcc([np.zeros(16_000)], [noise], 16_000))


def test_halved_movements_have_a_global_variance_6_db_too_small() -> None:
    mels = [RNG.standard_normal((n, 8)) + 3 for n in (50, 70)]
    assert global_variance_error(mels, mels) == 0
    assert global_variance_error([3 + (mel - 3) / 2 for mel in mels], mels) == pytest.approx(20 * np.log10(2))


def test_the_global_variance_is_averaged_over_series_and_its_error_over_dimensions() -> None:
    one, other = np.array([[0.0, 0], [2, 2]]), np.array([[0.0, 0], [4, 4]])
    found = global_variance_error([one, other], [np.array([[0.0, 0], [10, 1]])])
    assert found == pytest.approx(np.mean(np.abs(10 * np.log10([2.5 / 25, 2.5 / 0.25]))))


def test_constant_dimensions_have_a_finite_error() -> None:
    assert global_variance_error([np.ones((4, 2))], [np.ones((4, 2))]) == 0
    assert global_variance_error([np.ones((4, 1))], [np.array([[0.0], [2]])]) == pytest.approx(80)


def test_what_has_no_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="needs two frames; there are 1"):
        frame_statistics([np.zeros((1, 3)), np.zeros((0, 3))])
    with pytest.raises(ValueError, match="needs two frames; there are 0"):
        fd_mel([], [np.zeros((2, 3))])
    with pytest.raises(ValueError, match="they must be"):
        fd_mel([np.zeros((2, 3))], [np.zeros((2, 4))])
    with pytest.raises(ValueError, match=r"series 0 of shape \(1, 3\) has no variance"):
        global_variance_error([np.zeros((1, 3))], [np.zeros((2, 3))])
    with pytest.raises(ValueError, match="3 dimensions of the prediction do not fit 4"):
        global_variance_error([np.zeros((2, 3))], [np.zeros((2, 4))])
    with pytest.raises(ValueError, match="there is no series"):
        global_variance_error([], [np.zeros((2, 3))])
