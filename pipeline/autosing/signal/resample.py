"""Changing the sample rate of a wave."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

_QUALITY = "HQ"


def resample(wave: npt.NDArray[np.float32], from_hz: int, to_hz: int) -> npt.NDArray[np.float32]:
    """Returns `wave` (T,) at `to_hz`: T x to/from samples (rounded), in phase with the input, or `wave` itself.

    soxr's HQ filter: flat to 91 % of the lower Nyquist frequency, linear phase, -120 dB beyond. A wave shorter than
    half a sample of the new rate becomes empty.
    """
    if from_hz == to_hz:
        return wave
    import soxr

    resampled: npt.NDArray[np.float32] = soxr.resample(wave, from_hz, to_hz, quality=_QUALITY)
    return resampled


def resample_blocks(
    blocks: Iterable[npt.NDArray[np.float32]], from_hz: int, to_hz: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Yields successive blocks (n, C) of a wave at `to_hz`, in blocks of other lengths: together `resample`'s."""
    if from_hz == to_hz:
        yield from blocks
        return
    import soxr

    converter, nothing = None, None
    for block in blocks:
        converter = converter or soxr.ResampleStream(from_hz, to_hz, block.shape[1], "float32", _QUALITY)
        nothing = block[:0]
        yield converter.resample_chunk(np.ascontiguousarray(block))
    if converter is not None:
        yield converter.resample_chunk(np.ascontiguousarray(nothing), last=True)
