"""Where a data set lies: a local folder or an object store, behind one small interface.

Local files appear by fsync and rename. An object store shows an object only when it is complete, so a file is
written to local scratch first and uploaded in one go. Publishing may be tied to what is there: of two runs that make
one file, the second learns that the first has made it.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from autosing.pipeline.bucket import ANYTHING, Bucket
from autosing.pipeline.bucket_address import BucketAddress
from autosing.pipeline.leftovers import dead_drafts, dead_scratch, draft_name, scratch_prefix
from autosing.pipeline.store_errors import Unreachable
from autosing.signal.errors import DataError, UsageError

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
REFUSALS = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM})


_TAGS = ("ETag", "etag", "generation", "md5Hash", "created", "ino")
"""Where file systems of fsspec tell what changes whenever an object is written."""


class NoSuchFile(DataError):
    """A file that is to be read is not there."""


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
        url: a path, `s3://` (see `bucket_address`), or `file://`, or a URL that fsspec knows (`gs://`, ...).
    """

    url: str

    @property
    def is_local(self) -> bool:
        """Whether files can be renamed into place."""
        return isinstance(self.fs, pafs.LocalFileSystem)

    @cached_property
    def _resolved(self) -> tuple[pafs.FileSystem | Bucket, str]:
        scheme = self.url.split("://", 1)[0] if "://" in self.url else ""
        if not scheme:
            return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(self.url))
        try:
            if scheme == "s3":
                bucket = Bucket(BucketAddress(self.url))
                return bucket, bucket.folder
            if scheme == "file":
                fs, path = pafs.FileSystem.from_uri(self.url)
                return fs, path.rstrip("/")
            import fsspec

            foreign, path = fsspec.core.url_to_fs(self.url, use_listings_cache=False)  # Others write, too.
            return pafs.PyFileSystem(pafs.FSSpecHandler(foreign)), str(path).rstrip("/")
        except (ValueError, ImportError, pa.ArrowException) as error:
            raise UsageError(f"{self.url}: this address can't be opened: {error}") from error

    @property
    def fs(self) -> pafs.FileSystem | Bucket:
        """The file system."""
        return self._resolved[0]

    @property
    def foreign(self) -> Any:
        """The file system of fsspec; None where it is another."""
        handler = getattr(self.fs, "handler", None)
        return handler.fs if isinstance(handler, pafs.FSSpecHandler) else None

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
        selector = pafs.FileSelector(place := self.path(*parts), allow_not_found=True)
        try:
            found = self.fs.infos(place) if isinstance(self.fs, Bucket) else self.fs.get_file_info(selector)
            return sorted(found, key=lambda i: i.base_name)
        except NotADirectoryError as error:
            raise DataError(f"{place} is a file; a data set is a folder") from error

    def stamp(self, *parts: str) -> Stamp | None:
        """Returns the size and time of a file, or None where there is none."""
        if isinstance(self.fs, Bucket):
            meta = self.fs.head(self.path(*parts))
            return meta and Stamp(meta["size"], seconds_ns(meta["last_modified"]))
        info = self.fs.get_file_info(self.path(*parts))
        if info.type != pafs.FileType.File:
            return None
        return Stamp(info.size, info.mtime_ns or 0)

    def version(self, *parts: str) -> str | None:
        """Returns what changes whenever a file is written, or None where there is none."""
        path = self.path(*parts)
        try:
            if self.is_local:
                status = Path(path).stat()
                return f"{status.st_ino}.{status.st_size}.{status.st_mtime_ns}"
            if self.foreign is not None:
                info = self.foreign.info(path)
                return f"{info['size']}.{info.get('mtime')}.{tag_of(info)}"
        except FileNotFoundError:
            return None
        meta = self.fs.head(path) if isinstance(self.fs, Bucket) else None
        return meta and meta["e_tag"]

    def open(self, *parts: str) -> pa.NativeFile:
        """Returns a random-access file for reading.

        Raises:
            NoSuchFile: there is none.
        """
        path = self.path(*parts)
        try:
            return self.fs.open_input_file(path)
        except OSError as error:
            if not (isinstance(error, FileNotFoundError) or (self.is_local and Path(path).is_dir())):
                raise
            raise NoSuchFile(f"{path} does not exist") from error

    def read_text(self, *parts: str) -> str | None:
        """Returns a small text file, or None where there is none."""
        try:
            with self.open(*parts) as file:
                return bytes(file.read()).decode("utf-8")
        except NoSuchFile:
            return None

    def draft(self, *parts: str) -> "Draft":
        """Returns a local scratch file that appears under the name when it is published."""
        target = self.path(*parts)
        if not self.is_local:
            return Draft(self, Path(tempfile.mkdtemp(prefix=scratch_prefix())) / parts[-1], target)
        folder = Path(target).parent
        folder.mkdir(parents=True, exist_ok=True)
        return Draft(self, folder / draft_name(parts[-1]), target)

    @contextmanager
    def writing(self, *parts: str) -> Iterator[Path]:
        """Yields a scratch path; what was written there appears under the name when the block succeeds."""
        with self._writing(ANYTHING, *parts) as path:
            yield path

    @contextmanager
    def creating(self, *parts: str) -> Iterator[Path]:
        """Yields a scratch path; what was written there appears under the name if there is no such file yet.

        Raises:
            DataError: somebody else has written it meanwhile.
        """
        with self._writing(None, *parts) as path:
            yield path

    @contextmanager
    def _writing(self, over: str | None, *parts: str) -> Iterator[Path]:
        draft = self.draft(*parts)
        try:
            yield draft.scratch
            if not draft.publish(over):
                raise DataError(f"{draft.target} was written by another run meanwhile; run the same command again")
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

    def remove_leftovers(self, folder: str, names: Collection[str]) -> None:
        """Removes what killed runs left of these files in `folder`; of other stores, their scratch on this host.

        What a process that lives is making stays, and so does what another host made, of which nobody here can tell.
        """
        if not self.is_local:
            for scratch in dead_scratch():
                shutil.rmtree(scratch, ignore_errors=True)
            return
        for name in names:
            for draft in dead_drafts(Path(self.path(folder)), name):
                draft.unlink(missing_ok=True)


