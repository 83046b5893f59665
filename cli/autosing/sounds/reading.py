"""Recordings of files that somebody named."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from autosing.signal.decode import Audio, decode
from autosing.signal.errors import RowError, UsageError
from autosing.signal.tape import Tape
from autosing.synthesis.conversion.singers import parse_singing

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
    return read_sound(Path(name)) if is_file(name) else None


def references_in(text: str | None) -> list[Path]:
    """Returns the recordings that are named where people say who sings; none where singers have names of their own."""
    if text is None:
        return []
    try:
        return [Path(name) for name in parse_singing(text, is_file, "").names]
    except UsageError:
        return []


def is_file(name: str) -> bool:
    """Says whether a text is the path of a file that is there."""
    try:
        return Path(name).is_file()
    except OSError:  # a name that no file can have
        return False


def _read(path: Path, decoded: Callable[[Path], Sound]) -> Sound:
    try:
        return decoded(path)
    except (OSError, RowError) as error:
        raise UsageError(f"{path}: {error}") from error
