"""How a run tells where it is: a live table on a terminal, a line every 30 s elsewhere, always on stderr."""

import sys
import time
from types import TracebackType
from typing import Any

from autosing.pipeline.work import GroupResult, InstanceResult

LINE_EVERY_S = 30.0


class Progress:
    """Counts finished passes per stage.

    Args:
        partitions: how many partitions the data set has.
        quiet: say nothing.
    """

    def __init__(self, partitions: int, quiet: bool = False) -> None:
        self.partitions = partitions
        self._quiet = quiet
        self._totals: dict[str, InstanceResult] = {}
        self._audio_s: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._started = self._told = time.monotonic()
        self._live: Any = None

    def __enter__(self) -> "Progress":
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def add(self, result: GroupResult) -> None:
        """Takes in one finished pass."""
        for name, part in result.instances.items():
            total = self._totals.setdefault(name, InstanceResult())
            total.rows += part.rows
            total.own_errors += part.own_errors
            total.busy_s += part.busy_s
            self._audio_s[name] = self._audio_s.get(name, 0.0) + result.audio_s
            self._done[name] = self._done.get(name, 0) + 1
        self.tick()

    def say(self, message: str) -> None:
        """Tells one event."""
        if self._live:
            self._live.console.print(message)
        elif not self._quiet:
            print(message, file=sys.stderr, flush=True)

    def tick(self) -> None:
        """Draws the table, or writes a line when the last one is old."""
        if self._live:
            self._live.update(self._table())
        elif not self._quiet and time.monotonic() - self._told > LINE_EVERY_S:
            self._told = time.monotonic()
            for row in self._rows():
                print("  ".join(row), file=sys.stderr, flush=True)

    def _rows(self) -> list[tuple[str, ...]]:
        elapsed_s = time.monotonic() - self._started
        return [
            (
                name,
                f"{self._done[name]}/{self.partitions} partitions",
                f"{total.rows} songs",
                f"{self._audio_s[name] / max(elapsed_s, 1e-9):.0f} audio-h/h",
                f"{total.own_errors} errors",
                f"ETA {_clock(elapsed_s * (self.partitions - self._done[name]) / self._done[name])}",
            )
            for name, total in self._totals.items()
        ]

    def _table(self) -> Any:
        from rich.table import Table

        table = Table("stage", "partitions", "songs", "speed", "errors", "ETA", box=None)
        for row in self._rows():
            table.add_row(*row)
        return table


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
