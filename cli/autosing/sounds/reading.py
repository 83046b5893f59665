"""Recordings of files that somebody named."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from autosing.signal.decode import Audio, decode
from autosing.signal.errors import RowError, UsageError
from autosing.signal.tape import Tape

Sound = TypeVar("Sound", Audio, Tape)


def read_sound(path: Path) -> Audio:
    """Returns the decoded recording of a file, in memory.

    Raises:
        UsageError: it cannot be read or decoded.
    """
    return _read(path, decode)


def read_tape(path: Path) -> Tape:
    """Returns the decoded recording of a file, on disk.

    Raises:
        UsageError: it cannot be read or decoded.
    """
    return _read(path, Tape.decoded)


def reference_of(name: str) -> Audio | None:
    """Returns the recording that a singer's name is the path of; None where there is none."""
    path = Path(name)
    try:
        return read_sound(path) if path.is_file() else None
    except OSError:  # a name that no file can have
        return None


def _read(path: Path, decoded: Callable[[Path], Sound]) -> Sound:
    try:
        return decoded(path)
    except (OSError, RowError) as error:
        raise UsageError(f"{path}: {error}") from error
