"""What is told of a song: where the work is on standard error, and a line for each take at the end."""

import sys
import time
from types import TracebackType
from typing import Any

# Elsewhere than on a terminal, a line after so long.
EVERY_S = 30.0


class Progress:
    """Where the work is: a line that changes on a terminal, one now and then elsewhere, always on standard error."""

    def __init__(self) -> None:
        self._status: Any = None
        self._last_s = time.monotonic()

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def part(self, part: str) -> None:
        """Tells which part of the work begins."""
        if self._status:
            self._status.update(part)
        elif time.monotonic() - self._last_s > EVERY_S:
            self._last_s = time.monotonic()
            print(part, file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Says something that is to be read."""
        if self._status:
            self._status.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


def lines_of(facts: dict[str, Any]) -> list[str]:
    """Returns a line for each take, the best first."""
    factor = sum(facts["realtime_factors"].values())
    rows = [_line(take, facts["length_s"]) for take in facts["takes"]]
    return [f"{rows[0]}  RTF {factor:.2f}", *rows[1:]]


def _line(take: dict[str, Any], length_s: float) -> str:
    heard = take["heard"]
    told = f"{100 * heard['lines']:.0f} % of lines, {100 * heard['words']:.0f} % of words"
    errors = f"symbol errors {heard['symbol_error_rate']:.2f}"
    again = f"  windows sung again {len(take['sung_again'])}" if take["sung_again"] else ""
    return f"wrote    {take['file']}  {length_s:.2f} s  {told}  {errors}  seed {take['seed']}{again}"
