"""Names of what is in the making, which tell who makes it, so that what the dead have left is known."""

import os
import re
import secrets
import socket
import tempfile
from pathlib import Path

TEMPORARY = ".tmp-"
SCRATCH = "autosing"
DRAFT = re.compile(r"\.tmp-.+\.\d+-[0-9a-f]{8}")
"""Names of files in the making; what a killed process leaves of one keeps its name."""


def scratch_prefix() -> str:
    """Returns how the names of temporary folders begin by which their maker is known."""
    return f"{SCRATCH}.{socket.gethostname()}.{os.getpid()}-"


def dead_scratch(place: str = "") -> list[Path]:
    """Returns the temporary folders of processes that were killed on this host.

    Args:
        place: where temporary folders are made; "" for where this process makes them.
    """
    folders = Path(place or tempfile.gettempdir()).iterdir()
    return [folder for folder in folders if _is_of_the_dead(folder.name, SCRATCH)]


def draft_name(name: str) -> str:
    """Returns the name of a file or folder in the making, which tells who makes it."""
    return f"{TEMPORARY}{name}.{socket.gethostname()}.{os.getpid()}-{secrets.token_hex(4)}"


def dead_drafts(place: Path, name: str) -> list[Path]:
    """Returns what processes that were killed on this host were making under a name."""
    return [path for path in place.glob(f"{TEMPORARY}*") if _is_of_the_dead(path.name, f"{TEMPORARY}{name}")]


def _is_of_the_dead(name: str, begin: str) -> bool:
    """Returns whether a file or folder begins so and was made on this host by a process that is no more."""
    maker = re.match(rf"{re.escape(f'{begin}.{socket.gethostname()}')}\.(\d+)-", name)
    return maker is not None and not _lives(int(maker[1]))


def _lives(pid: int) -> bool:
    """Returns whether a process works; one that is dead and not yet buried by its parent does not."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
