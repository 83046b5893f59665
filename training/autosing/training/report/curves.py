"""Curves over the steps of a run, few enough points for a page, with what is under the pointer told beside them."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from autosing.page.numerals import number, whole
from autosing.page.svg import Scale, curve, drawing, grid_line, label, tag, ticks
from autosing.training.report.log import VALID, Floats, Ints, Series

MOST_POINTS = 300
MOST_DOTS = 40
MOST_LEVELS = 6
WIDTH, HEIGHT = 560.0, 240.0
LEFT, RIGHT, TOP, BASE = 70.0, 14.0, 12.0, 208.0
MOST_STEPS = 5
EDGE = 30.0
"""How far from the right end labels of steps are set to its left."""
LOG_RATIO = 8
"""Positive values that span more than this are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Curve:
    """A series as it is drawn.

    Attributes:
        name: what it is.
        class_: its colour in the style sheet.
        steps: (N,).
        values: (N,), where there are many lines the means of stretches of steps.
        low: (N,), the lowest values of these stretches; None where every line is a point.
        high: (N,), the highest ones.
        lines_per_point: lines of the log behind a point.
    """

    name: str
    class_: str
    steps: Ints
    values: Floats
    low: Floats | None = None
    high: Floats | None = None
    lines_per_point: int = 1

    @property
    def extremes(self) -> tuple[float, float]:
        """The lowest and highest value of all lines."""
        low, high = (self.values if v is None else v for v in (self.low, self.high))
        return float(low.min()), float(high.max())


def thinned(series: Series, scale: float = 1.0) -> Curve:
    """Returns at most 300 points of a series: means of stretches of equal length, with their lowest and highest value.

    So no spike gets lost, however long the run is.
    """
    class_ = "validation" if series.name.startswith(VALID) else "training"
    name = class_ if series.base != series.name else series.name
    steps, values = series.steps, series.values * scale
    if len(steps) <= MOST_POINTS:
        return Curve(name, class_, steps, values)
    edges = np.linspace(steps[0], steps[-1] + 1, MOST_POINTS + 1)
    starts = np.unique(np.searchsorted(steps, edges[:-1]))
    counts = np.diff([*starts, len(steps)])
    means = np.add.reduceat(values, starts) / counts
    middles = np.rint(np.add.reduceat(steps.astype(np.float64), starts) / counts).astype(np.int64)
    low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    return Curve(name, class_, middles, means, low, high, math.ceil(len(steps) / len(starts)))


def chart(curves: Sequence[Curve], what: str, last_step: int, log: bool, best: tuple[int, float] | None) -> Markup:
    """Returns curves over steps from 0 to `last_step`.

    Args:
        curves: what is drawn, the later above.
        what: what is to be seen.
        last_step: end of the axis.
        log: whether the axis of values may be logarithmic.
        best: step and value that are marked.
    """
    x = Scale(0, max(last_step, 1), LEFT, WIDTH - RIGHT)
    y = _value_scale(min(c.extremes[0] for c in curves), max(c.extremes[1] for c in curves), log)
    content = [*_grid(x, y)]
    for drawn in curves:
        content += _drawn(drawn, x, y)
    if best:
        told = tag("title", f"best: {number(best[1])} at step {whole(best[0])}")
        content.append(tag("circle", told, cx=x(best[0]), cy=y(best[1]), r=6.0, class_="best-ring"))
    content.append(tag("line", x1=LEFT, x2=LEFT, y1=TOP, y2=BASE, class_="pointer"))
    content += [tag("circle", r=4.0, class_=f"at {drawn.class_}") for drawn in curves]
    return drawing(content, WIDTH, HEIGHT, what, class_="curves", data_curves=_readable(curves, x, y))


def _value_scale(low: float, high: float, log: bool) -> Scale:
    if log and low > 0 and high / low > LOG_RATIO:
        return Scale(low, high, BASE - 6, TOP + 4, log=True)
    if 0 <= low < 0.5 * high:
        low = 0.0
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    return Scale(low, high, BASE - 2, TOP + 4)


def _grid(x: Scale, y: Scale) -> list[Markup]:
    content = [grid_line(LEFT, WIDTH - RIGHT, y(t)) for t in levels(y)]
    content += [label(number(t), LEFT - 7, y(t) + 4, "end") for t in levels(y)]
    for t in filter(float.is_integer, map(float, ticks(x.low, x.high, MOST_STEPS))):
        content.append(label(whole(round(t)), x(t), BASE + 20, "end" if x(t) > x.end - EDGE else "middle"))
    content.append(label("step", LEFT - 22, BASE + 20, "end"))
    return content


def levels(y: Scale) -> list[float]:
    """Returns at most 7 round values for lines: on a logarithmic axis 1, 2 and 5 of each power of ten, or fewer."""
    if not y.log:
        return ticks(y.low, y.high, MOST_LEVELS)
    powers = range(math.floor(math.log10(y.low)), math.ceil(math.log10(y.high)) + 1)
    found: list[float] = []
    for mantissas in ((1, 2, 5), (1,)):
        found = [m * 10.0**p for p in powers for m in mantissas if y.low <= m * 10.0**p <= y.high]
        if len(found) <= MOST_LEVELS:
            return found
    return found[:: math.ceil(len(found) / MOST_LEVELS)]


def _drawn(drawn: Curve, x: Scale, y: Scale) -> list[Markup]:
    """Returns the range of the values as an area, their line, and dots where they are few."""
    points = [(x(int(s)), y(float(v))) for s, v in zip(drawn.steps, drawn.values, strict=True)]
    content = []
    if drawn.low is not None and drawn.high is not None:
        upper = [(x(int(s)), y(float(v))) for s, v in zip(drawn.steps, drawn.high, strict=True)]
        lower = [(x(int(s)), y(float(v))) for s, v in zip(drawn.steps, drawn.low, strict=True)]
        content.append(tag("path", d=f"{curve([*upper, *lower[::-1]])}Z", class_=f"range {drawn.class_}"))
    content.append(tag("path", d=curve(points), class_=f"loss {drawn.class_}"))
    if len(points) <= MOST_DOTS:
        content += [tag("circle", cx=px, cy=py, r=2.6, class_=f"point {drawn.class_}") for px, py in points]
    return content


def _readable(curves: Sequence[Curve], x: Scale, y: Scale) -> str:
    """Returns what the page's script needs to tell the values under the pointer, as JSON."""
    told = {
        "x": [x.low, x.high, x.start, x.end],
        "y": [y.low, y.high, y.start, y.end],
        "log": y.log,
        "curves": [
            {"steps": c.steps.tolist(), "values": _short(c.values), "low": _short(c.low), "high": _short(c.high)}
            for c in curves
        ],
    }
    return json.dumps(told, separators=(",", ":"))


def _short(values: Floats | None) -> list[float] | None:
    """Returns values with five digits, which is more than the page tells."""
    return None if values is None else [float(f"{value:.5g}") for value in values]
