"""A log-mel spectrogram as a lane of a figure."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from autosing.page.media import contrast, data_uri, mel_png
from autosing.page.mel_axis import HEIGHT, MelAxis
from autosing.page.numerals import number
from autosing.page.svg import Scale, curve, grid_line, label, tag
from autosing.pipeline.report.lanes import LEFT, Lane, Track
from autosing.pipeline.report.pitch import Points, voiced_curves
from autosing.signal.mel import MelSpec


def mel_lane(
    mel: Track,
    spec: MelSpec | None,
    f0: Track | None,
    voiced: Track | None,
    x: Scale,
    limits: tuple[float, float] | None = None,
) -> Lane:
    """Returns the spectrogram of what `x` spans, with F0 over it on the same axis; without a spec no axis is known.

    Args:
        limits: values that are darkest and brightest; those of the whole track where None.
    """
    start_s, shown = mel.between(x.low, x.high)
    end_s = start_s + len(shown) / float(mel.rate)
    content = [picture(shown, limits or contrast(mel.values), x(start_s), x(end_s))] if len(shown) else []
    if spec is not None:
        axis = MelAxis(spec)
        for hz in axis.ticks_hz():
            content += [label(number(hz / 1000), LEFT - 8, axis(hz) + 4, "end"), grid_line(LEFT - 5, LEFT, axis(hz))]
        content += _overlay([] if f0 is None else voiced_curves(f0, voiced, x, axis))
    return Lane("mel, kHz" if spec else "mel", HEIGHT, content)


def _overlay(curves: Sequence[Points]) -> list[Markup]:
    return [tag("path", d=curve(points), class_=layer) for layer in ("halo", "f0-on-mel") for points in curves]


def picture(mel: npt.NDArray[np.floating], limits: tuple[float, float], left: float, right: float) -> Markup:
    """Returns a spectrogram (F, M) stretched between two pixels."""
    address = data_uri(mel_png(mel, *limits), "image/png")
    told = tag("title", f"log-mel, dark {limits[0]:.1f} to bright {limits[1]:.1f} (ln)")
    return tag("image", told, href=address, x=left, y=0, width=right - left, height=HEIGHT, preserveAspectRatio="none")
