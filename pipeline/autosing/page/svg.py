"""SVG in small parts: escaped elements, scales from values to pixels, ticks, and curves."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import east_asian_width

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

Y = Callable[[float], float]
"""Maps a value to pixels from the top."""

LETTER_PX = 6.7
"""Width of a letter of a label of 11 px in a wide typeface, on average."""


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Returns an element; text and attribute values are escaped, `None` attributes are left out.

    `class_` becomes `class`, `stroke_width` becomes `stroke-width`; floats are written to a tenth of a pixel.
    """
    told = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _attribute(value))
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{}{}>{}</{}>").format(name, told, Markup("").join(children), name)


def _attribute(value: object) -> str:
    return pixels(value) if isinstance(value, float) else str(value)


def pixels(value: float) -> str:
    """Returns a coordinate to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` onto pixels from `start` to `end`, linearly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Returns the pixel of a value."""
        low, high, value = map(math.log, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Returns at most `most` round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s for s in (power, 2 * power, 5 * power, 10 * power) if s * (1 - 1e-9) >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)][:most]


def curve(points: Iterable[tuple[float, float]]) -> str:
    """Returns the path data of a line through points; one point alone is a dot."""
    corners = [f"{pixels(x)} {pixels(y)}" for x, y in points]
    return f"M{corners[0]}h0" if len(corners) == 1 else "M" + "L".join(corners)


def runs(flags: npt.NDArray[np.generic]) -> list[tuple[int, int]]:
    """Returns first and one-past-last index of each unbroken run of true flags (F,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(bool).astype(np.int8), [0]])))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def equal_runs(values: npt.NDArray[np.generic]) -> list[tuple[int, int]]:
    """Returns first and one-past-last index of each run of equal values (F,)."""
    edges = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def fitted(text: str, width_px: float) -> str:
    """Returns the text as far as it fits, ended by an ellipsis where it is cut; nothing where two letters don't fit."""
    widths = np.cumsum([LETTER_PX * (2 if east_asian_width(c) in "WF" else 1) for c in text])
    if not len(widths) or widths[-1] <= width_px:
        return text
    kept = int(np.searchsorted(widths, width_px - LETTER_PX, side="right"))
    return text[:kept].rstrip() + "…" if kept else ""


def label(text: str, x: float, y: float, anchor: str = "start", class_: str = "tick") -> Markup:
    """Returns a text at a point: `start`, `middle` or `end` of it."""
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=class_)


def grid_line(x1: float, x2: float, y: float) -> Markup:
    """Returns a horizontal line of a grid."""
    return tag("line", x1=x1, x2=x2, y1=y, y2=y, class_="grid")


def drawing(content: Sequence[Markup], width: float, height: float, alt: str, **attributes: object) -> Markup:
    """Returns a picture that scales with its container; `alt` says what is to be seen."""
    box = f"0 0 {pixels(width)} {pixels(height)}"
    return tag("svg", *content, viewBox=box, role="img", aria_label=alt, **attributes)
