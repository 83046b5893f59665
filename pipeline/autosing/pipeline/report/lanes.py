"""Lanes: what happens in a song, drawn row under row on one time axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from autosing.page.svg import Scale, drawing, label, tag, ticks

Span = Mapping[str, Any]
"""A labelled interval: text, start_s, end_s."""

WIDTH, LEFT, RIGHT_MARGIN = 1120.0, 76.0, 12.0
TICK_PX = 90.0
GAP, AXIS = 12.0, 20.0


@dataclass(frozen=True)
class Track:
    """A series (F,) or (F, dim) at a rate, and the address of its column."""

    values: npt.NDArray[Any]
    rate: Fraction
    address: str = ""

    def between(self, start_s: float, end_s: float) -> tuple[float, npt.NDArray[Any]]:
        """Returns the frames that touch an interval, and the time at which the first of them begins."""
        rate = float(self.rate)
        first, last = max(int(np.floor(start_s * rate)), 0), int(np.ceil(end_s * rate))
        return first / rate, self.values[first:last]

    def centres_s(self, start_s: float, end_s: float) -> npt.NDArray[np.float64]:
        """Returns the times of the centres of those frames."""
        first_s, values = self.between(start_s, end_s)
        return np.asarray(first_s + (np.arange(len(values)) + 0.5) / float(self.rate), np.float64)


@dataclass(frozen=True)
class Lane:
    """One row of a figure, drawn from 0 to `height` pixels, its name at the left."""

    name: str
    height: float
    content: Sequence[Markup]


def time_scale(start_s: float, end_s: float, width: float = WIDTH) -> Scale:
    """Returns where a time lies in a figure of that width in pixels."""
    return Scale(start_s, end_s, LEFT, width - RIGHT_MARGIN)


def stack(lanes: Sequence[Lane], x: Scale, cuts: Sequence[Span], alt: str) -> Markup:
    """Returns lanes under one another with the time axis below, lines at the ends of cuts, and the playhead."""
    content: list[Markup] = []
    top = 0.0
    for lane in lanes:
        inner = [label(lane.name, 0.0, 11.0, class_="lane"), *lane.content]
        content.append(tag("g", *inner, transform=f"translate(0 {top:.0f})"))
        top += lane.height + GAP
    bottom = top - GAP
    content += cut_lines(cuts, x, bottom)
    content += [tag("line", x1=x(t), x2=x(t), y1=bottom, y2=bottom + 4, class_="axis") for t in _times(x)]
    content += [label(f"{t:g} s", x(t), bottom + 16, "middle") for t in _times(x)]
    content.append(tag("line", x1=LEFT, x2=LEFT, y1=0, y2=bottom, class_="playhead"))
    measures = {"data_left": LEFT, "data_right": x.end, "data_seconds": f"{x.high - x.low:.3f}"}
    return drawing(content, x.end + RIGHT_MARGIN, bottom + AXIS, alt, class_="lanes", **measures)


def _times(x: Scale) -> list[float]:
    return ticks(x.low, x.high, round((x.end - x.start) / TICK_PX))


def cut_lines(cuts: Sequence[Span], x: Scale, height: float) -> list[Markup]:
    """Returns a dashed line at every start and end of a cut that lies in the figure."""
    times = {t for cut in cuts for t in (cut["start_s"], cut["end_s"]) if x.low <= t <= x.high}
    return [tag("line", x1=x(t), x2=x(t), y1=0, y2=height, class_="cut") for t in sorted(times)]


def clipped(span: Span, x: Scale) -> tuple[float, float]:
    """Returns the left and right end of a span, inside the figure."""
    left, right = (x(min(max(span[key], x.low), x.high)) for key in ("start_s", "end_s"))
    return left, right


def inside(spans: Sequence[Span], x: Scale) -> list[Span]:
    """Returns the spans of which something lies in the figure."""
    return [s for s in spans if s["end_s"] > x.low and s["start_s"] < x.high]


def when(span: Span) -> str:
    """Returns the times of a span."""
    return f"{span['start_s']:.2f}–{span['end_s']:.2f} s"
