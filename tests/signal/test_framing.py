"""Frames are counted with integers, and every series says of a burst when it was."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosing.signal.energy import RATE as ENERGY_RATE
from autosing.signal.energy import energy
from autosing.signal.f0 import RATE as F0_RATE
from autosing.signal.f0 import Method, f0
from autosing.signal.framing import (
    centres_s,
    common_period,
    fit_length,
    frames,
    nearest_frames,
    slice_start,
    tied_frames,
)
from autosing.signal.mel import MelSpec, log_mel
from autosing.signal.mfcc import RATE as MFCC_RATE
from autosing.signal.mfcc import mfcc
from autosing.signal.resample import resample

Wave = npt.NDArray[np.float32]
SPEC = MelSpec()
SAMPLE_RATES = (16_000, 24_000, 44_100, 48_000)
CENTRES_S = (0.31, 0.4, 0.4371, 0.5345)

rates = st.fractions(Fraction(1, 4), Fraction(200), max_denominator=12)


def test_half_a_frame_counts_as_one() -> None:
    assert [frames(n, 16_000, Fraction(100)) for n in (0, 79, 80, 160, 239, 240)] == [0, 0, 1, 1, 1, 2]
    assert frames(24_000, 24_000, SPEC.rate) == 94  # 93.75
    assert frames(2**40, 44_100, Fraction(125, 12)) == (2 * 2**40 * 125 + 44_100 * 12) // (2 * 44_100 * 12)


@settings(max_examples=30)
@given(st.integers(0, 10**10), st.integers(1_000, 768_000), rates)
def test_a_count_is_the_duration_times_the_rate_rounded(n_samples: int, sample_rate: int, rate: Fraction) -> None:
    exact = Fraction(n_samples, sample_rate) * rate
    assert -Fraction(1, 2) < frames(n_samples, sample_rate, rate) - exact <= Fraction(1, 2)


@settings(max_examples=30)
@given(st.integers(1, 10**8), st.integers(1_000, 192_000))
def test_tied_streams_keep_their_ratio_and_cover_the_song(n_samples: int, sample_rate: int) -> None:
    snac = [Fraction(125, 12) * 2**k for k in range(4)]
    counts = tied_frames(n_samples, sample_rate, snac)
    assert counts == [counts[0] * 2**k for k in range(4)]
    assert counts[0] - 1 < Fraction(n_samples, sample_rate) * snac[0] <= counts[0]


def test_the_common_period_is_whole_frames_of_every_rate() -> None:
    assert common_period([Fraction(375, 4), Fraction(100), Fraction(50)]) == Fraction(8, 50)
    assert common_period([Fraction(125, 12), Fraction(375, 4), Fraction(100)]) == Fraction(12, 25)


def test_centres_are_in_the_middle_of_frames() -> None:
    assert centres_s(3, Fraction(50)).tolist() == [0.01, 0.03, 0.05]


def test_a_short_series_repeats_its_last_frame() -> None:
    series = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert fit_length(series, 1).tolist() == [[1, 2]]
    assert fit_length(series, 4).tolist() == [[1, 2], [3, 4], [3, 4], [3, 4]]
    assert fit_length(series[:0], 2).tolist() == [[0, 0], [0, 0]]


def test_nearest_frames_are_those_that_the_centres_fall_in() -> None:
    assert nearest_frames(6, Fraction(100), 3, Fraction(50)).tolist() == [0, 0, 1, 1, 2, 2]
    assert nearest_frames(3, Fraction(50), 6, Fraction(100)).tolist() == [1, 3, 5]
    assert nearest_frames(4, Fraction(50), 2, Fraction(50)).tolist() == [0, 1, 1, 1]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(0, 500), st.integers(0, 10**5), rates)
def test_a_slice_lies_inside_the_series_and_near_its_start(
    start_ms: int, length: int, extra: int, rate: Fraction
) -> None:
    total = length + extra
    first = slice_start(start_ms, length, total, rate)
    assert 0 <= first <= extra
    if first < extra:
        assert abs(first - Fraction(start_ms, 1000) * rate) <= Fraction(1, 2)


def burst(sample_rate: int, centre_s: float, kind: str, length_s: float = 0.02) -> Wave:
    """Returns 0.9 s of silence with a burst of noise or of a tone of ten harmonics in it."""
    t = np.arange(round(0.9 * sample_rate)) / sample_rate
    harmonics = [k for k in range(1, 11) if 440 * k < sample_rate / 2]
    sounds = {
        "noise": np.random.default_rng(1).standard_normal(len(t)),
        "tone": sum(np.sin(2 * np.pi * 440 * k * t) / k for k in harmonics),
    }
    return (0.2 * sounds[kind] * (np.abs(t - centre_s) <= length_s / 2)).astype(np.float32)


def centroid_frames(response: npt.NDArray[Any]) -> float:
    """Returns the centre of gravity, in frames from the start, of what rises above the background."""
    above = response - np.median(response)
    return float((above * (np.arange(len(above)) + 0.5)).sum() / above.sum())


def mel_response(wave: Wave, sample_rate: int) -> npt.NDArray[np.float32]:
    n_frames = frames(len(wave), sample_rate, SPEC.rate)
    mel = log_mel(resample(wave, sample_rate, SPEC.sample_rate), SPEC, n_frames)
    return np.asarray(np.exp(mel).sum(axis=1))


def energy_response(wave: Wave, sample_rate: int) -> npt.NDArray[np.float32]:
    return energy(wave, sample_rate, frames(len(wave), sample_rate, ENERGY_RATE))


def mfcc_response(wave: Wave, sample_rate: int) -> npt.NDArray[np.float32]:
    return mfcc(wave, sample_rate, frames(len(wave), sample_rate, MFCC_RATE))[:, 0]


@pytest.mark.parametrize("sample_rate", SAMPLE_RATES)
@pytest.mark.parametrize("kind", ["noise", "tone"])
@pytest.mark.parametrize(
    ("respond", "rate"),
    [(mel_response, SPEC.rate), (energy_response, ENERGY_RATE), (mfcc_response, MFCC_RATE)],
    ids=["mel", "energy", "mfcc"],
)
def test_a_burst_of_20_ms_is_where_it_was(
    respond: Callable[[Wave, int], npt.NDArray[np.float32]], rate: Fraction, kind: str, sample_rate: int
) -> None:
    for centre_s in CENTRES_S:
        found = centroid_frames(respond(burst(sample_rate, centre_s, kind), sample_rate))
        assert abs(found - centre_s * float(rate)) <= 0.25  # half a frame is asked for


@pytest.mark.parametrize("method", get_args(Method))
def test_a_note_of_200_ms_is_where_it_was(method: Method) -> None:
    """Voicing is yes or no: one note's centre is known to a frame, that of several notes on average to half of one."""
    periodic, voiced = [], []
    for sample_rate, centre_s in zip(SAMPLE_RATES, CENTRES_S, strict=True):
        wave = burst(sample_rate, centre_s, "tone", length_s=0.2)
        found = f0(wave, sample_rate, frames(len(wave), sample_rate, F0_RATE), method)
        periodic.append(centroid_frames(found.periodicity) - centre_s * float(F0_RATE))
        voiced.append(centroid_frames(found.voiced) - centre_s * float(F0_RATE))
    for errors in (periodic, voiced):
        assert np.abs(errors).max() <= 1
        assert abs(np.mean(errors)) <= 0.5


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44_100, 16_000), (16_000, 44_100), (48_000, 24_000), (22_050, 24_000)])
def test_resampling_keeps_time_level_and_length(from_hz: int, to_hz: int) -> None:
    t = np.arange(from_hz) / from_hz
    wave = (np.sin(2 * np.pi * 1000 * t) * np.hanning(from_hz)).astype(np.float32)
    expected = np.sin(2 * np.pi * 1000 * np.arange(to_hz) / to_hz) * np.interp(
        np.arange(to_hz) / to_hz, t, np.hanning(from_hz)
    )
    assert np.abs(resample(wave, from_hz, to_hz) - expected).max() < 1e-3


def test_resampling_to_the_same_rate_is_nothing() -> None:
    wave = np.ones(10, np.float32)
    assert resample(wave, 16_000, 16_000) is wave
    assert len(resample(wave[:1], 44_100, 16_000)) == 0
    assert len(resample(wave[:0], 44_100, 16_000)) == 0
