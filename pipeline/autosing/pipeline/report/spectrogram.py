"""A log-mel spectrogram as a picture, and where a frequency lies on it."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from autosing.pipeline.report.lanes import LEFT, Lane, Track
from autosing.pipeline.report.media import contrast, data_uri, mel_png
from autosing.pipeline.report.numerals import number
from autosing.pipeline.report.pitch import Points, voiced_curves
from autosing.pipeline.report.svg import Scale, curve, grid_line, label, tag
from autosing.signal.mel import MelSpec, slaney_filters

HEIGHT = 200.0
FINE_FFT = 1 << 15
ROUND_HZ = (16000, 8000, 4000, 2000, 1000, 500, 200, 100)
LABEL_PX = 14.0


@dataclass(frozen=True)
class MelAxis:
    """Maps hertz to pixels from the top of a picture whose rows are the bands of `spec`, the lowest at the bottom."""

    spec: MelSpec
    height: float = HEIGHT

    def __call__(self, hz: float) -> float:
        """Returns the height of a frequency; beyond the centres of the outermost bands that of the nearest one."""
        centres_hz = band_centres_hz(self.spec)
        band = float(np.interp(hz, centres_hz, np.arange(len(centres_hz))))
        return self.height * (1 - (band + 0.5) / len(centres_hz))

    def ticks_hz(self) -> list[int]:
        """Returns round frequencies of the axis, the highest first, none too close to the one before."""
        kept: list[int] = []
        for hz in ROUND_HZ:
            near = kept and self(hz) - self(kept[-1]) < LABEL_PX
            if self.spec.fmin_hz < hz < self.spec.fmax_hz and not near:
                kept.append(hz)
        return kept


@functools.cache
def band_centres_hz(spec: MelSpec) -> npt.NDArray[np.float64]:
    """Returns the frequency at which each band (M,) is most sensitive, from its filter on a fine grid."""
    fine = replace(spec, n_fft=FINE_FFT)
    return np.asarray(slaney_filters(fine).argmax(axis=1) * (spec.sample_rate / FINE_FFT))


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