@dataclass(frozen=True)
class Draft:
    """A file in the making: written to `scratch`, seen by nobody before `publish`."""

    store: Store
    scratch: Path
    target: str

    def publish(self, over: str | None = ANYTHING) -> bool:
        """Makes the finished file appear under its name.

        Args:
            over: the version of the file (`Store.version`) that it may replace; None: there must be none; `ANYTHING`:
                whatever is there. Local files and object stores behind fsspec are looked at just before; S3 compares by
                itself, and where nothing may be there local disks do, too.

        Returns:
            Whether it is there. If not, somebody else's file is.
        """
        if isinstance(self.store.fs, Bucket):
            return self.store.fs.put(self.scratch, self.target, over)
        if not self.store.is_local:
            return self._upload(over)
        with self.scratch.open("rb+") as file:
            os.fsync(file.fileno())
        if not self._rename(over):
            return False
        folder = os.open(os.path.dirname(self.target), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True

    def _rename(self, over: str | None) -> bool:
        if over is None:
            try:
                os.link(self.scratch, self.target)
                self.scratch.unlink()
                return True
            except FileExistsError:
                return False
            except OSError as error:  # There are disks without hard links.
                if error.errno not in _NO_LINKS:
                    raise
        if over != ANYTHING and self._version() != over:
            return False
        os.replace(self.scratch, self.target)
        return True

    def _upload(self, over: str | None) -> bool:
        if over != ANYTHING and self._version() != over:
            return False
        foreign = self.store.foreign
        try:
            # Outside a transaction, closing a file publishes what was sent so far, also when an exception closes it.
            # Inside, it must be closed before the transaction ends: only then all was sent that is to be published.
            with foreign.transaction, self.scratch.open("rb") as source, foreign.open(self.target, "wb") as sink:
                shutil.copyfileobj(source, sink, 8 << 20)
        except OSError:
            raise
        except Exception as error:  # A file system has errors of its own: those of gs:// are no OSErrors.
            told = f"{type(error).__name__}: {error}"
            raise Unreachable(f"{self.target} can't be written ({told}); run the same command again") from error
        return True

    def _version(self) -> str | None:
        return self.store.version(self.target.removeprefix(self.store.path()).strip("/"))

    def discard(self) -> None:
        """Removes the scratch file, where it was not published."""
        self.scratch.unlink(missing_ok=True)
        if not self.store.is_local:
            shutil.rmtree(self.scratch.parent, ignore_errors=True)


def seconds_ns(time: datetime) -> int:
    """Returns a time in ns, in whole seconds: a look at one object tells no more, a listing of some servers does."""
    return int(time.timestamp()) * 10**9


def tag_of(info: dict[str, Any]) -> str:
    """Returns what a file system of fsspec tells that changes whenever an object is written; "" for nothing."""
    told = next((info[key] for key in _TAGS if info.get(key)), "")
    return str(told.timestamp() if isinstance(told, datetime) else told)


def refusal(error: OSError, url: str) -> str | None:
    """Returns the one message for a disk that is full or takes nothing; None for any other error."""
    if error.errno not in REFUSALS:
        return None
    if isinstance(error, DataError):
        return str(error)
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
