"""Charts of the comparison: a figure over the bitrate, and how often codes are used."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from autosing.evaluation.report.charts import COLOURS
from autosing.page.numerals import number
from autosing.page.svg import Scale, curve, drawing, grid_line, label, tag, ticks
from autosing.training.metrics import CodebookUse

WIDTH, HEIGHT = 480.0, 260.0
LEFT, RIGHT, TOP, BASE = 56.0, 16.0, 16.0, 216.0


def dots(points: Mapping[str, tuple[float, float]], x_unit: str, what: str) -> Markup:
    """Returns a named dot for each point; points without a value are left out."""
    known = {name: point for name, point in points.items() if not any(map(math.isnan, point))}
    x = _scale([point[0] for point in known.values()], LEFT, WIDTH - RIGHT, least=0.1)
    y = _scale([point[1] for point in known.values()], BASE, TOP)
    content = _axes(x, y, x_unit)
    placed: list[tuple[float, float]] = []
    for n, (name, (across, up)) in enumerate(known.items()):
        px, py = x(across), y(up)
        content.append(
            tag("circle", tag("title", f"{name}: {number(up)}"), cx=px, cy=py, r=5.0, class_=f"fill s{n % COLOURS}")
        )
        # Points of one bitrate have their names under each other.
        text_y = py + 4
        while any(abs(text_y - other) < 13 and abs(px - at) < 150 for at, other in placed):
            text_y += 13
        placed.append((px, text_y))
        after = px < (LEFT + WIDTH) / 2
        content.append(label(name, px + (9 if after else -9), text_y, "start" if after else "end"))
    return drawing(content, WIDTH, HEIGHT, f"{what} over the bitrate", class_="chart wide")


def use_curves(uses: Mapping[str, Sequence[CodebookUse]]) -> Markup:
    """Returns how frequent the codes of each stream are, sorted, over their rank as a share of the codebook."""
    x, y = Scale(0, 100, LEFT, WIDTH - RIGHT), Scale(1e-2, 1e2, BASE, TOP, log=True)
    content = _axes(x, y, "% of the codebook", [0.01, 0.1, 1.0, 10.0, 100.0])
    for n, (name, streams) in enumerate(uses.items()):
        for use in streams:
            share = np.sort(use.counts)[::-1] / max(use.counts.sum(), 1) * len(use.counts)
            points = [
                (x(100 * i / max(len(share) - 1, 1)), y(min(max(float(value), 1e-2), 1e2)))
                for i, value in enumerate(share)
            ]
            content.append(tag("path", tag("title", name), d=curve(points), class_=f"series s{n % COLOURS}"))
        content.append(label(name, WIDTH - RIGHT, TOP + 14 * (n + 1), "end", f"fill s{n % COLOURS}"))
    return drawing(content, WIDTH, HEIGHT, "Frequency of codes, times the number of codes", class_="chart wide")


def _scale(values: Sequence[float], start: float, end: float, least: float = 0.0) -> Scale:
    """Returns a scale with room on either side, of at least a share of the highest value."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    spare = max(0.15 * (high - low), least * abs(high)) or 1.0
    return Scale(low - spare, high + spare, start, end)


def _axes(x: Scale, y: Scale, x_unit: str, marks: Sequence[float] = ()) -> list[Markup]:
    content: list[Markup] = []
    for value in marks or ticks(y.low, y.high, 6):
        content += [grid_line(LEFT, WIDTH - RIGHT, y(value)), label(number(value), LEFT - 7, y(value) + 4, "end")]
    content += [label(number(value), x(value), BASE + 17, "middle") for value in ticks(x.low, x.high, 5)]
    return [*content, label(x_unit, WIDTH - RIGHT, BASE + 34, "end")]
