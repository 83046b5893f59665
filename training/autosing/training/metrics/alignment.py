"""How far estimated word times are from true ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.training.metrics.shapes import require_equal_shapes

Times = npt.NDArray[np.floating[Any]]

# MIREX counts words within 0.3 s; finer ones tell good aligners apart.
TOLERANCES_S = (0.05, 0.1, 0.2, 0.3)
# So far off, a singer is at another line: the aligner has lost the song.
DERAILED_S = 1.0


@dataclass(frozen=True)
class AlignmentScores:
    """The measures of lyrics alignment of one song (`mir_eval.alignment`).

    Attributes:
        aae_s: average absolute error in seconds.
        median_ae_s: median absolute error in seconds.
        pco: share of words whose onset is right, by tolerance in seconds.
        pcs: share of the time in which the estimate is at the right word; NaN where it is not defined, and where an
            estimated word begins before the one before it.
        perceptual: how synchronous karaoke singers would find it, at most 1 (Lizé-Masclef et al., 2021). The best
            is slightly early; perfect times have 0.96. NaN where an estimated word begins before the one before it.
        derailment_rate: share of words more than a second off.
    """

    aae_s: float
    median_ae_s: float
    pco: Mapping[float, float]
    pcs: float
    perceptual: float
    derailment_rate: float


def alignment_scores(
    predicted_s: Times,
    target_s: Times,
    duration_s: float | None = None,
    tolerances_s: Sequence[float] = TOLERANCES_S,
) -> AlignmentScores:
    """Returns the measures of the onsets (N,) of a song's words; the true ones must not go back in time.

    Args:
        predicted_s: (N,) in seconds, in the order of the words; where they go back in time, two measures are NaN.
        target_s: (N,) in seconds.
        duration_s: of the song. With it, PCS is over the whole song (Fujihara et al., 2011), else from the first to
            the last true onset as in MIREX, which is not defined where these are the same.
        tolerances_s: of PCO.

    Raises:
        ValueError: there are two numbers of words or none, times are negative or past the duration, or true ones
            go back.
    """
    from mir_eval import alignment

    predicted_s, target_s = predicted_s.astype(np.float64), target_s.astype(np.float64)
    alignment.validate(target_s, np.sort(predicted_s))
    errors_s = np.abs(predicted_s - target_s)
    in_order = bool((np.diff(predicted_s) >= 0).all())
    has_segments = in_order and (duration_s is not None or target_s[-1] > target_s[0])
    return AlignmentScores(
        aae_s=float(errors_s.mean()),
        median_ae_s=float(np.median(errors_s)),
        pco={s: float(np.mean(errors_s <= s)) for s in tolerances_s},
        pcs=float(alignment.percentage_correct_segments(target_s, predicted_s, duration_s))
        if has_segments
        else math.nan,
        perceptual=float(alignment.karaoke_perceptual_metric(target_s, predicted_s)) if in_order else math.nan,
        derailment_rate=derailment_rate(predicted_s, target_s),
    )


def derailment_rate(predicted_s: Times, target_s: Times, threshold_s: float = DERAILED_S) -> float:
    """Returns the share of onsets (N,) that are more than `threshold_s` seconds off.

    Raises:
        ValueError: there are two numbers of words, or none.
    """
    require_equal_shapes(predicted_s, target_s)
    return float(np.mean(np.abs(predicted_s.astype(np.float64) - target_s) > threshold_s))
