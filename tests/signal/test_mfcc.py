"""MFCC equal Kaldi's, with torchaudio's deltas, in blocks as in one piece."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchaudio
from torchaudio.compliance import kaldi

from autosing.signal.mfcc import mfcc


def song(n_samples: int) -> npt.NDArray[np.float32]:
    """Returns noise whose level wanders."""
    rng = np.random.default_rng(0)
    level = np.interp(
        np.arange(n_samples), np.arange(0, n_samples + 4000, 4000), rng.uniform(-8, 0, n_samples // 4000 + 1)
    )
    return (rng.standard_normal(n_samples) * np.exp(level)).astype(np.float32)


def test_features_are_kaldis_with_their_slopes_averaged_in_pairs() -> None:
    wave = song(16_000 * 12)
    cepstra = kaldi.mfcc(torch.from_numpy(wave)[None], dither=0.0, use_energy=False, snip_edges=False).T
    slopes = torchaudio.functional.compute_deltas(cepstra)
    expected = torch.cat([cepstra, slopes, torchaudio.functional.compute_deltas(slopes)]).T
    assert np.allclose(mfcc(wave, 16_000, 600), expected.reshape(600, 2, 39).mean(1).numpy(), atol=1e-5)


def test_a_part_has_the_features_that_it_has_in_the_whole() -> None:
    wave = song(320 * 700)
    whole = mfcc(wave, 16_000, 700)
    part = mfcc(wave[320 * 37 : 320 * 637], 16_000, 600)
    assert np.array_equal(part[4:-4], whole[41:633])


@pytest.mark.parametrize(("n_samples", "n_frames"), [(0, 1), (1, 1), (2, 3), (100, 1), (399, 1), (480, 2), (0, 0)])
def test_short_waves_have_finite_features(n_samples: int, n_frames: int) -> None:
    features = mfcc(song(4000)[:n_samples], 16_000, n_frames)
    assert features.shape == (n_frames, 39)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


def test_digital_silence_has_finite_features_without_slopes() -> None:
    features = mfcc(np.zeros(16_000, np.float32), 16_000, 50)
    assert np.isfinite(features).all()
    assert np.abs(features[:, 13:]).max() < 1e-5
