"""Who sings, as people write it: a name, several with weights, or one after the other.

| text                | means                                                            |
|---------------------|------------------------------------------------------------------|
| `ada`               | Ada                                                              |
| `ada:0.7,ben:0.3`   | both at once; weights are brought to a sum of 1                  |
| `0:ada,12.5:ben`    | Ada at the start, Ben from 12.5 s on, and between them a mixture |
| `0:ada,12:ada,13:b` | Ada until 12 s, and within a second B                            |

Mixtures over time are linear. Where a model has embeddings, a name is the path of a recording of the voice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import UsageError

Floats = npt.NDArray[np.float32]
FORMS = "NAME, NAME:WEIGHT,NAME:WEIGHT or SECONDS:NAME,SECONDS:NAME"


@dataclass(frozen=True)
class Moment:
    """Who sings at a moment: weights of sum 1 by name."""

    time_s: float
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Singing:
    """Who sings over a recording: before the first moment as in it, after the last as in that, linear between."""

    moments: tuple[Moment, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody who sings."""
        return tuple(dict.fromkeys(name for moment in self.moments for name in moment.weights))

    @property
    def is_constant(self) -> bool:
        """Whether it is the same all the time."""
        return len(self.moments) == 1

    def weights(self, times_s: npt.NDArray[np.float64]) -> Floats:
        """Returns the weight of each of `names` at each time, (F, N)."""
        at_s = [moment.time_s for moment in self.moments]
        tracks = [np.interp(times_s, at_s, [m.weights.get(name, 0.0) for m in self.moments]) for name in self.names]
        return np.stack(tracks, axis=1).astype(np.float32)

    def shares(self, duration_s: float) -> dict[str, float]:
        """Returns the mean weight of everybody over a recording."""
        times_s = np.linspace(0, max(duration_s, 0.0), 1001)
        return dict(zip(self.names, self.weights(times_s).mean(0, dtype=float).tolist(), strict=True))

    def told(self) -> Any:
        """Returns it as JSON: weights by name, or moments with them."""
        if self.is_constant:
            return dict(self.moments[0].weights)
        return [{"time_s": moment.time_s, "weights": dict(moment.weights)} for moment in self.moments]


def parse_singing(text: str, is_known: Callable[[str], bool], known: str) -> Singing:
    """Returns who sings.

    Args:
        text: see the module.
        is_known: says whether a name is a singer's; names may hold commas and colons.
        known: the singers there are, for messages.

    Raises:
        UsageError: a singer is unknown, or the text is of none of the forms.
    """
    if is_known(text):
        return Singing((Moment(0.0, {text: 1.0}),))
    entries = [_entry(part.strip(), is_known, known) for part in text.split(",")]
    timed = [time_s for time_s, _, _ in entries if time_s is not None]
    if not timed:
        return Singing((Moment(0.0, _mixed(text, [(name, weight) for _, name, weight in entries])),))
    if len(timed) < len(entries) or timed != sorted(set(timed)) or timed[0] < 0:
        raise UsageError(
            f"--singer {text}: give every singer a time in seconds from 0 on, each later than the one before"
        )
    return Singing(tuple(Moment(time_s or 0.0, {name: 1.0}) for time_s, name, _ in entries))


def _entry(part: str, is_known: Callable[[str], bool], known: str) -> tuple[float | None, str, float]:
    """Returns time, name and weight of a part."""
    if is_known(part):
        return None, part, 1.0
    name, _, weight = part.rpartition(":")
    if is_known(name):
        return None, name, _number(part, weight)
    time_s, colon, name = part.partition(":")
    if colon and is_known(name):
        return _number(part, time_s), name, 1.0
    raise UsageError(f"--singer {part}: there is no such singer; {known}. Write {FORMS}")


def _number(part: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise UsageError(f"--singer {part}: {text!r} is no number; write {FORMS}")
    return number


def _mixed(text: str, weighted: Sequence[tuple[str, float]]) -> dict[str, float]:
    total = sum(weight for _, weight in weighted)
    if min(weight for _, weight in weighted) < 0 or not total > 0:
        raise UsageError(f"--singer {text}: weights must not be below 0, nor all of them 0")
    if len({name for name, _ in weighted}) < len(weighted):
        raise UsageError(f"--singer {text}: a singer is there twice; give each one weight")
    return {name: weight / total for name, weight in weighted}
