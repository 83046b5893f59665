"""What verifying finds: which file, what is wrong with it, what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from autosing.signal.errors import AutosingError

UNREADABLE = (AutosingError, pa.ArrowException, OSError, ValueError, TypeError, KeyError, AttributeError, MemoryError)
"""What reading a damaged or foreign file may raise, whatever it says of itself."""
ELSEWHERE = "delete it, or move it elsewhere"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Args:
        file: its path.
        problem: what is wrong.
        way_out: what to do.
    """

    file: str
    problem: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}; {self.way_out}"


@dataclass
class Checked:
    """What was looked at, and what was found.

    Args:
        files: how many were looked at.
        rows: rows of column files, or samples.
        errors: rows with an error, which is no damage.
        bytes: size of the files.
        findings: what is wrong.
    """

    files: int = 0
    rows: int = 0
    errors: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: "Checked") -> None:
        """Takes in what was found elsewhere."""
        for name in ("files", "rows", "errors", "bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.findings += other.findings

    def find(self, file: str, problem: str, way_out: str) -> None:
        """Adds a finding."""
        self.findings.append(Finding(file, problem, way_out))


def reason(error: BaseException, file: str) -> str:
    """Returns what an error says of a file, in one line, without its name and its own advice."""
    said = " ".join(str(error).split()).removeprefix(file).lstrip(": ")
    if not isinstance(error, AutosingError):
        return f"it can't be read ({type(error).__name__}: {said})"
    return said.rpartition("; ")[0] or said


def some(names: Sequence[str], most: int = 3) -> str:
    """Returns the first few names, and that there are more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
