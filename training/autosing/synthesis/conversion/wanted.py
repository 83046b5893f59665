"""How a recording is converted, as people say it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autosing.signal.errors import UsageError
from autosing.synthesis.conversion.levels import Loudness

if TYPE_CHECKING:
    from autosing.models.diffusion import Solver

# Farther than that, formants are of nobody.
MOST_FORMANT = 12.0


@dataclass(frozen=True)
class Wanted:
    """How a recording is converted.

    Attributes:
        singer: as `conversion.singers` has it.
        key: semitones; None finds it by the medians of the voiced pitch of source and singer.
        round_key: whether a key that is found is a whole number of semitones.
        formant: semitones that the formants are moved by, for models that were trained with a key shift.
        loudness: `source`, `none`, or in LUFS.
        steps: of the solver, or calls of a student; None for 18, or 1.
        solver: of a teacher.
        guidance: how far towards the singer from nobody in particular; 1 is the model's own.
        seed: of the noise.
    """

    singer: str
    key: float | None = None
    round_key: bool = True
    formant: float = 0.0
    loudness: Loudness = "source"
    steps: int | None = None
    solver: "Solver" = "heun"
    guidance: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 0:
            raise UsageError(f"--steps is {self.steps}; give 1 or more, or 0 for the coarse mel alone")
        if abs(self.formant) > MOST_FORMANT:
            raise UsageError(
                f"--formant is {self.formant:g}; give semitones from -{MOST_FORMANT:g} to {MOST_FORMANT:g}"
            )
        if self.seed < 0:
            raise UsageError(f"--seed is {self.seed}; give a whole number from 0")
        self._check_loudness()
        numbers = (self.formant, self.guidance, self.key or 0.0)
        if not all(map(np.isfinite, numbers)) or self.guidance < 0:
            raise UsageError("--key, --formant and --guidance must be finite, and --guidance not below 0")

    def _check_loudness(self) -> None:
        is_named = self.loudness in ("source", "none")
        if not is_named and (isinstance(self.loudness, str) or not -70 <= self.loudness <= 0):
            raise UsageError(f"--loudness {self.loudness}: give source, none, or LUFS from -70 to 0")
