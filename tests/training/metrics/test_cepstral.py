"""Warped cepstra against the definition of the warping and SPTK's numbers; MCD and its warping against brute force."""

import functools
import math

import numpy as np
import numpy.typing as npt
import pytest

from autosing.signal.singer import song
from autosing.signal.voice import voices
from autosing.training.metrics import all_pass_constant, mcd, mcd_dtw, mel_cepstra
from autosing.training.metrics.cepstral import warped_cepstra
from autosing.training.metrics.dtw import warp

RNG = np.random.default_rng(0)
ANGLES = np.linspace(0, np.pi, 513)
DB = 10 / math.log(10) * math.sqrt(2)
HZ = 24_000
Floats = npt.NDArray[np.float64]


@functools.cache
def singing(voice: int = 0) -> Floats:
    """Returns 3 s by a synthetic singer, after the rest that a song begins with."""
    return song(3, voices(4)[voice], 5.0, sample_rate=HZ).wave[2 * HZ :].astype(np.float64)


def test_a_cosine_on_the_warped_axis_is_one_coefficient() -> None:
    constant = 0.466
    warped = ANGLES + 2 * np.arctan(constant * np.sin(ANGLES) / (1 - constant * np.cos(ANGLES)))
    coefficients = RNG.standard_normal(25) / (1 + np.arange(25))
    log_amplitude = np.cos(warped[:, None] * np.arange(25)) @ coefficients
    found = warped_cepstra(np.exp(2 * log_amplitude)[None], constant, 24)
    np.testing.assert_allclose(found[0], coefficients[1:], atol=1e-9)


def test_without_warping_it_is_the_cepstrum() -> None:
    coefficients = RNG.standard_normal(25)
    log_amplitude = np.cos(ANGLES[:, None] * np.arange(25)) @ coefficients
    found = warped_cepstra(np.exp(2 * log_amplitude)[None], 0.0, 24)
    np.testing.assert_allclose(found[0], coefficients[1:], atol=1e-9)


def test_the_cepstra_are_those_of_sptk() -> None:
    power = np.exp(np.sin(3 * ANGLES) ** 2 + 2 * np.cos(ANGLES) - np.cos(5 * ANGLES)) + 0.1
    # From pysptk 1.0.1: sp2mc(power, 24, 0.41)[[1, 2, 3, 12, 24]].
    expected = [7.06036351e-01, -5.82599689e-01, -3.18148612e-01, 2.59826617e-03, 1.13135551e-04]
    found = warped_cepstra(power[None], 0.41, 24)[0, [0, 1, 2, 11, 23]]
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_the_all_pass_constants_are_those_of_sptk() -> None:
    # From pysptk 1.0.1: mcepalpha.
    expected = {8000: 0.312, 16_000: 0.41, 22_050: 0.455, 24_000: 0.466, 44_100: 0.544, 48_000: 0.554}
    assert {rate: all_pass_constant(rate) for rate in expected} == expected


def test_the_distortion_of_one_coefficient_is_6_14_db_times_its_difference() -> None:
    target = np.zeros((3, 24))
    predicted = target.copy()
    predicted[:, 4] = [1, 2, 3]
    assert mcd(predicted, target) == pytest.approx(6.1418 * 2, rel=1e-4)


def test_level_hardly_counts() -> None:
    quiet, loud = mel_cepstra(singing() / 10, HZ), mel_cepstra(singing(), HZ)
    assert loud.shape == (300, 24)
    assert mcd(quiet, loud) < 0.2


def test_the_distortion_grows_with_noise_and_tells_voices_apart() -> None:
    target, noise = mel_cepstra(singing(), HZ), singing().std() * RNG.standard_normal(len(singing()))
    distortions = [mcd(mel_cepstra(singing() + 10 ** (-db / 20) * noise, HZ), target) for db in (80, 60, 40, 20)]
    assert 0 < distortions[0] < 3 and distortions == sorted(distortions)
    assert mcd_dtw(mel_cepstra(singing(2), HZ), target) > 3


def test_what_is_only_slower_is_near_after_warping() -> None:
    cepstra = mel_cepstra(singing(), HZ)
    slow = np.repeat(cepstra, 2, axis=0)
    assert mcd_dtw(slow, cepstra) == pytest.approx(0.0, abs=1e-12)
    assert mcd(slow[: len(cepstra)], cepstra) > 1


def brute_force(distance: Floats) -> tuple[float, int]:
    """Returns the least total over all paths, and the pairs of that path, by walking them all."""

    def best(i: int, j: int) -> tuple[float, int]:
        if i == j == 0:
            return float(distance[0, 0]), 1
        ways = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        total, pairs = min(best(*way) for way in ways if min(way) >= 0)
        return total + float(distance[i, j]), pairs + 1

    return best(distance.shape[0] - 1, distance.shape[1] - 1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (5, 5), (4, 7), (7, 4)])
def test_warping_finds_the_best_of_all_paths(shape: tuple[int, int]) -> None:
    first, second = RNG.standard_normal((shape[0], 3)), RNG.standard_normal((shape[1], 3))
    distance = np.linalg.norm(first[:, None] - second, axis=-1)
    total, pairs = warp(first, second)
    assert (pytest.approx(total), pairs) == brute_force(distance)
    assert mcd_dtw(first, second) == pytest.approx(DB * total / pairs)


def test_equal_series_are_warped_along_the_diagonal() -> None:
    assert warp(np.ones((9, 2)), np.ones((9, 2))) == (0.0, 9)


def test_silence_and_a_single_frame_have_finite_cepstra() -> None:
    silence, click = mel_cepstra(np.zeros(2400), HZ), mel_cepstra(np.ones(150), HZ)
    assert silence.shape == (10, 24) and click.shape == (1, 24)
    assert np.isfinite(silence).all() and np.isfinite(click).all()
    assert mcd(silence, silence) == 0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 24\) cannot be compared with a target of shape \(4, 24\)"):
        mcd(np.zeros((3, 24)), np.zeros((4, 24)))
    with pytest.raises(ValueError, match=r"shapes \(0, 24\) and \(4, 24\) cannot be warped"):
        mcd_dtw(np.zeros((0, 24)), np.zeros((4, 24)))
    with pytest.raises(ValueError, match=r"shapes \(3, 23\) and \(4, 24\) cannot be warped"):
        mcd_dtw(np.zeros((3, 23)), np.zeros((4, 24)))
    with pytest.raises(ValueError, match="0 samples at 24000 Hz has no frame"):
        mel_cepstra(np.zeros(0), HZ)
