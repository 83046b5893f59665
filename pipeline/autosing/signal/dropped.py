"""Why a second of a song lies in no cut: reasons that tile exactly what the cuts leave."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.signal.intervals import Floats, Singing, are_inside, clipped, gaps, union

NOT_SUNG = "not sung"
TOO_SHORT = "too short for a cut"
TOO_LITTLE = "too little is sung for a cut"
LEFT_OVER = "left over"
NOT_TRUSTED = "alignment not trusted"
LONG_WORD = "inside a word longer than max_s"
LONG_LINE = "inside a line longer than max_s"
NO_PAUSE = "no pause within max_s"
NO_LYRICS = "no lyrics with times"
NO_LINE = "outside the lines of lyrics"
SAME_START = "begins with another line"
REASONS = (
    *(NOT_SUNG, TOO_SHORT, TOO_LITTLE, LEFT_OVER, NOT_TRUSTED, LONG_WORD),
    *(LONG_LINE, NO_PAUSE, NO_LYRICS, NO_LINE, SAME_START),
)
BREATH_S = 0.5
"""A pause that is no longer than this belongs to the singing around it, so that reasons do not change by the breath."""


class Dropped(NamedTuple):
    """A stretch of a song that lies in no cut, and why."""

    reason: str
    start_s: float
    end_s: float


class Cause(NamedTuple):
    """A reason and the intervals (N, 2) to which it applies, kept or not."""

    reason: str
    intervals: Floats


def tiled(duration_s: float, kept: Floats, causes: Sequence[Cause], otherwise: str) -> list[Dropped]:
    """Returns what of [0, duration_s] lies in none of the `kept` intervals (N, 2), in order and without gaps.

    Args:
        duration_s: length of the song.
        kept: the cuts; they may overlap.
        causes: where several apply, the last one is the reason.
        otherwise: the reason where none applies.
    """
    painted = [Cause(otherwise, np.array([[0.0, duration_s]])), *causes, Cause("", kept)]
    inside = [clipped(cause.intervals, duration_s) for cause in painted]
    edges = np.unique(np.concatenate([intervals.ravel() for intervals in inside]))
    owner = np.zeros(max(len(edges) - 1, 0), np.int64)
    for number, intervals in enumerate(inside):
        for first, last in np.searchsorted(edges, intervals):
            owner[first:last] = number
    return _pieces(edges, owner, [cause.reason for cause in painted])


def _pieces(edges: Floats, owner: npt.NDArray[np.int64], reasons: Sequence[str]) -> list[Dropped]:
    """Returns a piece for each run of equal owners, those that are kept left out."""
    borders = np.flatnonzero(np.diff(owner, prepend=-1, append=-1))
    found = (Dropped(reasons[owner[a]], float(edges[a]), float(edges[b])) for a, b in pairwise(borders))
    return [piece for piece in found if piece.reason]


def causes_of_silence(left: Floats, singing: Singing, min_s: float, least_sung: float) -> list[Cause]:
    """Returns why stretches that no cut took (N, 2) have no cut of at least `min_s` with a share of `least_sung`."""
    short = left[left[:, 1] - left[:, 0] < min_s]
    phrases = union(singing.spans, BREATH_S)
    parts = _shared(phrases, left)
    needed_s = least_sung * np.maximum(parts[:, 1] - parts[:, 0], min_s)
    unsung = gaps(phrases, float(left[-1, 1])) if len(left) else left
    return [
        Cause(TOO_LITTLE, parts[singing.between(parts) < needed_s]),
        Cause(TOO_SHORT, short),
        Cause(NOT_SUNG, unsung),
    ]


def _shared(a: Floats, b: Floats) -> Floats:
    """Returns what lies both in disjoint intervals `a` and in disjoint intervals `b`, (N, 2)."""
    edges = np.unique(np.concatenate([a.ravel(), b.ravel()]))
    middles = (edges[1:] + edges[:-1]) / 2
    both = are_inside(middles, a) & are_inside(middles, b)
    return union(np.stack([edges[:-1], edges[1:]], axis=1)[both], bridge_s=1e-9)
