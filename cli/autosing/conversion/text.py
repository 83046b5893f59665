"""What is told of conversions: a bar on standard error while they are made, and lines or JSON at the end."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Literal

Became = Literal["converted", "skipped", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a recording.

    Attributes:
        source: its path.
        output: where the conversion is.
        became: `converted`, `skipped` as it was there, or `failed`.
        reason: why it failed or was skipped.
        facts: what the conversion was made with.
        warnings: what is to be said of it.
    """

    source: str
    output: str
    became: Became
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Progress:
    """Where the work is: a bar on a terminal, a line per recording elsewhere, always on standard error.

    Args:
        total: how many recordings there are.
    """

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def part(self, name: str, part: str) -> None:
        """Tells which part of the work on a recording begins."""
        if self._bar:
            self._bar.update(self._task, description=f"{name}: {part}")

    def ended(self, outcome: Outcome) -> None:
        """Tells what became of a recording."""
        self._done += 1
        if self._bar:
            self._bar.advance(self._task)
        told = [*outcome.warnings, *([outcome.reason] if outcome.became == "failed" else [])]
        lines = [f"{outcome.source}: {line}" for line in told]
        for line in lines if self._bar else [f"{self._done}/{self._total} {outcome.source}", *lines]:
            self._say(line)

    def _say(self, line: str) -> None:
        if self._bar:
            # As in the bar, square brackets in names of files are no markup.
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)


def lines_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns a line for each recording, the failed ones at the end, and their numbers."""
    lines = [_line(outcome) for outcome in outcomes if outcome.became != "failed"]
    failed = [f"failed   {outcome.source}: {outcome.reason}" for outcome in outcomes if outcome.became == "failed"]
    counts = {became: sum(o.became == became for o in outcomes) for became in ("converted", "skipped", "failed")}
    return [*lines, *failed, ", ".join(f"{n} {became}" for became, n in counts.items())]


def _line(outcome: Outcome) -> str:
    if outcome.became == "skipped":
        return f"skipped  {outcome.output}: {outcome.reason}"
    key, parts = outcome.facts["key"], outcome.facts["realtime_factors"]
    told = [] if key is None else [f"key {key['semitones']:+g}"]
    told += [f"RTF {sum(parts.values()):.3f}"] if parts else []
    return f"wrote    {'  '.join([outcome.output, *told])}"


def plain_data(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Returns the outcomes as JSON."""
    return [asdict(outcome) for outcome in outcomes]
