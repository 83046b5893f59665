"""How loud a conversion is: as loud as its source or as a number says, and never clipped."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from autosing.signal.faults import peak
from autosing.signal.loudness import integrated_loudness
from autosing.signal.rows import Rows

Wave = npt.NDArray[np.float32]
Loudness = Literal["source", "none"] | float

# -0.5 dB of full scale: what a file of 16 bits, or a resampler behind it, may still add.
HIGHEST_PEAK = 10 ** (-0.5 / 20)


@dataclass(frozen=True)
class Level:
    """How loud a conversion has become.

    Attributes:
        before_lufs: its loudness as it was made; None where it is silent or shorter than 0.4 s.
        wanted_lufs: that it was brought to; None where it was left.
        gain_db: that it was brought there by, the limit included.
        limited_db: by which the gain is lower than it should be, so that nothing clips; 0 or below.
        peak: of what came out, full scale = 1.
    """

    before_lufs: float | None
    wanted_lufs: float | None
    gain_db: float
    limited_db: float
    peak: float

    @property
    def factor(self) -> float:
        """The gain as a factor."""
        return float(10 ** (self.gain_db / 20))


def levelled(wave: Wave, sample_rate: int, wanted: Loudness, source_lufs: float | None) -> Level:
    """Brings a wave (T,) or (T, C) to a loudness, in place, and returns what that took.

    Args:
        wave: is changed.
        sample_rate: in Hz.
        wanted: `source`, `none`, or in LUFS.
        source_lufs: of the source; None where it has none, with which nothing is matched.
    """
    level = level_of(wave.reshape(len(wave), -1), sample_rate, wanted, source_lufs)
    wave *= np.float32(level.factor)
    return level


def level_of(samples: Rows, sample_rate: int, wanted: Loudness, source_lufs: float | None) -> Level:
    """Returns what brings samples (T, C), which may lie on disk, to a loudness; see `levelled`."""
    before = integrated_loudness(samples, sample_rate)
    target = None if wanted == "none" else source_lufs if wanted == "source" else float(wanted)
    target = None if before is None else target
    gain_db = 0.0 if target is None or before is None else target - before
    highest = peak(samples)
    limited_db = limit_db(highest, gain_db)
    level = Level(before, target, gain_db + limited_db, limited_db, highest)
    return replace(level, peak=highest * level.factor)


def limit_db(highest: float, gain_db: float) -> float:
    """Returns by how much a gain must be lower so that a peak stays below full scale; 0 where it need not."""
    if not highest:
        return 0.0
    return min(0.0, float(20 * np.log10(HIGHEST_PEAK / highest)) - gain_db)
