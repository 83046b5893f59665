"""What became of a run that was disturbed, and the table of guarantees."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

HEADERS = ("cell", "went on", "identical", "lost rows", "done twice", "in flight twice", "left over", "s")
MOST_NAMES = 6


@dataclass(frozen=True)
class Verdict:
    """What a cell came to.

    Args:
        cell: its name.
        went_on: how the data set was finished: by the same run, or by the same command again.
        differing: columns and artefacts that are not those of the undisturbed data set.
        lost_rows: rows that are not there.
        done_twice: columns that were computed again although they were finished before.
        left_over: unfinished files that stayed; the next pass over the same columns, or `autosing gc`, removes them.
        in_flight_twice: columns that were there at some kill and were computed again all the same, by a command that
            was given before they were there; told, and not held against anybody.
        stays: those that `autosing gc` does not remove.
        seconds: from the start of the command to the end of the last one.
        problem: why the cell could not be judged, or what a run did that it must not do.
    """

    cell: str
    went_on: str = ""
    differing: Sequence[str] = ()
    lost_rows: int = 0
    done_twice: Sequence[str] = ()
    left_over: Sequence[str] = ()
    stays: Sequence[str] = ()
    in_flight_twice: Sequence[str] = ()
    seconds: float = 0.0
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Whether all that is promised is so."""
        return not (self.differing or self.lost_rows or self.done_twice or self.stays or self.problem)

    def to_json(self) -> dict[str, Any]:
        """Returns it for a script."""
        return {**asdict(self), "seconds": round(self.seconds, 1), "holds": self.holds}

    def row(self) -> tuple[str, ...]:
        """Returns its row of the table."""
        same = "no verdict" if self.problem else "NO" if self.differing else "yes"
        counts = (self.lost_rows, len(self.done_twice), len(self.in_flight_twice), len(self.left_over))
        return (self.cell, self.went_on, same, *map(str, counts), f"{self.seconds:.0f}")


ON_STORE = """\
On a store a column file is written to local scratch and appears by one upload: `between-write-and-rename` is before it,
`after-rename` after it. `*/disk-full` and `*/disk-read-only` are left out: they need a disk."""


def table(verdicts: Sequence[Verdict]) -> str:
    """Returns the table as Markdown, and below it what is wrong."""
    rows = [HEADERS, *(verdict.row() for verdict in verdicts)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADERS))]
    rows.insert(1, tuple("-" * width for width in widths))
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([*lines, *(f"\n{told}" for verdict in verdicts if (told := complaint(verdict)))])


def complaint(verdict: Verdict) -> str:
    """Returns what is wrong with a cell; nothing where all is well."""
    parts = [
        verdict.problem,
        f"differs in {_some(verdict.differing)}" if verdict.differing else "",
        f"{verdict.lost_rows} rows are lost" if verdict.lost_rows else "",
        f"computed again: {_some(verdict.done_twice)}" if verdict.done_twice else "",
        f"left over, and gc does not remove it: {_some(verdict.stays)}" if verdict.stays else "",
    ]
    told = "; ".join(part for part in parts if part)
    return f"{verdict.cell}: {told}" if told else ""


def _some(names: Sequence[str]) -> str:
    """Returns the first of many names."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES])}{more}"
