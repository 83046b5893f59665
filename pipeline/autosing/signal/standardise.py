"""Features without what is the same all through a song: who sings, on which microphone, how loud."""

from typing import Any

import numpy as np
import numpy.typing as npt


def standardised(series: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Returns (F, D) with mean 0 and deviation 1 over the song in every dimension; what never changes becomes 0.

    Frames that are 0 throughout were not computed (`covered` is 0): they do not count and stay 0.

    Per speaker, this makes units of self-supervised features tell less of the speaker and more of what is said
    (van Niekerk, Nortje, Baas and Kamper, 2021); of a song, the singer is most of what is constant.
    """
    wide = series.astype(np.float64)
    computed: npt.NDArray[np.bool_] = np.asarray(wide.any(axis=1))
    if not computed.any():
        return np.zeros(series.shape, np.float32)
    mean, deviation = wide[computed].mean(axis=0), wide[computed].std(axis=0)
    # What float16 rounds about a constant is no signal.
    varies = deviation > 1e-3 * np.abs(mean)
    scaled = np.where(varies, (wide - mean) / np.where(varies, deviation, 1.0), 0.0)
    return (scaled * computed[:, None]).astype(np.float32)
