"""Mels of the same singing by another microphone, at another distance, through a narrower line: the singer stays.

Pitch is left alone. To move the bands would move the formants with it, and that is another singer.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.page.mel_axis import band_centres_hz
from autosing.signal.mel import MelSpec

Mel = npt.NDArray[np.floating[Any]]

NATS_PER_DB = math.log(10) / 20
# Of an equaliser, from the lowest band to the highest.
POINTS = 7
# The narrowest line is a telephone's.
LOWEST_LIMIT_HZ = 3400.0


@dataclass(frozen=True)
class Colour:
    """How far a recording may be changed, in either direction.

    Attributes:
        level_db: of all bands.
        tilt_db: of the highest band against the lowest.
        equaliser_db: of points among the bands, in a straight line from each to the next.
        band_limit_share: share of samples that end at a frequency between a telephone's and their own.
    """

    level_db: float
    tilt_db: float
    equaliser_db: float
    band_limit_share: float

    def changed(self, mel: Mel, spec: MelSpec, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Returns a mel (F, M) with random changes; what is silent stays so."""
        floor, places = math.log(spec.floor), np.linspace(-0.5, 0.5, spec.n_mels)
        level_db, tilt_db = rng.uniform(-1, 1, 2) * (self.level_db, self.tilt_db)
        points_db = rng.uniform(-1, 1, POINTS) * self.equaliser_db
        curve_db = np.interp(places, np.linspace(-0.5, 0.5, POINTS), points_db)
        gain = NATS_PER_DB * (level_db + tilt_db * places + curve_db)
        is_kept = band_centres_hz(spec) <= self._limit_hz(spec, rng)
        # A float16's floor lies beside the number's, by less than this.
        is_heard = (mel > floor + 1e-2) & is_kept
        return np.where(is_heard, np.maximum(mel + gain, floor), floor).astype(np.float32)

    def _limit_hz(self, spec: MelSpec, rng: np.random.Generator) -> float:
        is_limited, place = rng.random(2)
        if is_limited >= self.band_limit_share or spec.fmax_hz <= LOWEST_LIMIT_HZ:
            return math.inf
        return float(LOWEST_LIMIT_HZ * (spec.fmax_hz / LOWEST_LIMIT_HZ) ** place)
