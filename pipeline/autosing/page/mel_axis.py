"""Where a frequency lies on a picture of a mel spectrogram."""

import functools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from autosing.signal.mel import MelSpec, mel_filters

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
    return np.asarray(mel_filters(fine).argmax(axis=1) * (spec.sample_rate / FINE_FFT))
