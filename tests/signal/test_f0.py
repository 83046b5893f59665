"""The gates of every F0 tracker: tones, glides, vibrato, silence, noise, onsets, all against what was synthesised."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from autosing.signal.f0 import F0, Method, f0

Doubles = npt.NDArray[np.float64]
Contour = Callable[[Doubles], Doubles]

METHODS = get_args(Method)
TONES_HZ = (80.0, 110.0, 150.0, 220.0, 330.0, 440.0, 600.0, 750.0, 1000.0)


def voice(contour_hz: Contour, sample_rate: int, duration_s: float) -> npt.NDArray[np.float32]:
    """Returns ten harmonics with amplitudes 1/k of a pitch that is `contour_hz` at every time in seconds."""
    t = np.arange(round(duration_s * sample_rate)) / sample_rate
    fine = np.linspace(0, duration_s, 20 * len(t) + 1)
    middle = (fine[1:] + fine[:-1]) / 2
    turns = np.concatenate([[0], np.cumsum(contour_hz(middle)) * (fine[1] - fine[0])])[::20][: len(t)]
    audible = [k for k in range(1, 11) if k * contour_hz(t).max() < 0.49 * sample_rate]
    wave = np.stack([0.2 / k * np.sin(2 * np.pi * k * turns) for k in audible]).sum(axis=0)
    return np.asarray(wave, np.float32)


def constant(hz: float) -> Contour:
    return lambda t: np.full_like(t, hz)


def track(wave: npt.NDArray[np.float32], sample_rate: int, method: Method) -> F0:
    return f0(wave, sample_rate, len(wave) * 100 // sample_rate, method)


def cents(measured_hz: npt.NDArray[np.float32], true_hz: Doubles) -> Doubles:
    error: Doubles = np.abs(1200 * np.log2(measured_hz / true_hz))
    return error


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sample_rate", [16_000, 24_000])
def test_tones_are_within_ten_cents_and_voiced(method: Method, sample_rate: int) -> None:
    for hz in TONES_HZ:
        found = track(voice(constant(hz), sample_rate, 0.25), sample_rate, method)
        voiced = found.voiced > 0
        assert voiced.mean() >= 0.9, hz
        assert np.median(cents(found.f0_hz[voiced], np.array(hz))) <= 10, hz


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sample_rate", [16_000, 24_000])
@pytest.mark.parametrize(
    "contour",
    [
        lambda t: 150 * 2 ** (t / 2),
        lambda t: 400 * 2 ** (-t / 2),
        lambda t: 220 * 2 ** (np.sin(2 * np.pi * 6 * t) / 12),
    ],
    ids=["glide up", "glide down", "vibrato"],
)
def test_moving_pitch_is_right_at_the_frame_centres(method: Method, sample_rate: int, contour: Contour) -> None:
    found = track(voice(contour, sample_rate, 0.8), sample_rate, method)
    centres = (np.arange(80) + 0.5) / 100
    inside = (found.voiced > 0) & (centres > 0.05) & (centres < 0.75)
    assert inside.sum() >= 65
    assert np.percentile(cents(found.f0_hz[inside], contour(centres[inside])), 95) <= 25


@pytest.mark.parametrize("method", METHODS)
def test_silence_noise_and_a_constant_are_unvoiced(method: Method) -> None:
    for wave in (np.random.default_rng(0).standard_normal(22_050) / 10, np.zeros(8_820), np.full(22_050, 0.3)):
        assert track(wave.astype(np.float32), 44_100, method).voiced.mean() < 0.1


@pytest.mark.parametrize("method", METHODS)
def test_voicing_begins_and_ends_within_two_frames_of_a_note(method: Method) -> None:
    for hz in (110.0, 440.0):
        wave = np.random.default_rng(0).standard_normal(14_400).astype(np.float32) * 1e-4
        wave[4_800:9_600] += voice(constant(hz), 16_000, 0.3)
        voiced = np.flatnonzero(track(wave, 16_000, method).voiced)
        assert abs(voiced[0] - 30) <= 2, hz
        assert abs(voiced[-1] - 59) <= 2, hz


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_samples", [0, 1, 10, 160, 400, 800])
def test_short_waves_have_the_asked_frames(method: Method, n_samples: int) -> None:
    found = f0(voice(constant(220), 16_000, 0.05)[:n_samples], 16_000, 3, method)
    assert [len(found.f0_hz), len(found.voiced), len(found.periodicity)] == [3, 3, 3]
    assert [str(s.dtype) for s in (found.f0_hz, found.voiced, found.periodicity)] == ["float32", "uint8", "float32"]


@pytest.mark.parametrize("method", METHODS)
def test_no_frames_give_empty_series(method: Method) -> None:
    assert len(f0(np.zeros(0, np.float32), 16_000, 0, method).f0_hz) == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_frame_is_voiced_exactly_where_it_has_a_pitch(method: Method) -> None:
    wave = voice(constant(200), 16_000, 1.0) * (np.arange(16_000) % 8000 < 4000)
    found = track(wave.astype(np.float32), 16_000, method)
    assert np.array_equal(found.voiced > 0, found.f0_hz > 0)
    assert found.periodicity.min() >= 0
    assert found.periodicity.max() <= 1


@pytest.mark.parametrize("fmin_hz", [47.0, 60.0, 71.3, 75.0, 100.0])
def test_praats_frames_are_at_our_centres_whatever_the_lowest_pitch(fmin_hz: float) -> None:
    contour: Contour = lambda t: 300 * 2**t  # noqa: E731
    found = f0(voice(contour, 16_000, 0.5), 16_000, 50, "praat", fmin_hz=fmin_hz)
    inside = slice(6, -6)
    assert len(found.f0_hz) == 50
    assert cents(found.f0_hz[inside], contour((np.arange(50) + 0.5)[inside] / 100)).max() < 3  # 1 ms is 1.2 cents


def test_swift_gives_a_part_of_a_song_what_it_gives_the_song() -> None:
    """Parts begin at multiples of 80 ms, where the network's frames and ours coincide; 0.2 s of context suffice."""
    contour: Contour = lambda t: 250 * 2 ** (np.sin(2 * np.pi * 5 * t) / 10)  # noqa: E731
    wave = np.tile(voice(contour, 16_000, 1.6), 7)
    wave += np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32) / 100
    whole = f0(wave, 16_000, 1120, "swift")
    first = 888  # the part spans the end of the whole's first block of 10 s
    part = f0(wave[first * 160 : (first + 200) * 160], 16_000, 200, "swift")
    inside = slice(20, -20)
    assert np.array_equal(part.voiced[inside], whole.voiced[first:][:200][inside])
    assert np.allclose(part.f0_hz[inside], whole.f0_hz[first:][:200][inside], rtol=1e-6, atol=0)
    assert np.array_equal(part.periodicity[inside], whole.periodicity[first:][:200][inside])


def test_worlds_trackers_find_in_blocks_what_they_find_in_the_whole() -> None:
    contour: Contour = lambda t: 250 * 2 ** (np.sin(2 * np.pi * 5 * t) / 10)  # noqa: E731
    wave = np.tile(voice(contour, 16_000, 2.0), 16) * (np.arange(512_000) % 24_000 < 20_000)
    whole = f0(wave.astype(np.float32), 16_000, 3200, "dio")
    part = f0(wave[2200 * 160 :].astype(np.float32), 16_000, 1000, "dio")
    assert np.array_equal(part.voiced[200:], whole.voiced[2400:])
    assert np.allclose(part.f0_hz[200:], whole.f0_hz[2400:], rtol=1e-6, atol=0)
