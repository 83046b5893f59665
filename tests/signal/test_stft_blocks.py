"""Gains on a stream of spectra: ones give it back, and nothing depends on where blocks and stretches begin."""

import numpy as np
import pytest

from autosing.signal.stft_blocks import Gains, Spectra, filtered, window_size

RNG = np.random.default_rng(0)


def ones(spectra: Spectra, asked: slice) -> Gains:
    return np.ones((asked.stop - asked.start, 1, spectra.shape[2]), np.float32)


def around(spectra: Spectra, asked: slice) -> Gains:
    """Gains that look at two frames on either side."""
    levels = np.pad(np.abs(spectra), ((2, 2), (0, 0), (0, 0)))
    total = sum(levels[k : k + len(spectra)] for k in range(5))
    return (np.abs(spectra) / (1 + total))[asked].astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("n_frames", [1, 31, 32, 33, 64, 1_000])
def test_gains_of_one_give_back_the_stream(n_frames: int, channels: int) -> None:
    samples = RNG.standard_normal((n_frames, channels)).astype(np.float32)
    found = np.concatenate(list(filtered([samples], 64, ones, 3, 5)))
    assert found.shape == samples.shape and found.dtype == np.float32
    assert np.abs(found - samples).max() < 1e-5


def test_nothing_gives_nothing() -> None:
    assert list(filtered([], 64, ones, 3)) == []


@pytest.mark.parametrize("stretch", [1, 4, 512])
@pytest.mark.parametrize("block", [1, 63, 5_000])
def test_blocks_and_stretches_do_not_show(block: int, stretch: int) -> None:
    samples = RNG.standard_normal((2_000, 2)).astype(np.float32)
    whole = np.concatenate(list(filtered([samples], 64, around, 10_000, 10_000)))
    blocks = [samples[start : start + block] for start in range(0, len(samples), block)]
    assert np.abs(np.concatenate(list(filtered(blocks, 64, around, 2, stretch))) - whole).max() < 1e-6


def test_less_context_than_the_rule_needs_would_show() -> None:
    samples = RNG.standard_normal((2_000, 2)).astype(np.float32)
    whole = np.concatenate(list(filtered([samples], 64, around, 10_000, 10_000)))
    assert np.abs(np.concatenate(list(filtered([samples], 64, around, 1, 4))) - whole).max() > 1e-3


@pytest.mark.parametrize("sample_rate", [1_000, 8_000, 44_100, 768_000])
def test_a_window_is_even_and_lasts_what_it_should(sample_rate: int) -> None:
    size = window_size(0.046, sample_rate)
    assert size % 2 == 0 and size / sample_rate == pytest.approx(0.046, rel=0.1)
