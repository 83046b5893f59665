"""The weight-free features of HuBERT's first iteration: 13 MFCC, their slopes and the slopes of those, at 50 Hz.

Hsu et al., 2021, section IV-B: the first codebook is fitted on these 39 values. The only file that imports torchaudio.
"""

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from autosing.signal.resample import resample

Floats = npt.NDArray[np.float32]

RATE = Fraction(50)

_HZ = 16_000
_HOP, _WINDOW = 160, 400
_N_CEPSTRA = 13
_BLOCK_FRAMES = 1000


def mfcc(wave: Floats, sample_rate: int, n_frames: int) -> Floats:
    """Returns the features (n_frames, 39) of `wave` (T,): frame `i` is the mean of the frames `2i`, `2i + 1` at 100 Hz.

    Those are Kaldi's at 16 kHz with `snip_edges=False`: windows of 25 ms about `(i + 1/2)/100` s, the wave mirrored at
    its ends.
    """
    if not n_frames:
        return np.zeros((0, 3 * _N_CEPSTRA), np.float32)
    cepstra = _cepstra(_mirrored(resample(wave, sample_rate, _HZ), 2 * n_frames))
    slopes = _slopes(cepstra)
    features = np.concatenate([cepstra, slopes, _slopes(slopes)], axis=1)
    means: Floats = (features[0::2] + features[1::2]) / np.float32(2)
    return means


def _mirrored(wave: Floats, n_frames: int) -> Floats:
    """Returns the samples that `n_frames` windows see, the wave being mirrored at its ends (the end sample twice)."""
    before = (_WINDOW - _HOP) // 2
    wave = wave[: n_frames * _HOP + before]
    after = max(n_frames * _HOP + before - len(wave), 0)
    if not len(wave):
        return np.zeros(before + after, np.float32)
    return np.pad(wave, (before, after), mode="symmetric")


def _cepstra(padded: Floats) -> Floats:
    """Returns Kaldi's cepstra (F, 13) of every window of `padded`, in blocks so that memory is flat."""
    import torch
    from torchaudio.compliance import kaldi

    n_frames = (len(padded) - _WINDOW) // _HOP + 1
    cepstra = np.empty((n_frames, _N_CEPSTRA), np.float32)
    for start in range(0, n_frames, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, n_frames)
        piece = torch.tensor(padded[start * _HOP : (stop - 1) * _HOP + _WINDOW])
        cepstra[start:stop] = kaldi.mfcc(piece[None], sample_frequency=_HZ, dither=0.0, use_energy=False).numpy()
    return cepstra


def _slopes(series: Floats) -> Floats:
    """Returns the slopes of (F, D), its ends repeated: (x[t+1] - x[t-1] + 2 (x[t+2] - x[t-2])) / 10."""
    x = np.pad(series, ((2, 2), (0, 0)), mode="edge")
    near, far = x[3:-1] - x[1:-3], x[4:] - x[:-4]
    slopes: Floats = (near + far + far) / np.float32(10)
    return slopes
