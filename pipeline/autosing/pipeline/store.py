"""Where a data set lies: a local folder or an object store, behind one small interface.

Local files appear by fsync and rename. An object store shows an object only when it is complete, so a file is
written to local scratch first and uploaded in one go.
"""

import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from autosing.signal.errors import DataError, UsageError

TEMPORARY = ".tmp-"
DRAFT = re.compile(r"\.tmp-.+\.\d+-[0-9a-f]{8}")
"""Names of files in the making; what a killed process leaves of one keeps its name."""
REFUSALS = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM})


@dataclass(frozen=True)
class Stamp:
    """What tells cheaply that a file is still the same one: its size and its modification time."""

    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Entry:
    """A file or a folder directly inside another."""

    name: str
    is_folder: bool
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Store:
    """A folder on a local disk or an object store.

    Args:
        url: a path, or a URL that pyarrow (`s3://`, `gs://`, `file://`) or fsspec (any other scheme) knows.
    """

    url: str

    @property
    def is_local(self) -> bool:
        """Whether files can be renamed into place."""
        return isinstance(self.fs, pafs.LocalFileSystem)

    @cached_property
    def _resolved(self) -> tuple[pafs.FileSystem, str]:
        scheme = self.url.split("://", 1)[0] if "://" in self.url else ""
        if not scheme:
            return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(self.url))
        try:
            if scheme in ("s3", "gs", "gcs", "file", "hdfs"):
                fs, path = pafs.FileSystem.from_uri(self.url)
                return fs, path.rstrip("/")
            import fsspec

            foreign, path = fsspec.core.url_to_fs(self.url)
            return pafs.PyFileSystem(pafs.FSSpecHandler(foreign)), str(path).rstrip("/")
        except (ValueError, ImportError, pa.ArrowException) as error:
            raise UsageError(f"{self.url}: this address can't be opened: {error}") from error

    @property
    def fs(self) -> pafs.FileSystem:
        """The pyarrow file system."""
        return self._resolved[0]

    def path(self, *parts: str) -> str:
        """Returns the path of a file inside, as the file system names it."""
        return "/".join((self._resolved[1], *parts))

    def folders(self, *parts: str) -> list[str]:
        """Returns the names of the folders directly inside."""
        return [i.base_name for i in self._list(*parts) if i.type == pafs.FileType.Directory]

    def files(self, *parts: str) -> list[str]:
        """Returns the names of the files directly inside."""
        return [i.base_name for i in self._list(*parts) if i.type == pafs.FileType.File]

    def entries(self, *parts: str) -> list[Entry]:
        """Returns the files and folders directly inside, by name."""
        return [
            Entry(i.base_name, i.type == pafs.FileType.Directory, i.size or 0, i.mtime_ns or 0)
            for i in self._list(*parts)
        ]

    def _list(self, *parts: str) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(self.path(*parts), allow_not_found=True)
        try:
            return sorted(self.fs.get_file_info(selector), key=lambda i: i.base_name)
        except NotADirectoryError as error:
            raise DataError(f"{self.path(*parts)} is a file; a data set is a folder") from error

    def stamp(self, *parts: str) -> Stamp | None:
        """Returns the size and time of a file, or None where there is none."""
        info = self.fs.get_file_info(self.path(*parts))
        if info.type != pafs.FileType.File:
            return None
        return Stamp(info.size, info.mtime_ns or 0)

    def open(self, *parts: str) -> pa.NativeFile:
        """Returns a random-access file for reading.

        Raises:
            DataError: there is no such file.
        """
        path = self.path(*parts)
        try:
            return self.fs.open_input_file(path)
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist") from error

    def read_text(self, *parts: str) -> str | None:
        """Returns a small text file, or None where there is none."""
        if self.stamp(*parts) is None:
            return None
        with self.open(*parts) as file:
            return bytes(file.read()).decode("utf-8")

    def draft(self, *parts: str) -> "Draft":
        """Returns a local scratch file that appears under the name when it is published."""
        target = self.path(*parts)
        if not self.is_local:
            return Draft(self, Path(tempfile.mkdtemp(prefix="autosing-")) / parts[-1], target)
        folder = Path(target).parent
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{TEMPORARY}{parts[-1]}.{os.getpid()}-{secrets.token_hex(4)}"
        return Draft(self, folder / name, target)

    @contextmanager
    def writing(self, *parts: str) -> Iterator[Path]:
        """Yields a scratch path; what was written there appears under the name when the block succeeds."""
        draft = self.draft(*parts)
        try:
            yield draft.scratch
            draft.publish()
        finally:
            draft.discard()

    def remove(self, *parts: str) -> None:
        """Removes a file; one that is gone already is no error."""
        try:
            self.fs.delete_file(self.path(*parts))
        except FileNotFoundError:
            return

    def remove_folder(self, *parts: str) -> None:
        """Removes a folder with all that is in it; one that is gone already is no error. Links are not followed."""
        try:
            if self.is_local:
                shutil.rmtree(self.path(*parts))
            else:
                self.fs.delete_dir(self.path(*parts))
        except FileNotFoundError:
            return

    def remove_leftovers(self, folder: str, name: str) -> None:
        """Removes what killed runs left of `name` in `folder` (local only: elsewhere nothing unfinished is visible)."""
        if self.is_local:
            for file in self.files(folder):
                if file.startswith(f"{TEMPORARY}{name}."):
                    self.remove(folder, file)


@dataclass(frozen=True)
class Draft:
    """A file in the making: written to `scratch`, seen by nobody before `publish`."""

    store: Store
    scratch: Path
    target: str

    def publish(self) -> None:
        """Makes the finished file appear under its name."""
        if not self.store.is_local:
            self._upload()
            return
        with self.scratch.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(self.scratch, self.target)
        folder = os.open(os.path.dirname(self.target), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _upload(self) -> None:
        try:
            with self.scratch.open("rb") as source, self.store.fs.open_output_stream(self.target) as sink:
                shutil.copyfileobj(source, sink, 8 << 20)
        except BaseException:
            # Closing a stream publishes what was sent so far, also when an exception closes it.
            with suppress(OSError):
                self.store.fs.delete_file(self.target)
            raise

    def discard(self) -> None:
        """Removes the scratch file, where it was not published."""
        self.scratch.unlink(missing_ok=True)
        if not self.store.is_local:
            shutil.rmtree(self.scratch.parent, ignore_errors=True)


def refusal(error: OSError, url: str) -> str | None:
    """Returns the one message for a disk that is full or takes nothing; None for any other error."""
    if error.errno not in REFUSALS:
        return None
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "there is no space left" if full else f"it can't be written ({os.strerror(error.errno)})"
    way = "make room" if full else "make it writable"
    return f"{url}: {what}; {way} and run the same command again: what is committed stays"


@contextmanager
def explained_refusals(url: str) -> Iterator[None]:
    """Turns the error of a full or read-only disk inside the block into one message.

    Raises:
        DataError: the disk is full or can't be written.
    """
    try:
        yield
    except OSError as error:
        if (message := refusal(error, url)) is None:
            raise
        raise DataError(message) from error
