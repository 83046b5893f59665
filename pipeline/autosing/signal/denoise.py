"""Steady noise taken off a voice: a Wiener filter whose noise is what the quietest moments of each bin have.

The noise of a bin is a low quantile of its smoothed power within some seconds (minimum statistics: Martin, 2001, with
a quantile for the minimum), told every half second and interpolated. The gain follows the a-priori ratio of signal to
noise by the decision-directed rule (Ephraim and Malah, 1984, equation 51). Frames are worked off in order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve1d

from autosing.signal.decode import Samples
from autosing.signal.errors import UsageError
from autosing.signal.stft_blocks import STRETCH_FRAMES, Gains, Spectra, filtered, window_size

Powers = npt.NDArray[np.float32]

_TINY = np.float32(1e-20)
_WINDOW_S = 0.043
_SMOOTHED_FRAMES = 5
_TOLD_EVERY_S = 0.5
# A low quantile of noise is below its mean: by this factor for 5 frames that overlap by half, as measured.
_QUANTILE, _BIAS = 0.1, 1.8
_LARGEST_RATIO = np.float32(1e6)


@dataclass(frozen=True)
class Denoising:
    """How much noise is taken off.

    Args:
        reduction_db: by how much pure noise is lowered.
        reach_s: how far on either side quiet moments are looked for; longer than a phrase.
        steadiness: weight of the frame before in the decision-directed rule; lower follows onsets sooner and twitters.

    Raises:
        UsageError: a number is out of its range.
    """

    reduction_db: float = 20.0
    reach_s: float = 5.0
    steadiness: float = 0.97

    def __post_init__(self) -> None:
        if not self.reduction_db > 0 or not self.reach_s > 0:
            raise UsageError("denoise: reduction_db and reach_s must be above 0")
        if not 0 <= self.steadiness < 1:
            raise UsageError(f"denoise: steadiness is {self.steadiness}; it must be in [0, 1)")


def denoised(
    blocks: Iterable[Samples], sample_rate: int, settings: Denoising, stretch: int = STRETCH_FRAMES
) -> Iterator[Samples]:
    """Yields a stream of blocks (n, C) without its steady noise, each channel by itself, as long in all.

    Digital silence and what has quiet moments of no level pass as they are.

    Args:
        blocks: the recording.
        sample_rate: in Hz.
        settings: how much is taken off.
        stretch: frames that are computed at once; the result does not depend on it.
    """
    size = window_size(_WINDOW_S, sample_rate)
    rule = _Wiener(settings, size / 2 / sample_rate)
    return filtered(blocks, size, rule, rule.context, stretch)


class _Wiener:
    """The gains of successive frames of a stream.

    Args:
        settings: how much is taken off.
        frame_s: seconds from frame to frame.
    """

    def __init__(self, settings: Denoising, frame_s: float) -> None:
        self._lowest = np.float32(10 ** (-settings.reduction_db / 20))
        self._steadiness = np.float32(settings.steadiness)
        self._reach = max(round(settings.reach_s / frame_s), 1)
        self._step = max(round(_TOLD_EVERY_S / frame_s), 1)
        self.context = 2 * self._reach + self._step + _SMOOTHED_FRAMES
        self._n_done = 0
        self._before: Powers | None = None

    def __call__(self, spectra: Spectra, asked: slice) -> Gains:
        """Returns the gains (n, C, N) of the next frames."""
        powers = np.square(np.abs(spectra))
        # A running mean would leave rounding errors of loud frames in silent ones.
        smooth = convolve1d(powers, np.full(_SMOOTHED_FRAMES, 1 / _SMOOTHED_FRAMES), axis=0, mode="nearest")
        noise = self._noise(smooth, asked)
        gains = self._decided(powers[asked], noise)
        self._n_done += len(gains)
        return np.maximum(gains, self._lowest)

    def _noise(self, smooth: Powers, asked: slice) -> Powers:
        """Returns the power of the noise (n, C, N), linear between the points where it is told."""
        first = self._n_done // self._step * self._step
        points = np.arange(first, self._n_done + asked.stop - asked.start + self._step, self._step)
        shift = asked.start - self._n_done
        told = np.stack([self._floor(smooth, point + shift) for point in points])
        place = (np.arange(self._n_done, self._n_done + asked.stop - asked.start) - first) / self._step
        before = place.astype(np.intp)
        share = (place - before).astype(np.float32)[:, None, None]
        noise: Powers = told[before] * (1 - share) + told[before + 1] * share
        return noise

    def _floor(self, smooth: Powers, frame: int) -> Powers:
        """Returns the noise (C, N) about a frame: the mean that belongs to the low quantile of its surroundings."""
        # At the ends of the stream as many frames are looked at as elsewhere, all on one side.
        length = 2 * self._reach + 1
        first = max(min(frame - self._reach, len(smooth) - length), 0)
        around = smooth[first : first + length]
        rank = int(_QUANTILE * (len(around) - 1))
        floor: Powers = np.float32(_BIAS) * np.partition(around, rank, axis=0)[rank]
        return floor

    def _decided(self, powers: Powers, noise: Powers) -> Gains:
        """Returns the Wiener gains (n, C, N) of the decision-directed a-priori ratio."""
        ratios = np.minimum(powers / (noise + _TINY), _LARGEST_RATIO)
        gains = np.empty_like(ratios)
        for gain, ratio in zip(gains, ratios, strict=True):
            new = np.maximum(ratio - 1, 0)
            prior = new if self._before is None else self._steadiness * self._before + (1 - self._steadiness) * new
            gain[...] = prior / (1 + prior)
            self._before = gain**2 * ratio
        return gains
