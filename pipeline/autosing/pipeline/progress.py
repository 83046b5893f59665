"""How a run tells where it is: a live table on a terminal, a line every 30 s elsewhere, always on stderr."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from autosing.pipeline.passes import Passed
from autosing.pipeline.work import GroupResult, InstanceResult

LINE_EVERY_S = 30.0


class _Shown:
    """What a terminal shows until the block ends."""

    _live: Any = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()


class Progress(_Shown):
    """Counts finished passes per stage.

    Args:
        partitions: how many partitions the data set has.
        quiet: say nothing.
        line_every_s: seconds between lines where there is no terminal.
    """

    def __init__(self, partitions: int, quiet: bool = False, line_every_s: float = LINE_EVERY_S) -> None:
        self.partitions = partitions
        self._quiet, self._line_every_s = quiet, line_every_s
        self._totals: dict[str, InstanceResult] = {}
        self._audio_s: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._running: dict[int, tuple[Sequence[str], Passed]] = {}
        self._started = self._told = time.monotonic()

    def __enter__(self) -> "Progress":
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=4)
            self._live.start()
        return self

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

    def passed(self, partition: int, names: Sequence[str], passed: Passed) -> None:
        """Takes in how far the pass over a partition is that computes the stages `names`."""
        self._running[partition] = (names, passed)
        self.tick()

    def ended(self, partition: int) -> None:
        """Takes in that the pass over a partition has ended, in whatever way."""
        self._running.pop(partition, None)

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
        elif not self._quiet and time.monotonic() - self._told > self._line_every_s:
            self._told = time.monotonic()
            for row in self._rows():
                print("  ".join(row), file=sys.stderr, flush=True)

    def _rows(self) -> list[tuple[str, ...]]:
        names = dict.fromkeys([*self._totals, *(n for names, _ in self._running.values() for n in names)])
        return [self._row(name, time.monotonic() - self._started) for name in names]

    def _row(self, name: str, elapsed_s: float) -> tuple[str, ...]:
        total, done = self._totals.get(name, InstanceResult()), self._done.get(name, 0)
        parts = [passed for names, passed in self._running.values() if name in names]
        audio_s = self._audio_s.get(name, 0.0) + sum(p.audio_s for p in parts)
        finished = done + sum(p.songs / p.of for p in parts if p.of)
        left_s = elapsed_s * (self.partitions - finished) / finished if finished else None
        return (
            name,
            f"{done}/{self.partitions} partitions",
            f"{total.rows + sum(p.songs for p in parts)} songs",
            f"{audio_s / max(elapsed_s, 1e-9):.0f} audio-h/h",
            f"{total.own_errors} errors",
            f"ETA {'?' if left_s is None else _clock(left_s)}",
        )

    def _table(self) -> Any:
        from rich.table import Table

        table = Table("stage", "partitions", "songs", "speed", "errors", "ETA", box=None)
        for row in self._rows():
            table.add_row(*row)
        return table


class Bar(_Shown):
    """Counts what is done, one after the other: a bar on a terminal, a line every 30 s elsewhere.

    Args:
        total: how many there are.
        what: they are, in the plural.
        quiet: say nothing.
        line_every_s: seconds between lines where there is no terminal.
    """

    def __init__(self, total: int, what: str, quiet: bool = False, line_every_s: float = LINE_EVERY_S) -> None:
        self._total, self._what, self._quiet, self._line_every_s = total, what, quiet, line_every_s
        self._done, self._told = 0, time.monotonic()

    def __enter__(self) -> "Bar":
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Live

            self._live = Live(console=Console(stderr=True))
            self._live.add_task(self._what, total=self._total)
            self._live.start()
        return self

    def advance(self) -> None:
        """Takes in that one more is done."""
        self._done += 1
        if self._live:
            self._live.advance(self._live.task_ids[0])
        elif not self._quiet and time.monotonic() - self._told > self._line_every_s:
            self._told = time.monotonic()
            print(f"{self._done}/{self._total} {self._what}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
