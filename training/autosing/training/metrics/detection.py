"""How well something is found: what is called right against what is, and scores that should rank it first."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.training.metrics.shapes import require_equal_shapes

Flags = npt.NDArray[Any]


@dataclass(frozen=True)
class DetectionScores:
    """Shares from 0 to 1.

    Attributes:
        precision: of what is called, how much is right; NaN where nothing is called.
        recall: of what is there, how much is called; NaN where nothing is there.
        f1: their harmonic mean; NaN where nothing is there and nothing is called.
    """

    precision: float
    recall: float
    f1: float


def detection_scores(predicted: Flags, target: Flags) -> DetectionScores:
    """Returns how well the true flags (N,) of `target` are found by those of `predicted`.

    Raises:
        ValueError: the lengths differ, or there is none.
    """
    require_equal_shapes(predicted, target)
    called, there = (int(np.count_nonzero(flags)) for flags in (predicted, target))
    hits = int(np.count_nonzero(predicted.astype(bool) & target.astype(bool)))
    return DetectionScores(
        precision=hits / called if called else math.nan,
        recall=hits / there if there else math.nan,
        f1=2 * hits / (called + there) if called + there else math.nan,
    )


def auroc(scores: npt.NDArray[Any], positive: Flags) -> float:
    """Returns the chance that a positive has a higher score (N,) than a negative, ties counted half.

    That is the area under the curve of hits over false alarms (Hanley and McNeil, 1982). NaN where all are of one kind.

    Raises:
        ValueError: the lengths differ, there is none, or a score is not finite.
    """
    from scipy.stats import rankdata

    require_equal_shapes(scores, positive)
    if not np.isfinite(scores).all():
        raise ValueError(f"score {int(np.argmin(np.isfinite(scores)))} of {len(scores)} is not finite; leave it out")
    is_positive = positive.astype(bool)
    n_positive = int(np.count_nonzero(is_positive))
    n_pairs = n_positive * (len(scores) - n_positive)
    if not n_pairs:
        return math.nan
    above = float(rankdata(scores)[is_positive].sum()) - n_positive * (n_positive + 1) / 2
    return above / n_pairs
