"""How far the loudness of a wave is from what it should be."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.loudness import integrated_loudness

Samples = npt.NDArray[np.floating[Any]]


def loudness_error(predicted: Samples, target: Samples, sample_rate: int) -> float:
    """Returns the integrated loudness (ITU-R BS.1770-4) of the prediction minus that of the target, in LU.

    Positive where the prediction is too loud. NaN where the target is silent (no block of 0.4 s above -70 LUFS), minus
    infinity where only the prediction is. Anything shorter than 0.4 s is silent.

    Args:
        predicted: (T,) or (T, C).
        target: (T,) or (T, C), of any length.
        sample_rate: of both, in Hz.

    Raises:
        ValueError: one of them has no sample.
    """
    for name, samples in (("prediction", predicted), ("target", target)):
        if not samples.size:
            raise ValueError(f"the {name} of shape {samples.shape} has no sample, and no loudness")
    p, t = (_loudness_lufs(samples, sample_rate) for samples in (predicted, target))
    if t is None:
        return math.nan
    return -math.inf if p is None else p - t


def _loudness_lufs(samples: Samples, sample_rate: int) -> float | None:
    channels = samples[:, None] if samples.ndim == 1 else samples
    return integrated_loudness(channels.astype(np.float32), sample_rate)
