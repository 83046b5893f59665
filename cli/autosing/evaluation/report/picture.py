"""A picture of a song, and the stretch of it that is worth looking at."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from autosing.page.svg import fitted, label, tag
from autosing.pipeline.report.lanes import LEFT, Lane

STRETCH_S, AFTER_S = 20.0, 2.0
NAME = 16.0
BOLD = 1.1
"""How much wider a bold letter is."""


@dataclass(frozen=True)
class Picture:
    """A figure with what it shows."""

    title: str
    figure: Markup


def worst_stretch(times_s: npt.NDArray[np.float64], badness: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Returns the 20 s, from about one of the rising times (N,) on, in which the sum of badness (N,) is largest.

    It ends soon after the last time.
    """
    totals = np.concatenate([[0.0], np.cumsum(badness)])
    last = np.searchsorted(times_s, times_s + STRETCH_S)
    start_s = max(float(times_s[np.argmax(totals[last] - totals[:-1])]) - 1, 0.0)
    return start_s, min(start_s + STRETCH_S, float(times_s[-1]) + AFTER_S)


def named(lane: Lane, name: str) -> Lane:
    """Returns a lane with a name at its left where there is room, else above it."""
    if fitted(name, LEFT / BOLD) == name:
        return replace(lane, name=name)
    below = tag("g", *lane.content, transform=f"translate(0 {NAME:.0f})")
    return Lane("", lane.height + NAME, [label(name, 0.0, NAME - 5, class_="lane"), below])
