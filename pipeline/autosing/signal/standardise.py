"""Features without what is the same all through a song: who sings, on which microphone, how loud."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from autosing.signal.rows import Rows, slices

Standardise = Literal["none", "mean", "full"]
Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

_BLOCK_FRAMES = 1 << 14


@dataclass(frozen=True)
class Standard:
    """What is taken out of every frame of a song.

    Attributes:
        mean: (D,); None where frames stay as they are.
        deviation: (D,) that they are divided by; infinite in a dimension that never changes.
    """

    mean: Doubles | None
    deviation: Doubles | None = None

    @classmethod
    def of(cls, series: Rows, how: Standardise) -> "Standard":
        """Returns what is to be taken out of a song's frames (F, D), which are read twice at most, in blocks."""
        if how == "none":
            return cls(None)
        mean = _mean(series, lambda frames: frames)
        if how == "mean":
            return cls(mean)
        deviation = np.sqrt(_mean(series, lambda frames: np.square(frames - mean)))
        # What float16 rounds about a constant is no signal.
        return cls(mean, np.where(deviation > 1e-3 * np.abs(mean), deviation, np.inf))

    def __call__(self, frames: Floats) -> Floats:
        """Returns some frames (F, D) of the song without it; those that are 0 throughout stay 0."""
        if self.mean is None:
            return frames
        wide = frames.astype(np.float64)
        centred = (wide - self.mean) * wide.any(axis=1, keepdims=True)
        scaled: Doubles = centred if self.deviation is None else centred / self.deviation
        return scaled.astype(np.float32)


def standardised(series: Floats, how: Standardise) -> Floats:
    """Returns (F, D) as it is, with mean 0 over the song in every dimension, or with mean 0 and deviation 1.

    Frames that are 0 throughout were not computed (`covered` is 0): they do not count and stay 0. With `full`, a
    dimension that never changes becomes 0.

    Per speaker, this makes units of self-supervised features tell less of the speaker and more of what is said
    (van Niekerk, Nortje, Baas and Kamper, 2021); of a song, the singer is most of what is constant.
    """
    return Standard.of(series, how)(series)


def _mean(series: Rows, of: Callable[[Doubles], Doubles]) -> Doubles:
    """Returns the mean (D,) of something over the frames that were computed; 0 where there are none."""
    total, count = np.zeros(series.shape[1]), 0
    for block in slices(series, _BLOCK_FRAMES):
        wide = block.astype(np.float64)
        computed = wide[wide.any(axis=1)]
        total, count = total + of(computed).sum(axis=0), count + len(computed)
    return total / max(count, 1)
