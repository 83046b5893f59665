"""Forced alignment finds the best path, agrees with torchaudio's, and keeps to what is known of a song."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from autosing.signal.errors import RowError
from autosing.signal.viterbi import Trellis, best_path

Floats = npt.NDArray[np.float32]


def log_probs(n_frames: int, n_symbols: int, seed: int) -> Floats:
    logits = 3 * np.random.default_rng(seed).standard_normal((n_frames, n_symbols))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def peaks(labels: dict[int, int], n_frames: int, n_symbols: int = 4) -> Floats:
    """Returns log probabilities of a sure net: the given label at each given frame, the blank elsewhere."""
    found = np.full((n_frames, n_symbols), np.log(0.01), np.float32)
    found[:, 0] = np.log(0.97)
    for frame, label in labels.items():
        found[frame, [0, label]] = found[frame, [label, 0]]
    return found


def frames_of(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], labels: list[int], n: int) -> list[int]:
    path = [0] * n
    for label, start, end in zip(labels, starts, ends, strict=True):
        path[start:end] = [label] * (end - start)
    return path


@pytest.mark.filterwarnings("ignore")  # torchaudio announces changes that it made long ago
@given(st.lists(st.integers(1, 4), min_size=1, max_size=7), st.integers(16, 30), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_it_scores_as_torchaudio_does(labels: list[int], n_frames: int, seed: int) -> None:
    emissions = log_probs(n_frames, 5, seed)
    path = best_path(emissions, Trellis.of(np.array(labels), n_frames))
    ours = frames_of(path.starts, path.ends, labels, n_frames)
    theirs, scores = torchaudio.functional.forced_align(torch.from_numpy(emissions)[None], torch.tensor([labels]))
    total = sum(emissions[frame, label] for frame, label in enumerate(ours))
    assert total == pytest.approx(float(scores.sum()), abs=1e-3)
    assert [k for k, _ in itertools.groupby(ours)] == [k for k, _ in itertools.groupby(theirs[0].tolist())]


def test_equal_labels_have_a_blank_between_them() -> None:
    path = best_path(peaks({3: 1, 4: 1}, 10), Trellis.of(np.array([1, 1]), 10))
    assert path.ends[0] < path.starts[1]


def test_a_label_stays_in_its_window() -> None:
    plain = Trellis.of(np.array([1, 2]), 20)
    emissions = peaks({2: 1, 15: 1, 17: 2}, 20)
    assert best_path(emissions, plain).starts[0] in (2, 15)
    confined = Trellis(**{**vars(plain), "first": np.array([10, 10]), "last": np.array([19, 19])})
    assert best_path(emissions, confined).starts[0] == 15


def test_an_expected_place_decides_between_two_that_sound_alike() -> None:
    plain = Trellis.of(np.array([1]), 40)
    emissions = peaks({5: 1, 30: 1}, 40)
    for expected in (5, 30):
        known = {"expected": np.array([expected + 2], np.float32), "stiffness": np.array([0.01], np.float32)}
        assert best_path(emissions, Trellis(**{**vars(plain), **known})).starts[0] == expected


def test_costly_blanks_keep_the_labels_of_a_line_together() -> None:
    plain = Trellis.of(np.array([1, 2]), 60)
    emissions = peaks({5: 1, 50: 1, 52: 2}, 60)
    costly = {"blank_cost": np.array([0, 0.2, 0], np.float32)}
    path = best_path(emissions, Trellis(**{**vars(plain), **costly}))
    assert list(path.starts) == [50, 52]


def test_a_gap_stands_for_singing_that_is_not_in_the_lyrics() -> None:
    emissions = peaks(dict.fromkeys(range(5, 30), 3) | {40: 1}, 60)
    plain = Trellis.of(np.array([1]), 60)
    any_sound = np.log1p(-np.exp(emissions[:, 0])).astype(np.float32) - np.float32(0.1)
    gaps = Trellis(**{**vars(plain), "gap_cost": np.zeros(2, np.float32)})
    assert best_path(emissions, gaps, gap=any_sound).starts[0] == 40


def test_more_labels_than_frames_are_refused() -> None:
    with pytest.raises(RowError, match=r"12 sounds do not fit into 5 frames"):
        best_path(log_probs(5, 4, 0), Trellis.of(np.array([1, 2] * 6), 5))


def test_no_labels_have_an_empty_path() -> None:
    assert len(best_path(log_probs(5, 4, 0), Trellis.of(np.zeros(0, np.int64), 5)).starts) == 0
