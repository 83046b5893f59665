"""Pooling: a series brought to a coarser, or any other, rate by time-weighted means."""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import RowError


def pool(
    series: npt.NDArray[np.floating[Any]], source_rate: Fraction, n_frames: int, rate: Fraction
) -> npt.NDArray[np.float32]:
    """Returns the mean of a series over each of `n_frames` frames at `rate`: (F, D) -> (n_frames, D).

    Each source frame counts by the time it shares with the frame; the weights are exact for any two rates. A frame that
    the series covers in part gets the mean of that part, one behind its end the last source frame.

    Raises:
        RowError: there are no source frames.
    """
    from scipy.sparse import csr_array

    if not len(series):
        raise RowError("the song is shorter than half a frame of the features: there is nothing to pool")
    overlaps, sources, targets = _overlaps(len(series), source_rate, n_frames, rate)
    weights = csr_array((overlaps, (targets, sources)), shape=(n_frames, len(series)), dtype=np.float32)
    totals = np.bincount(targets, overlaps, minlength=n_frames).astype(np.float32)
    pooled: npt.NDArray[np.float32] = weights @ series.astype(np.float32, copy=False)
    return pooled / totals[:, None]


def _overlaps(
    n_sources: int, source_rate: Fraction, n_targets: int, target_rate: Fraction
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns every piece of time that a source and a target frame share: length, source frame, target frame.

    Time is counted in a unit of which both kinds of frame have a whole number.
    """
    ratio = source_rate / target_rate
    source, target = ratio.denominator, ratio.numerator
    covered = min(n_sources * source, n_targets * target)
    edges = np.union1d(np.arange(0, covered, source), np.arange(0, covered, target))
    sources, targets = edges // source, edges // target
    lengths = np.diff(edges, append=covered)
    beyond = np.arange(-(-covered // target), n_targets)
    return (
        np.concatenate([lengths, np.ones_like(beyond)]),
        np.concatenate([sources, np.full_like(beyond, n_sources - 1)]),
        np.concatenate([targets, beyond]),
    )
