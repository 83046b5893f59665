"""The mel-L1 of hand-made pairs, and what happens to padding."""

import numpy as np
import pytest

from autosing.training.metrics import mel_l1, unpadded


def test_mel_l1_is_the_mean_over_all_frames_not_over_songs() -> None:
    short, long = np.ones((1, 2)), np.zeros((3, 2))
    assert mel_l1([short, long], [short + 4, long]) == pytest.approx(1.0)


def test_mels_of_two_lengths_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\) cannot be compared with a target of shape \(4, 3\)"):
        mel_l1([np.zeros((2, 3))], [np.zeros((4, 3))])


def test_padding_is_taken_off_before_anything_is_compared() -> None:
    batch = np.arange(12.0).reshape(2, 3, 2)
    assert [mel.shape for mel in unpadded(batch, np.array([3, 1]))] == [(3, 2), (1, 2)]


def test_no_frame_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs at least one frame"):
        mel_l1([np.zeros((0, 3))], [np.zeros((0, 3))])


def test_half_precision_mels_are_compared_in_double() -> None:
    mel = np.full((40_000, 1), 8, np.float16)
    assert mel_l1([mel], [mel + np.float16(2)]) == 2.0
