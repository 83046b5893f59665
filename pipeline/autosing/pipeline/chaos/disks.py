"""A small disk that can be filled and made read-only, where this user may mount one."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Disk:
    """A file system of its own.

    Args:
        folder: where it is mounted.
    """

    folder: Path

    def fill(self) -> None:
        """Leaves no room."""
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        """Takes away what filled it."""
        self._ballast.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Makes it read-only, as soon as nobody has a file open for writing.

        Raises:
            CalledProcessError: somebody goes on having one.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return _run("mount", "-o", "remount,ro", str(self.folder))
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def thaw(self) -> None:
        """Makes it writable."""
        _run("mount", "-o", "remount,rw", str(self.folder))

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Disk | None]:
    """Gives a disk of `size` bytes in memory, or None where this user may not mount one."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield Disk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


def size_of(folder: Path) -> int:
    """Returns the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
