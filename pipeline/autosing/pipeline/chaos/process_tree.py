"""Everything that a command starts, found again by a token in its environment, and killed."""

import os
import signal
import time
from contextlib import suppress

import psutil

TOKEN = "AUTOSING_PROCESS_TREE"
RAYLET = "raylet"
"""How Ray's process of a node calls itself."""


def carriers(token: str) -> list[psutil.Process]:
    """Returns the processes that live and have the token in their environment, which all that they start inherit."""
    return [process for process in psutil.process_iter() if _carries(process, token)]


def kill_tree(token: str) -> None:
    """Kills what carries the token, and what that starts meanwhile."""
    while found := carriers(token):
        for process in found:
            kill(process)
        time.sleep(0.05)


def kill(process: psutil.Process) -> None:
    """Kills a process; one that is gone already is no error."""
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_family(process: psutil.Process) -> None:
    """Kills a process and all that it started."""
    with suppress(psutil.NoSuchProcess):
        for member in (process, *process.children(recursive=True)):
            kill(member)


def is_named(process: psutil.Process, name: str) -> bool:
    """Whether a process lives and its program, or the title that it gave itself, begins so."""
    with suppress(psutil.Error):
        return str(process.name()).startswith(name) and process.status() != psutil.STATUS_ZOMBIE
    return False


def _carries(process: psutil.Process, token: str) -> bool:
    try:
        return bool(process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
