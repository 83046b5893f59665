"""Features without what is the same all through a song: who sings, on which microphone, how loud."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Standardise = Literal["none", "mean", "full"]
Floats = npt.NDArray[np.floating[Any]]


def standardised(series: Floats, how: Standardise) -> Floats:
    """Returns (F, D) as it is, with mean 0 over the song in every dimension, or with mean 0 and deviation 1.

    Frames that are 0 throughout were not computed (`covered` is 0): they do not count and stay 0. With `full`, a
    dimension that never changes becomes 0.

    Per speaker, this makes units of self-supervised features tell less of the speaker and more of what is said
    (van Niekerk, Nortje, Baas and Kamper, 2021); of a song, the singer is most of what is constant.
    """
    if how == "none":
        return series
    wide = series.astype(np.float64)
    computed: npt.NDArray[np.bool_] = np.asarray(wide.any(axis=1))
    if not computed.any():
        return np.zeros(series.shape, np.float32)
    mean = wide[computed].mean(axis=0)
    centred = (wide - mean) * computed[:, None]
    scaled: npt.NDArray[np.float64] = centred / _deviation(wide[computed], mean) if how == "full" else centred
    return scaled.astype(np.float32)


def _deviation(frames: npt.NDArray[np.float64], mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    deviation: npt.NDArray[np.float64] = frames.std(axis=0)
    # What float16 rounds about a constant is no signal.
    return np.where(deviation > 1e-3 * np.abs(mean), deviation, np.inf)
