"""How long each part of a conversion takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Seconds by part of the work.

    Attributes:
        duration_s: of the recording.
        tell: told which part begins.
        seconds: that each part took.
    """

    duration_s: float
    tell: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts what is done inside."""
        self.tell(name)
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def factors(self) -> dict[str, float]:
        """Returns the share of the recording's length that each part took."""
        return {name: round(seconds / self.duration_s, 5) for name, seconds in self.seconds.items()}
