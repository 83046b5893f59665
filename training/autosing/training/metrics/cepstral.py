"""Mel-cepstral distortion, of cepstra made by WORLD's envelope and an all-pass warping.

The recipe is WORLD's envelope and SPTK's `sp2mc`:

1. F0 by DIO and StoneMask at the centres of frames of 10 ms, and CheapTrick's envelope there (`pyworld`), at the wave's
   own sample rate.
2. The minimum-phase cepstrum c of the envelope: log|X(w)| = sum over m of c[m] cos(m w).
3. The same with the frequency axis warped by an all-pass filter whose constant comes nearest to the mel scale:
   log|X(w)| = sum over k of mc[k] cos(k w'), w' = w + 2 atan(a sin w / (1 - a cos w)). Kept are mc[1] to mc[24]; mc[0]
   is the level.

A distortion depends on the sample rate: compare numbers of one rate only. It does not depend on the level, so what
faint noise is in the pauses counts as much as the voice: compare cuts that are mostly sung.
"""

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.f0 import RATE, f0
from autosing.signal.framing import centres_s, frames
from autosing.training.metrics.dtw import warp
from autosing.training.metrics.shapes import require_equal_shapes

Wave = npt.NDArray[np.floating[Any]]
Cepstra = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

N_CEPSTRA = 24
# CheapTrick takes a frame of a lower pitch for an unvoiced one.
_LOWEST_F0_HZ = 71.0
_DB = 10 / math.log(10) * math.sqrt(2)


def mcd(predicted: Cepstra, target: Cepstra) -> float:
    """Returns the mel-cepstral distortion in dB of cepstra (F, 24) without their c0, frame by frame.

    It is the mean over all frames, silent ones too, of 10 / ln 10 * sqrt(2 * sum of squared differences) (Kubichek,
    1993).

    Raises:
        ValueError: the cepstra have two shapes, or no frame.
    """
    require_equal_shapes(predicted, target)
    return _DB * float(np.sqrt(np.square(predicted.astype(np.float64) - target).sum(1)).mean())


def mcd_dtw(predicted: Cepstra, target: Cepstra) -> float:
    """Returns the mel-cepstral distortion in dB of cepstra (F, 24), (G, 24): its mean along the warping path.

    Raises:
        ValueError: one has no frame, or their widths differ.
    """
    total, n_pairs = warp(predicted.astype(np.float64), target.astype(np.float64))
    return _DB * total / n_pairs


def mel_cepstra(wave: Wave, sample_rate: int) -> Doubles:
    """Returns the mel-cepstra (F, 24) of `wave` (T,), without c0, at 100 frames per second.

    Raises:
        ValueError: the wave is shorter than half a frame.
    """
    import pyworld

    n_frames = frames(len(wave), sample_rate, RATE)
    if not n_frames:
        raise ValueError(f"a wave of {len(wave)} samples at {sample_rate} Hz has no frame of 10 ms")
    pitch = f0(wave.astype(np.float32), sample_rate, n_frames, method="dio", fmin_hz=_LOWEST_F0_HZ)
    samples = np.ascontiguousarray(wave, np.float64)
    power = pyworld.cheaptrick(samples, pitch.f0_hz.astype(np.float64), centres_s(n_frames, RATE), sample_rate)
    return warped_cepstra(power, all_pass_constant(sample_rate), N_CEPSTRA)


def warped_cepstra(power: Doubles, constant: float, order: int) -> Doubles:
    """Returns the coefficients 1 to `order` of the warped cepstra, (F, order), of power spectra (F, N/2 + 1)."""
    # Of the power's logarithm, the coefficients are twice those of the amplitude's: the minimum phase's. That does not
    # hold for the one of the level, which goes into mc[0] alone.
    cepstra = np.fft.irfft(np.log(power))[:, : power.shape[1]]
    warped: Doubles = cepstra @ _warping(constant, order, power.shape[1]).T
    return warped[:, 1:]


@functools.cache
def _warping(constant: float, order: int, n_cepstra: int) -> Doubles:
    """Returns the matrix (order + 1, n_cepstra) from a cepstrum to the warped one (Oppenheim and Johnson, 1972).

    A delay z^-1 is (x + a) / (1 + a x) in terms of x, the warped delay. Column m is the power series of that to the
    power of m.
    """
    from scipy.signal import lfilter

    columns = np.zeros((n_cepstra, order + 1))
    columns[0, 0] = 1
    for m in range(1, n_cepstra):
        columns[m] = lfilter([constant, 1], [1, constant], columns[m - 1])
    return columns.T


@functools.cache
def all_pass_constant(sample_rate: int) -> float:
    """Returns the constant, in steps of 0.001, whose warping comes nearest to the mel scale: 0.41 at 16 kHz.

    Both axes are scaled to end at 1, and the mel scale is log(1 + f / 1000 Hz), as in SPTK's `mcepalpha`.
    """
    angle = np.linspace(0, np.pi, 1000)
    mel = np.log1p(angle / np.pi * sample_rate / 2000)
    constants = np.arange(1000)[:, None] / 1000
    warped = angle + 2 * np.arctan(constants * np.sin(angle) / (1 - constants * np.cos(angle)))
    error = np.square(warped / np.pi - mel / mel[-1]).sum(1)
    return float(constants[error.argmin(), 0])
