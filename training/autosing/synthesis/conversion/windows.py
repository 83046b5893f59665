"""What a conversion model is given of a long recording, worked out as it is asked for: a window of it at a time.

At the mel's frames and in float32, features of some hundred numbers take gigabytes an hour; the columns themselves a
tenth of it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.models.svc_input import svc_inputs
from autosing.signal.framing import common_period
from autosing.signal.rows import Rows

Array = npt.NDArray[Any]


@dataclass
class Source:
    """The columns of a recording and how they are wanted.

    Attributes:
        series: of content, `f0_hz`, `voiced`, `energy`, which may lie on disk.
        streams: names of the content.
        tokens: those of them that are tokens.
        n_frames: of the mel.
        rates: of `mel` and every series.
        key: semitones that the pitch is moved by.
        formant: octaves that the formants are moved by.
        singer: returns the model's input for the frames from one to another, by name.
    """

    series: Mapping[str, Rows]
    streams: Collection[str]
    tokens: Collection[str]
    n_frames: int
    rates: Mapping[str, Fraction]
    key: float
    formant: float
    singer: Callable[[int, int], Mapping[str, Array]]
    _last: tuple[tuple[int, int], dict[str, Array]] = field(default=((0, 0), {}), init=False)

    def window(self, first: int, last: int) -> dict[str, Array]:
        """Returns the inputs of the frames from `first` to `last`: those that the whole recording's would be there."""
        if self._last[0] != (first, last):
            self._last = (first, last), self._computed(first, last)
        return self._last[1]

    def _computed(self, first: int, last: int) -> dict[str, Array]:
        # Windows begin where every series begins a frame, so that centres of frames lie as they do in the whole; a
        # period on either side has the neighbours that are interpolated with.
        grid = self._frames_per_period()
        seen_from, seen_to = max(first // grid - 1, 0) * grid, min((last // grid + 2) * grid, self.n_frames)
        start = seen_from / self.rates["mel"]
        part = {}
        for name, values in self.series.items():
            rate = self._rate(name)
            end = len(values) if seen_to == self.n_frames else int(seen_to / self.rates["mel"] * rate)
            # Rates are not whole multiples: the last frames of a long mel may lie behind a series' end.
            offset = min(int(start * rate), max(len(values) - 1, 0))
            part[name] = values[offset : max(end, offset + 1)]
        given = svc_inputs(part, self.streams, self.tokens, seen_to - seen_from, self.rates, self.key, self.formant)
        inside = slice(first - seen_from, last - seen_from)
        return {**{name: array[inside] for name, array in given.items()}, **self.singer(first, last)}

    def _frames_per_period(self) -> int:
        rates = [self.rates["mel"], *(self._rate(name) for name in self.series)]
        return int(common_period(rates) * self.rates["mel"])

    def _rate(self, name: str) -> Fraction:
        return self.rates["f0_hz" if name == "voiced" else name]


class Windows(Mapping[str, Any]):
    """The inputs of `convert_mel`, each of which is an array of which nothing is there until a slice is taken."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._names = tuple(source.window(0, min(1, source.n_frames)))

    def __getitem__(self, name: str) -> "InputRows":
        return InputRows(self._source, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class InputRows:
    """One input (F, ...)."""

    source: Source
    name: str

    def __len__(self) -> int:
        return self.source.n_frames

    def __getitem__(self, rows: slice) -> Array:
        first, last, _ = rows.indices(len(self))
        return np.ascontiguousarray(self.source.window(first, last)[self.name])
