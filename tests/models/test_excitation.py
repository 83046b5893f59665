"""Pulses and noise: harmonics alike, silent where unvoiced, and the same piece by piece."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from autosing.models.excitation import (
    BLOCK_SAMPLES,
    NOISE_BLOCK,
    Excitation,
    PulseTrain,
    RunningExcitation,
    f0_at_samples,
    noise,
    pulses,
    sample_f0,
)
from autosing.models.pieces import pieces
from autosing.signal.mel import MelSpec

HZ = 24_000


def test_every_harmonic_is_as_strong_and_nothing_lies_between_them() -> None:
    wave, _ = pulses(torch.full((1, HZ), 220.0), HZ)
    spectrum = np.abs(np.fft.rfft(wave[0].numpy() * np.hanning(HZ)))
    harmonics = spectrum[220:12_000:220]
    assert harmonics.min() > 0.99 * harmonics.max()
    assert spectrum[330:11_000:220].max() < 1e-3 * harmonics.max()
    assert float(wave.square().mean()) == pytest.approx(1, abs=0.01)


def test_the_phase_goes_on_from_piece_to_piece_and_stands_still_where_unvoiced() -> None:
    f0_hz = np.where(np.arange(9000) // 1500 % 2 == 0, 311.0, 0).astype(np.float32)
    whole, _ = pulses(torch.from_numpy(f0_hz)[None], HZ)
    train = PulseTrain(HZ)
    parts = np.concatenate([train.next(f0_hz[:0]), train.next(f0_hz[:700]), train.next(f0_hz[700:])])
    np.testing.assert_allclose(parts, whole[0].numpy(), atol=1e-5)
    assert not parts[f0_hz == 0].any()


def test_a_voiced_sample_is_never_0_and_so_never_taken_for_unvoiced() -> None:
    # Of 240 and 300 Hz at 24 kHz every period is the same, and has samples where all harmonics cancel.
    f0_hz = torch.cat([torch.full((1, 4800), hz) for hz in (240.0, 0.0, 300.0, 8000.0)], dim=1)
    wave, _ = pulses(f0_hz, HZ)
    assert torch.equal(wave == 0, f0_hz == 0)


def test_pieces_that_are_asked_for_one_after_the_other_are_those_of_the_whole() -> None:
    spec, device = MelSpec(), torch.device("cpu")
    f0_hz = np.repeat(np.array([0, 220, 331.7, 0, 150], np.float32), 24 * spec.hop)
    whole = Excitation.of_samples(f0_hz, spec, 3)
    running = RunningExcitation(lambda first, last: f0_hz[first:last], spec, 3)
    for _, _, first, last in pieces(120, 17, 12):
        expected, found = whole.batch(first, last, device), running.batch(first, last, device)
        assert expected.keys() == found.keys()
        for name, values in expected.items():
            torch.testing.assert_close(found[name], values, rtol=0, atol=1e-5)


def test_noise_at_a_place_does_not_depend_on_what_is_asked_for() -> None:
    whole = noise(0, 3 * NOISE_BLOCK, seed=5)
    np.testing.assert_array_equal(noise(1000, NOISE_BLOCK, seed=5), whole[1000 : 1000 + NOISE_BLOCK])
    assert noise(7, 0, seed=5).size == 0
    assert not np.array_equal(noise(0, 100, seed=6), whole[:100])


def test_pitch_is_interpolated_inside_voiced_runs_alone() -> None:
    f0_hz = np.array([200, 400, 0, 300], np.float32)
    found = sample_f0(f0_hz, f0_hz > 0, np.array([0.0, 0.5, 0.6, 1.4, 2.0, 2.6, 9.0, -1.0]))
    np.testing.assert_allclose(found, [200, 200 * 2**0.5, 200 * 2**0.6, 400, 0, 300, 300, 200], rtol=1e-5)
    assert not sample_f0(f0_hz[:0], f0_hz[:0] > 0, np.arange(3.0)).any()


def test_blocks_of_a_long_recording_are_the_whole() -> None:
    n_samples = BLOCK_SAMPLES + 5000
    f0_hz = np.linspace(100, 300, n_samples // 240 + 1, dtype=np.float32)
    f0_hz[::50] = 0
    found = f0_at_samples(f0_hz, f0_hz > 0, Fraction(100), n_samples, HZ)
    times = (np.arange(n_samples) + 0.5) * 100 / HZ - 0.5
    np.testing.assert_array_equal(found, sample_f0(f0_hz, f0_hz > 0, times))
    whole, _ = pulses(torch.from_numpy(found)[None], HZ)
    np.testing.assert_allclose(PulseTrain(HZ).next(found), whole[0].numpy(), atol=1e-4)


def test_pieces_cover_everything_once() -> None:
    found = list(pieces(10, 4, 2))
    assert found == [(0, 4, 0, 6), (4, 8, 2, 10), (8, 10, 6, 10)]
    assert not list(pieces(0, 4, 2))
