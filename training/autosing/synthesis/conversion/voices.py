"""The columns of recordings, which come from outside, and the voices that are heard in some of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autosing.signal.decode import Audio
from autosing.signal.errors import UsageError
from autosing.signal.tape import Tape
from autosing.synthesis.conversion.keys import SourcePitch

Wave = npt.NDArray[np.float32]

PITCH, EMBEDDING = ("f0_hz", "voiced"), "singer_embedding"
SHORTEST_REFERENCE_S = 1.0


class Recording(Protocol):
    """A recording whose columns can be asked for."""

    def read(self, names: Sequence[str]) -> Mapping[str, Any]:
        """Returns columns by name."""


class Features(Protocol):
    """What computes the columns of a model's contract."""

    def check(self, names: Sequence[str]) -> None:
        """Checks that columns mean what they meant in training."""

    def hear(self, audio: Audio | Tape) -> Recording:
        """Returns a recording whose columns can be asked for; series of a tape are `Rows`."""


@dataclass(frozen=True)
class Voice:
    """A voice that was heard in a recording: a direction (E,), and its median pitch where it is known."""

    embedding: Wave
    median_hz: float | None


@dataclass(frozen=True)
class Voices:
    """The voices of recordings that singers' names stand for, each heard once.

    Attributes:
        features: computes columns.
        reference: returns the recording that a name stands for; None where it stands for none.
        pitch_rate: of `f0_hz`; None where the model is not told any pitch.
    """

    features: Features
    reference: Callable[[str], Audio | None]
    pitch_rate: float | None
    _heard: dict[str, Voice] = field(default_factory=dict, init=False)

    def __contains__(self, name: str) -> bool:
        """Says whether a name stands for a voice.

        Raises:
            UsageError: it stands for a recording in which none can be heard.
        """
        if name not in self._heard:
            audio = self.reference(name)
            if audio is None:
                return False
            self._heard[name] = self._hear(name, audio)
        return True

    def __getitem__(self, name: str) -> Voice:
        return self._heard[name]

    def _hear(self, name: str, audio: Audio) -> Voice:
        seconds = len(audio.samples) / audio.sample_rate
        if seconds < SHORTEST_REFERENCE_S:
            raise UsageError(
                f"the reference {name} is {seconds:.2f} s long, too short to tell a voice; give at least "
                f"{SHORTEST_REFERENCE_S:g} s, better ten, of somebody singing"
            )
        heard = self.features.hear(audio)
        embedding = heard.read([EMBEDDING])[EMBEDDING]
        if embedding is None:
            raise UsageError(
                f"in the reference {name} nobody is heard singing for half a second; give another recording"
            )
        median_hz = None
        if self.pitch_rate is not None:
            f0_hz, voiced = (heard.read(PITCH)[column] for column in PITCH)
            median_hz = SourcePitch.of(f0_hz, voiced, self.pitch_rate).median_hz
        vector = np.asarray(embedding, np.float32)
        # As the model sees them: directions. Mixtures of vectors of other lengths would be of other shares.
        return Voice(vector / max(float(np.linalg.norm(vector)), 1e-12), median_hz)
