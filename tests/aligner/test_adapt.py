"""An aligner learns lines by heart from their stamps, reproducibly, and what cannot be learned from is left out."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from autosing.aligner.adapt import AdaptConfig, Line, adapt, lines_of
from autosing.aligner.emissions import CONTEXT_FRAMES, WINDOW_FRAMES, emissions, mixture, with_anything
from autosing.models.aligner import Aligner, AlignerFields
from autosing.signal.alphabet import CLASSES, alphabet
from autosing.signal.errors import UsageError
from autosing.signal.lyrics import parse_lrc

SMALL = AlignerFields(20, CLASSES, conv_dim=16, recurrent_dim=32, dropout=0.0)


def model(seed: int = 0) -> Aligner:
    torch.manual_seed(seed)
    return Aligner(SMALL).eval()


def line(seed: int, n_frames: int = 70) -> Line:
    """Returns a line whose every label has a band pattern of its own, at even places."""
    rng = np.random.default_rng(seed)
    labels = [int(n) for n in rng.permutation(np.arange(1, 9))[:3]]
    patterns = np.random.default_rng(0).standard_normal((len(CLASSES), 20)).astype(np.float32) * 3
    bands = 0.1 * rng.standard_normal((n_frames, 20)).astype(np.float32)
    for n, label in enumerate(labels):
        bands[15 + 18 * n : 25 + 18 * n] += patterns[label]
    return Line(bands, 0.2, 1.0, tuple(labels))


@pytest.mark.slow
def test_lines_are_learned_by_heart() -> None:
    aligner = model()
    losses = adapt(aligner, [line(n) for n in range(6)], AdaptConfig(steps=120, frames_per_batch=300, lr=2e-2))
    assert np.mean(losses[:5]) > 20 and np.mean(losses[-10:]) < 0.2 * np.mean(losses[:5])
    assert not aligner.training


def test_the_same_seed_gives_the_same_net() -> None:
    found = []
    for _ in range(2):
        aligner = model()
        adapt(aligner, [line(n) for n in range(3)], AdaptConfig(steps=3, frames_per_batch=300))
        found.append(aligner.nets[0].readout.weight.detach().numpy().copy())
    assert np.array_equal(*found)


def test_lines_that_do_not_fit_their_time_are_left_out_and_none_at_all_is_an_error() -> None:
    crowded = Line(np.zeros((100, 20), np.float32), 0.2, 0.4, (1, 2) * 60)
    with pytest.raises(UsageError, match=r"no line of lyrics fits the time"):
        adapt(model(), [crowded], AdaptConfig(steps=1))


def test_lines_come_from_stamps_and_those_with_a_word_without_sounds_are_left_out() -> None:
    stamped = parse_lrc("[00:01.00]hello world\n[00:03.00]42 is a number\n[00:05.00]\n").lines
    found = lines_of(np.zeros((500, 20), np.float32), stamped, 10.0, alphabet("classes"))
    assert [round(line.start_s, 2) for line in found] == [1.0]


def test_padding_changes_nothing() -> None:
    aligner, bands = model(), torch.randn(3, 61, 20)
    frames = torch.tensor([61, 40, 27])
    together = aligner(bands, frames)
    for n, length in enumerate(frames.tolist()):
        assert torch.allclose(together[:, n, :length], aligner(bands[n : n + 1, :length])[:, 0], atol=1e-5)


def test_windows_have_no_seams() -> None:
    aligner = model()
    rng = np.random.default_rng(0)
    bands = rng.standard_normal((2 * WINDOW_FRAMES + 77, 20)).astype(np.float32)
    found = emissions(aligner, bands)
    with torch.inference_mode():
        whole = aligner(torch.from_numpy(bands)[None])[:, 0].numpy()
    assert found.shape == whole.shape == (2, len(bands), len(CLASSES))
    assert np.abs(found - whole).max() < 1e-3 and CONTEXT_FRAMES < WINDOW_FRAMES
    assert emissions(aligner, bands[:0]).shape == (2, 0, len(CLASSES))


def test_the_mixture_is_of_probabilities_and_any_sound_is_all_but_the_blank() -> None:
    one, other = np.log([[[0.5, 0.5]], [[0.9, 0.1]]]).astype(np.float32)
    mixed: npt.NDArray[np.float32] = mixture(np.stack([one, other]))
    assert np.exp(mixed) == pytest.approx(np.array([[0.7, 0.3]]), abs=1e-6)
    assert np.exp(with_anything(mixed)[0, -1]) == pytest.approx(0.3, abs=1e-6)
