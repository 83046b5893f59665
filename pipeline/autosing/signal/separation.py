"""The voice of a mix without any weights: what is in the centre of the stereo image and does not repeat.

Two observations make the gains of a spectrum's bins. Voices are mixed to the centre, where both channels agree: the
ratio of side to mid power tells how far a bin is from it (Barry et al., 2004, and Avendano, 2003, tell it from ratios
of the channels). And accompaniments repeat within seconds while words do not: the median of the most similar moments
estimates the backing under each moment (REPET-SIM: Rafii and Pardo, 2012). Every constant was chosen on mixes whose
voice is known (benchmarks/stems.py). Masks that keep harmonic from percussive sound gained nothing beside these two, in
any of the forms tried, so there are none.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve1d, maximum_filter1d

from autosing.signal.decode import Samples
from autosing.signal.errors import UsageError
from autosing.signal.stft_blocks import STRETCH_FRAMES, Gains, Spectra, filtered, window_size

Magnitudes = npt.NDArray[np.float32]

_TINY = np.float32(1e-12)
# Magnitudes are compressed before moments are compared, or the loudest bins alone would say what is similar.
_COMPRESSION = np.float32(0.3)
# The median of few moments overestimates nothing but the voice itself: with less than these it is not believed.
_FEWEST_MOMENTS = 5
# As `to_mono`: from here on the channels are taken to be in opposite phase.
_OPPOSITE_RATIO = 100


@dataclass(frozen=True)
class Center:
    """How a voice is told from its backing.

    Args:
        window_s: length of a spectrum's window.
        reach_s: how far on either side similar moments are looked for.
        apart_s: moments closer than this count as one.
        moments: how many similar moments make the median.
        repeated: how many times the repeated part is taken off.
        sharpness: exponent of the mask that repetition gives; larger is harder.
        stereo: exponent of the stereo mask; 0 for none.
        low_hz: below it nothing is a voice.

    Raises:
        UsageError: a number is out of its range.
    """

    window_s: float = 0.046
    reach_s: float = 15.0
    apart_s: float = 0.3
    moments: int = 30
    repeated: float = 1.2
    sharpness: float = 1.5
    stereo: float = 0.5
    low_hz: float = 120.0

    def __post_init__(self) -> None:
        for name in ("window_s", "reach_s", "moments", "sharpness"):
            if not getattr(self, name) > 0:
                raise UsageError(f"stems: center.{name} is {getattr(self, name)}; it must be above 0")
        for name in ("apart_s", "repeated", "stereo", "low_hz"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"stems: center.{name} is {getattr(self, name)}; it must not be below 0")


def separate_center(
    blocks: Iterable[Samples], sample_rate: int, settings: Center, stretch: int = STRETCH_FRAMES
) -> Iterator[Samples]:
    """Yields the voice in a stream of blocks (n, C), in blocks of other lengths and as long in all.

    Two channels are a stereo image; with any other number, what repeats in their mean decides alone. Channels in
    opposite phase change roles: their voice is in the difference. Where stretches begin changes the result by less
    than -60 dB of it (float32 may choose another of two equally similar moments).

    Args:
        blocks: the mix.
        sample_rate: in Hz.
        settings: how the voice is told.
        stretch: frames that are computed at once.
    """
    size = window_size(settings.window_s, sample_rate)
    frame_s = size / 2 / sample_rate
    reach = max(round(settings.reach_s / frame_s), 1)
    rule = partial(_gains, settings=settings, size=size, sample_rate=sample_rate, reach=reach)
    return filtered(blocks, size, rule, reach + 1, stretch)


def _gains(spectra: Spectra, asked: slice, settings: Center, size: int, sample_rate: int, reach: int) -> Gains:
    """Returns the gains (n, 1, N) of the frames asked for."""
    mid = np.abs(spectra.mean(axis=1))
    apart = round(settings.apart_s * sample_rate / (size / 2))
    if spectra.shape[1] == 2:
        side = np.abs(spectra[:, 0] - spectra[:, 1]) / 2
        gains = _voice_mask(mid, side, asked, settings, reach, apart)
        opposite = _is_opposite(mid, side, asked, reach)
        if opposite.any():
            gains = np.where(opposite[:, None], _voice_mask(side, mid, asked, settings, reach, apart), gains)
    else:
        gains = _voice_mask(mid, None, asked, settings, reach, apart)
    gains[:, np.arange(size // 2 + 1) * sample_rate < settings.low_hz * size] = 0
    return gains[:, None]


def _is_opposite(mid: Magnitudes, side: Magnitudes, asked: slice, reach: int) -> npt.NDArray[np.bool_]:
    """Returns about which frames (n,) the difference of the channels is 20 dB above their mean."""
    sums = np.pad(np.cumsum([_powers(mid), _powers(side)], axis=1), ((0, 0), (1, 0)))
    frames = np.arange(asked.start, asked.stop)
    around = sums[:, np.minimum(frames + reach + 1, len(mid))] - sums[:, np.maximum(frames - reach, 0)]
    return np.asarray(around[1] > _OPPOSITE_RATIO * around[0], np.bool_)


def _powers(magnitudes: Magnitudes) -> npt.NDArray[np.float64]:
    powers: npt.NDArray[np.float64] = np.square(magnitudes, dtype=np.float64).sum(axis=1)
    return powers


def _voice_mask(
    mid: Magnitudes, side: Magnitudes | None, asked: slice, settings: Center, reach: int, apart: int
) -> Gains:
    """Returns how much of each bin (n, N) is voice, of mid and side magnitudes (F, N) with their context."""
    image = mid if side is None else np.concatenate([mid, side], axis=1)
    backing = _repeated(mid, _unit(image), asked, settings.moments, reach, apart)
    mix = mid[asked]
    sharpness = np.float32(settings.sharpness)
    voice = np.maximum(mix - np.float32(settings.repeated) * backing, 0) ** sharpness
    mask: Gains = np.divide(voice, voice + np.minimum(mix, backing) ** sharpness + _TINY, dtype=np.float32)
    if side is not None and settings.stereo:
        mask *= _centredness(mid, side, asked) ** np.float32(settings.stereo)
    return mask


def _centredness(mid: Magnitudes, side: Magnitudes, asked: slice) -> Gains:
    """Returns 1 where the channels agree and 0 where they have nothing in common, (n, N), over 3 frames and bins."""
    near = slice(max(asked.start - 1, 0), asked.stop + 1)
    inner = slice(asked.start - near.start, asked.stop - near.start)
    mid_power, side_power = (_smooth(magnitudes[near] ** 2)[inner] for magnitudes in (mid, side))
    centred: Gains = (mid_power - side_power).clip(0) / (mid_power + side_power + _TINY)
    return centred


def _smooth(powers: Magnitudes) -> Magnitudes:
    mean = np.full(3, 1 / 3)  # Not a running mean, which leaves rounding errors of loud bins in silent ones.
    smooth: Magnitudes = convolve1d(convolve1d(powers, mean, axis=0, mode="nearest"), mean, axis=1, mode="nearest")
    return smooth


def _unit(magnitudes: Magnitudes) -> Magnitudes:
    features = magnitudes**_COMPRESSION
    unit: Magnitudes = features / (np.linalg.norm(features, axis=1, keepdims=True) + _TINY)
    return unit


def _repeated(
    magnitudes: Magnitudes, features: Magnitudes, asked: slice, moments: int, reach: int, apart: int
) -> Magnitudes:
    """Returns the median (n, N) of the magnitudes at the moments most similar to each frame asked for.

    A moment is a peak of similarity at least `apart` frames from a more similar one. Zeros where there are too few.
    """
    frames, others = np.arange(asked.start, asked.stop)[:, None], np.arange(len(features))[None]
    similarity = features[asked] @ features.T
    similarity[np.abs(frames - others) > reach] = -1
    is_peak = similarity >= maximum_filter1d(similarity, 2 * apart + 1, axis=1, mode="constant", cval=-1.0)
    # A moment is always most similar to itself, which says nothing.
    similarity[~is_peak | (np.abs(frames - others) <= apart)] = -1
    backing = np.zeros_like(magnitudes[asked])
    n_kept = min(moments, similarity.shape[1])
    best = np.argpartition(-similarity, n_kept - 1, axis=1)[:, :n_kept]
    for row, (chosen, alike) in enumerate(zip(best, np.take_along_axis(similarity, best, 1), strict=True)):
        chosen = chosen[alike >= 0]
        if len(chosen) >= min(_FEWEST_MOMENTS, moments):
            backing[row] = np.median(magnitudes[chosen], axis=0)
    return backing
