"""Curves of how errors are spread, a line for each instance, and bars of the songs, the worst first."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

from autosing.evaluation.comparison import Comparison, ErrorAxis, Row
from autosing.evaluation.text import shortened, shown
from autosing.page.numerals import number
from autosing.page.svg import Scale, curve, drawing, grid_line, label, tag, ticks

WIDTH, HEIGHT = 560.0, 260.0
LEFT, RIGHT, TOP, BASE = 52.0, 12.0, 14.0, 216.0
BARS_WIDTH, NAMES, VALUE = 1120.0, 250.0, 70.0
BAR, SONG_GAP = 13.0, 7.0
MOST_BARS_SONGS = 40
COLOURS = 6
"""How many series the style sheet tells apart; the next ones begin again."""


def colour(instances: Sequence[str], instance: str) -> str:
    """Returns the class that gives an instance its colour on the whole page."""
    return f"s{list(instances).index(instance) % COLOURS}"


def within_chart(comparison: Comparison, axis: ErrorAxis) -> Markup | None:
    """Returns which share of the errors is at most so large, over a logarithmic axis; None where there is none."""
    x = Scale(axis.limits[0], axis.limits[-1], LEFT, WIDTH - RIGHT, log=True)
    y = Scale(0, 100, BASE, TOP)
    curves = {n: 100 * s.within for n in comparison.instances if (s := comparison.spread(n)) is not None}
    if not curves:
        return None
    content = _frame(x, y, axis.marks, axis.unit, "%")
    for name, shares in curves.items():
        points = [(x(limit), y(float(share))) for limit, share in zip(axis.limits, shares, strict=True)]
        content.append(tag("path", d=curve(points), class_=f"series {colour(comparison.instances, name)}"))
    told = [
        f"at most {number(limit, axis.unit)}: " + _told({n: float(shares[i]) for n, shares in curves.items()})
        for i, limit in enumerate(axis.limits)
    ]
    content += _hovers([x(limit) for limit in axis.limits], told)
    return drawing(content, WIDTH, HEIGHT, f"Share of the {axis.what} that are at most so far off", class_="chart wide")


def signed_chart(comparison: Comparison, axis: ErrorAxis) -> Markup | None:
    """Returns how many errors are in each bin, late ones to the right; None where there is none."""
    edges = np.array(axis.edges)
    curves = {n: 100 * s.bins for n in comparison.instances if (s := comparison.spread(n)) is not None}
    if not curves:
        return None
    x = Scale(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    y = Scale(0, max(float(max(shares.max() for shares in curves.values())), 1e-9), BASE, TOP)
    content = _frame(x, y, ticks(x.low, x.high, 9), axis.unit, "%")
    for name, shares in curves.items():
        corners = [(x(e), y(float(s))) for i, s in enumerate(shares) for e in edges[i : i + 2].tolist()]
        content.append(tag("path", d=curve(corners), class_=f"series {colour(comparison.instances, name)}"))
    centres = (edges[1:] + edges[:-1]) / 2
    told = [
        f"{number(edges[i])} to {number(edges[i + 1], axis.unit)}: "
        + _told({n: float(shares[i]) for n, shares in curves.items()})
        for i in range(len(centres))
    ]
    content += _hovers([x(float(c)) for c in centres], told)
    return drawing(
        content,
        WIDTH,
        HEIGHT,
        f"How the {axis.what} are off, from {axis.sides[0]} to {axis.sides[1]}",
        class_="chart wide",
    )


def outside_pct(comparison: Comparison, instance: str) -> float:
    """Returns how many percent of an instance's errors the signed chart does not show."""
    spread = comparison.spread(instance)
    return math.nan if spread is None else 100 * (1 - float(spread.bins.sum()))


def _frame(x: Scale, y: Scale, marks: Sequence[float], unit: str, y_unit: str) -> list[Markup]:
    content = [grid_line(LEFT, x.end, y(t)) for t in ticks(y.low, y.high, 6)]
    content += [label(number(t, y_unit), LEFT - 7, y(t) + 4, "end") for t in ticks(y.low, y.high, 6)]
    content += [tag("line", x1=x(m), x2=x(m), y1=TOP, y2=BASE, class_="grid") for m in marks]
    content += [label(number(m), x(m), BASE + 17, "end" if x(m) > x.end - 12 else "middle") for m in marks]
    content.append(label(unit, x.end, BASE + 34, "end"))
    return content


def _told(shares_pct: dict[str, float]) -> str:
    return ", ".join(f"{name} {number(share, '%')}" for name, share in shares_pct.items())


def _hovers(centres: Sequence[float], told: Sequence[str]) -> list[Markup]:
    """Returns invisible bars that tell under the pointer what lies there."""
    middles = [(a + b) / 2 for a, b in itertools.pairwise(centres)]
    edges = [centres[0], *middles, centres[-1]]
    return [
        tag("rect", tag("title", text), x=a, y=TOP, width=max(b - a, 0.5), height=BASE - TOP, class_="hover")
        for a, b, text in zip(edges, edges[1:], told, strict=False)
    ]


def song_bars(comparison: Comparison) -> Markup | None:
    """Returns bars of the worst songs, one for each instance; None where no value is known."""
    songs = list(comparison.by_song.items())[:MOST_BARS_SONGS]
    values = [v for _, rows in songs for row in rows if not math.isnan(v := row.values[comparison.worst_by])]
    if not values:
        return None
    x = Scale(0, max(*values, 1e-9), NAMES, BARS_WIDTH - VALUE)
    content: list[Markup] = []
    top = 0.0
    for name, rows in songs:
        content.append(label(shortened(name, 36), NAMES - 10, top + BAR * len(rows) / 2 + 4, "end", "name"))
        content += [_bar(comparison, x, row, top + BAR * i) for i, row in enumerate(rows)]
        top += BAR * len(rows) + SONG_GAP
    what = f"{comparison.worst.title} of the songs, the worst first"
    return drawing(content, BARS_WIDTH, top, what, class_="chart wide bars")


def _bar(comparison: Comparison, x: Callable[[float], float], row: Row, top: float) -> Markup:
    value, measure = row.values[comparison.worst_by], comparison.worst
    told = shown(measure, value)
    end = NAMES if math.isnan(value) else max(x(value), NAMES + 1)
    class_ = f"fill {colour(comparison.instances, row.instance)}"
    bar = tag("rect", x=NAMES, y=top, width=end - NAMES, height=BAR - 2, rx=2, class_=class_)
    title = tag("title", f"{row.id}, {row.instance}: {measure.title} {told} {measure.unit}")
    return tag("g", title, bar, label(told, end + 6, top + BAR - 3, class_="value"))
