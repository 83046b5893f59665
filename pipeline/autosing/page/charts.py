"""Small charts: a histogram, bars by name, the loss over steps."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from autosing.page.numerals import number, songs, whole
from autosing.page.svg import Scale, curve, drawing, fitted, grid_line, label, tag, ticks

Floats = npt.NDArray[np.float64]
Loss = tuple[int, float, float | None]

WIDTH, HEIGHT, BASE, EDGE = 300.0, 120.0, 100.0, 24.0
MOST_BINS, FEWEST_BINS = 24, 6
ROW, VALUE = 24.0, 110.0
LOG_RATIO = 8
"""Losses that span more than this are drawn on a logarithmic axis."""


def histogram(values: Floats, unit: str, what: str) -> Markup:
    """Returns how values (N,) are distributed, in bins of equal width."""
    low, high = float(values.min()), float(values.max())
    n_bins = min(MOST_BINS, max(FEWEST_BINS, math.ceil(2 * len(values) ** (1 / 3))))
    counts, edges = np.histogram(values, n_bins, (low, high) if high > low else (low - 0.5, high + 0.5))
    x = Scale(float(edges[0]), float(edges[-1]), 8, WIDTH - 8)
    y = Scale(0, int(counts.max()), BASE, 16)
    bars = [_bin(x, y, int(n), float(a), float(b), unit) for n, a, b in zip(counts, edges, edges[1:], strict=False)]
    axis = [label(number(t), x(t), HEIGHT - 6, _anchor(x(t))) for t in ticks(x.low, x.high, 5)]
    top = label(songs(int(counts.max())), 8, 11)
    return drawing([*bars, grid_line(8, WIDTH - 8, BASE), *axis, top], WIDTH, HEIGHT, what, class_="chart")


def _anchor(x: float) -> str:
    """Returns how a label of the axis is placed so that the picture's edge does not cut it."""
    return "start" if x < EDGE else "end" if x > WIDTH - EDGE else "middle"


def _bin(x: Scale, y: Scale, n: int, low: float, high: float, unit: str) -> Markup:
    told = tag("title", f"{number(low)} to {number(high, unit)}: {songs(n)}")
    bar = tag("rect", x=x(low) + 0.5, y=y(n), width=max(x(high) - x(low) - 1, 0.5), height=BASE - y(n), class_="bar")
    hover = tag("rect", x=x(low), y=16.0, width=x(high) - x(low), height=BASE - 16, class_="hover")
    return tag("g", told, bar, hover, class_="bin")


def bars(
    entries: Sequence[tuple[str, float]], what: str, best: str | None = None, width: float = WIDTH, names: float = 110.0
) -> Markup:
    """Returns a bar for each named value, with its number; the one named `best` stands out and says so.

    Args:
        entries: name and value, not below 0.
        what: what is to be seen.
        best: name of the best one.
        width: of the chart in pixels.
        names: width of the names in pixels.
    """
    x = Scale(0, max([value for _, value in entries] + [1e-12]), names, width - (VALUE if best else VALUE / 2))
    rows: list[Markup] = []
    for i, (name, value) in enumerate(entries):
        class_, mark = ("bar best", ", best") if name == best else ("bar", "")
        top, end = ROW * i, max(x(value), names + 1)
        text = label(fitted(name, names - 12), names - 8, top + 16, "end", "name")
        bar = tag("rect", x=names, y=top + 4, width=end - names, height=ROW - 8, rx=2, class_=class_)
        told = label(number(value) + mark, end + 6, top + 16, class_="value")
        rows.append(tag("g", tag("title", f"{name}: {number(value)}"), text, bar, told))
    return drawing(rows, width, ROW * len(entries), what, class_="chart wide")


def loss_chart(losses: Sequence[Loss]) -> Markup:
    """Returns the training loss as a line and the validation loss as dots on a line, over the steps."""
    width, height, left, base = 720.0, 260.0, 56.0, 222.0
    train = [(step, loss) for step, loss, _ in losses if math.isfinite(loss)]
    valid = [(step, loss) for step, _, loss in losses if loss is not None and math.isfinite(loss)]
    values = [loss for _, loss in train + valid] or [1.0]
    x = Scale(losses[0][0], losses[-1][0], left, width - 16)
    y = _loss_scale(min(values), max(values), base)
    levels = _levels(y)
    content = [grid_line(left, width - 16, y(t)) for t in levels]
    content += [label(number(t), left - 6, y(t) + 4, "end") for t in levels]
    content += [label(whole(round(t)), x(t), base + 18, "middle") for t in ticks(x.low, x.high, 8)]
    content += [label("step", width - 16, height - 4, "end"), label("loss", 4, 12)]
    for points, name in ((train, "training"), (valid, "validation")):
        if points:
            line = curve((x(step), y(loss)) for step, loss in points)
            content.append(tag("path", tag("title", f"{name} loss"), d=line, class_=f"loss {name}"))
    content += [_dot(x(step), y(loss), step, loss) for step, loss in valid]
    return drawing(content, width, height, "Training and validation loss over the steps", class_="chart wide")


def _loss_scale(low: float, high: float, base: float) -> Scale:
    if low > 0 and high / low > LOG_RATIO:
        return Scale(low, high, base - 6, 24, log=True)
    return Scale(min(low, 0.9 * low), high, base - 6, 24)


def _levels(y: Scale) -> list[float]:
    """Returns where the loss axis has lines: round numbers, on a logarithmic axis 1, 2 and 5 of each power of ten."""
    if not y.log:
        return ticks(y.low, y.high, 6)
    powers = range(math.floor(math.log10(y.low)), math.ceil(math.log10(y.high)) + 1)
    return [v for p in powers for v in (1 * 10.0**p, 2 * 10.0**p, 5 * 10.0**p) if y.low <= v <= y.high]


def _dot(x: float, y: float, step: int, loss: float) -> Markup:
    told = tag("title", f"validation loss {number(loss)} after {whole(step)} steps")
    return tag("circle", told, cx=x, cy=y, r=3.5, class_="dot")
