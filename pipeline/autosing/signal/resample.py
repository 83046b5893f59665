"""Changing the sample rate of a wave."""

import numpy as np
import numpy.typing as npt


def resample(wave: npt.NDArray[np.float32], from_hz: int, to_hz: int) -> npt.NDArray[np.float32]:
    """Returns `wave` (T,) at `to_hz`: T x to/from samples (rounded), in phase with the input, or `wave` itself.

    soxr's HQ filter: flat to 91 % of the lower Nyquist frequency, linear phase, -120 dB beyond. A wave shorter than
    half a sample of the new rate becomes empty.
    """
    if from_hz == to_hz:
        return wave
    import soxr

    resampled: npt.NDArray[np.float32] = soxr.resample(wave, from_hz, to_hz, quality="HQ")
    return resampled
