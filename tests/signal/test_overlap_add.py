"""Windows over a stream: what changes nothing gives it back, whatever the blocks and the length."""

import numpy as np
import pytest

from autosing.signal.overlap_add import overlap_add

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("n_frames", [1, 74, 75, 76, 99, 100, 101, 1_000])
@pytest.mark.parametrize("block", [1, 33, 5_000])
def test_doing_nothing_gives_back_the_stream(n_frames: int, block: int) -> None:
    samples = RNG.standard_normal((n_frames, 2)).astype(np.float32)
    blocks = [samples[start : start + block] for start in range(0, n_frames, block)]
    found = np.concatenate(list(overlap_add(blocks, 100, 75, lambda window: window)))
    assert found.shape == samples.shape
    assert np.abs(found - samples).max() < 1e-6


def test_windows_that_disagree_are_faded_into_each_other() -> None:
    level = iter(range(100))

    def process(window: np.ndarray) -> np.ndarray:
        return np.full_like(window, next(level))

    found = np.concatenate(list(overlap_add([np.zeros((400, 1), np.float32)], 100, 75, process)))[:, 0]
    assert found[0] == 0 and found[-1] == pytest.approx(5, abs=0.05)
    assert np.abs(np.diff(found)).max() < 0.06  # a jump would be 1


def test_every_window_has_the_full_length_and_zeros_behind_the_end() -> None:
    heard: list[np.ndarray] = []

    def process(window: np.ndarray) -> np.ndarray:
        heard.append(window)
        return window

    list(overlap_add([np.ones((130, 1), np.float32)], 100, 75, process))
    assert [(len(w), w.sum()) for w in heard] == [(100, 100), (100, 55)]
