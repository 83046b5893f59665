"""How far a set of predictions is from a set of targets that need not be the same songs.

The Frechet distances are of frames of mels and of MFCC. They are not FAD, which is of embeddings by a network, and
their values are not comparable with it.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.signal.framing import frames

Series = npt.NDArray[np.floating[Any]]
Wave = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

# A variance below this counts as this.
_LEAST_VARIANCE = 1e-8


class FrameStatistics(NamedTuple):
    """Mean (D,) and covariance (D, D) of frames."""

    mean: Doubles
    covariance: Doubles


def frame_statistics(series: Iterable[Series]) -> FrameStatistics:
    """Returns mean and unbiased covariance over all frames of series (F, D), in one pass.

    Raises:
        ValueError: there are fewer than two frames.
    """
    n_frames, shift, total, squares = 0, None, 0.0, 0.0
    for each in series:
        if not len(each):
            continue
        # Relative to a typical frame no precision is lost where the mean is far from 0.
        shift = each.mean(0, dtype=np.float64) if shift is None else shift
        centred = each - shift
        n_frames += len(centred)
        total = total + centred.sum(0)
        squares = squares + centred.T @ centred
    if shift is None or n_frames < 2:
        raise ValueError(f"a covariance needs two frames; there are {n_frames}")
    mean = np.asarray(total / n_frames)
    covariance = np.asarray((squares - n_frames * np.outer(mean, mean)) / (n_frames - 1))
    return FrameStatistics(mean + shift, covariance)


def frechet_distance(mean: Doubles, covariance: Doubles, other_mean: Doubles, other_covariance: Doubles) -> float:
    """Returns the squared Frechet distance of two normal distributions (Dowson and Landau, 1982).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), its root taken by eigenvalues, so that singular covariances (fewer
    frames than dimensions) do no harm.

    Args:
        mean: (D,).
        covariance: (D, D).
        other_mean: (D,).
        other_covariance: (D, D).

    Raises:
        ValueError: the shapes do not fit.
    """
    shapes = mean.shape, covariance.shape, other_mean.shape, other_covariance.shape
    if shapes != (mean.shape, mean.shape * 2) * 2:
        raise ValueError(f"means and covariances have shapes {shapes}; they must be (D,), (D, D), (D,), (D, D)")
    # The eigenvalues of C1 C2 are those of the symmetric S C2 S, where S S = C1.
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other_covariance @ root), 0)).sum()
    spread = np.trace(covariance) + np.trace(other_covariance) - 2 * common
    return float(np.square(mean - other_mean).sum() + max(spread, 0))


def fd_mel(predicted: Iterable[Series], target: Iterable[Series]) -> float:
    """Returns the squared Frechet distance of the frames of two sets of log-mels (F, M).

    Raises:
        ValueError: a set has fewer than two frames, or the numbers of bins differ.
    """
    return frechet_distance(*frame_statistics(predicted), *frame_statistics(target))


def fd_mfcc(predicted: Iterable[Wave], target: Iterable[Wave], sample_rate: int) -> float:
    """Returns the squared Frechet distance of the MFCC frames (39 values at 50 Hz) of two sets of waves (T,).

    Raises:
        ValueError: a set has fewer than two frames.
    """
    return fd_mel(*((_mfcc(wave, sample_rate) for wave in waves) for waves in (predicted, target)))


def _mfcc(wave: Wave, sample_rate: int) -> Series:
    from autosing.signal.mfcc import RATE, mfcc

    return mfcc(wave.astype(np.float32), sample_rate, frames(len(wave), sample_rate, RATE))


def global_variance_error(predicted: Iterable[Series], target: Iterable[Series]) -> float:
    """Returns how far the global variances of two sets of series (F, D) are from each other, in dB.

    The global variance of a dimension is its variance over a series' frames, averaged over series (Toda and Tokuda,
    2007); over-smoothed predictions have too little. The error is the mean over dimensions of the absolute difference
    of 10 log10; variances below 1e-8 count as 1e-8.

    Raises:
        ValueError: a set has no series, a series has fewer than two frames, or the numbers of dimensions differ.
    """
    p, t = _global_variance(predicted), _global_variance(target)
    if p.shape != t.shape:
        raise ValueError(f"{p.size} dimensions of the prediction do not fit {t.size} of the target")
    return float(np.abs(10 * np.log10(p / t)).mean())


def _global_variance(series: Iterable[Series]) -> Doubles:
    variances = []
    for i, each in enumerate(series):
        if len(each) < 2:
            raise ValueError(f"series {i} of shape {each.shape} has no variance; two frames are needed")
        variances.append(each.var(0, dtype=np.float64))
    if not variances:
        raise ValueError("there is no series")
    return np.asarray(np.maximum(np.mean(variances, axis=0), _LEAST_VARIANCE))
