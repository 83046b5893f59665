"""A bucket of S3 or of what speaks its protocol: objects are listed, read, removed, and written whole or not at all.

An object is written by one PUT, so that nothing half-written is ever seen or left behind. The PUT may be tied to what
is there (`If-None-Match`, `If-Match`): of two who write one object, one learns that the other was first. What is read
of an object is of one version of it.
"""

import errno
import mmap
import os
import random
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar, cast

import pyarrow as pa
import pyarrow.fs as pafs

from autosing.pipeline.bucket_address import LONGEST_PAUSE_S, PAUSE_S, BucketAddress
from autosing.pipeline.store_errors import Changed, Refused, Unreachable
from autosing.signal.errors import DataError

if TYPE_CHECKING:
    from obstore import Bytes, GetOptions, ObjectMeta, PutMode
    from obstore.store import S3Store

T = TypeVar("T")
ANYTHING = "*"
"""In place of a version: whatever is there is replaced."""
MOST_BYTES = 5 << 30
"""What one PUT takes."""
DRAFT = "autosing-draft"
"""Metadata of an object: by it a writer whose answer was lost knows its own."""
_DENIED = re.compile(r"status code: 40[13]")
"""Listings tell it only in words."""
_NO_BUCKET = "NoSuchBucket"
FIRST_BYTES, SLOWEST_BYTES_PER_S = 64 << 20, 1 << 20
"""An upload may take as long as its size, rounded up to a power of two, takes at that speed."""
LIST_CHUNK = 1000


@dataclass(frozen=True)
class Bucket:
    """The objects of a bucket.

    Args:
        address: of something in it.
    """

    address: BucketAddress

    def __getstate__(self) -> dict[str, object]:
        return {"address": self.address}

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self.address.name

    @property
    def folder(self) -> str:
        """Bucket and folder, as paths begin."""
        return self.address.folder

    def infos(self, folder: str) -> list[pafs.FileInfo]:
        """Returns the objects and folders directly inside a folder."""
        import obstore

        found = self._repeat(folder, lambda: obstore.list_with_delimiter(self._store, self._key(folder)))
        folders = [pafs.FileInfo(f"{self.name}/{p}", pafs.FileType.Directory) for p in found["common_prefixes"]]
        return folders + [_info(f"{self.name}/{m['path']}", m) for m in found["objects"]]

    def walk(self, folder: str) -> Iterator[tuple[str, "ObjectMeta"]]:
        """Yields path and description of all objects below a folder, from one listing."""
        import obstore

        patience, last = _Patience(self.address.retry_s), None
        while True:
            try:
                with self._explained(folder):
                    for chunk in obstore.list(self._store, self._key(folder), offset=last, chunk_size=LIST_CHUNK):
                        for meta in chunk:
                            yield f"{self.name}/{meta['path']}", meta
                            last = meta["path"]
                return
            except Unreachable as error:
                patience.wait(error)

    def head(self, path: str) -> "ObjectMeta | None":
        """Returns size, time and ETag of an object, or None where there is none."""
        import obstore

        try:
            return self._repeat(path, lambda: obstore.head(self._store, self._key(path)))
        except FileNotFoundError:
            return None

    def open_input_file(self, path: str) -> pa.NativeFile:
        """Returns a random-access file of an object as it is now.

        Raises:
            FileNotFoundError: there is none.
        """
        meta = self.head(path)
        if meta is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return pa.PythonFile(cast(IO[bytes], ObjectReader(self, path, meta)), mode="r")

    def read_range(self, path: str, start: int, end: int, e_tag: str | None) -> "Bytes":
        """Returns bytes of an object.

        Raises:
            Unreachable: it can't be read now.
            Changed: it is another one than that of the ETag.
        """
        import obstore

        options: GetOptions = {"range": (start, end)}
        if e_tag is not None:
            options["if_match"] = e_tag
        data = self._repeat(path, lambda: obstore.get(self._store, self._key(path), options=options).bytes())
        if len(data) != end - start:
            raise Unreachable(f"{path}: {len(data)} bytes came in place of {end - start}; run the same command again")
        return data

    def delete_file(self, path: str) -> None:
        """Removes an object; none is no error."""
        import obstore

        self._repeat(path, lambda: obstore.delete(self._store, self._key(path)))

    def delete_dir(self, folder: str) -> None:
        """Removes all objects below a folder."""
        import obstore

        keys = [self._key(path) for path, _ in self.walk(folder)]
        self._repeat(folder, lambda: obstore.delete(self._store, keys))

    def put(self, scratch: Path, path: str, over: str | None) -> bool:
        """Writes an object by one PUT.

        Args:
            scratch: a local file.
            path: of the object.
            over: the ETag of the object that it may replace; None: there must be none; `ANYTHING`: whatever is there.

        Returns:
            Whether it was written. If not, somebody else's object is there.

        Raises:
            DataError: the file is too large for one PUT.
            StoreError: the store refuses it, or can't just now.
        """
        size = scratch.stat().st_size
        if size > MOST_BYTES:
            told = f"{path}: {size} bytes are more than one upload takes ({MOST_BYTES})"
            raise DataError(f"{told}; use smaller partitions: autosing repartition --partition-mb")
        return self._repeat(path, partial(self._put_once, scratch, path, over, secrets.token_hex(16)))

    def _put_once(self, scratch: Path, path: str, over: str | None, token: str) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: PutMode = "overwrite" if over == ANYTHING else "create" if over is None else {"e_tag": over}
        with scratch.open("rb") as file:
            size = scratch.stat().st_size
            content = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""
            store = self._client(size)
            try:
                obstore.put(store, self._key(path), content, attributes={DRAFT: token}, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                if _NO_BUCKET in str(error):
                    raise
                # The one before may have been carried out, and its answer have been lost.
                return self._is_ours(path, token)
        return True

    def _is_ours(self, path: str, token: str) -> bool:
        import obstore

        try:
            found = self._repeat(path, lambda: obstore.get(self._store, self._key(path), options={"head": True}))
            return found.attributes.get(DRAFT) == token
        except FileNotFoundError:
            return False

    def _key(self, path: str) -> str:
        return path.removeprefix(self.name).strip("/")

    @cached_property
    def _store(self) -> "S3Store":
        return self._client(0)

    def _client(self, size: int) -> "S3Store":
        """Returns a client that is patient enough for objects of a size; there are few."""
        return _client(self.address, max(size - 1, FIRST_BYTES - 1).bit_length())

    def _repeat(self, path: str, work: Callable[[], T]) -> T:
        """Returns `work()`, repeated with growing pauses while the store is unreachable.

        obstore repeats what is answered by an error or not at all, but no answer that breaks off.
        """
        patience = _Patience(self.address.retry_s)
        while True:
            try:
                with self._explained(path):
                    return work()
            except Changed:
                raise
            except Unreachable as error:
                patience.wait(error)

    def _no_bucket(self, path: str) -> Refused:
        return Refused(f"s3://{path}: there is no bucket {self.name}; create it, or correct the address")

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Turns what obstore raises into our errors.

        Raises:
            FileNotFoundError: there is no such object.
            Unreachable: the store can't just now.
            Changed: the object is another one by now.
            Refused: it does not allow it.
        """
        from obstore import exceptions as told

        try:
            yield
        except (told.AlreadyExistsError, told.PreconditionError) as error:
            raise Changed(f"s3://{path} was written again meanwhile; run the same command again") from error
        except FileNotFoundError as error:
            if _NO_BUCKET in str(error):
                raise self._no_bucket(path) from error
            raise
        except told.BaseError as error:
            is_denied = isinstance(error, (told.PermissionDeniedError, told.UnauthenticatedError))
            if is_denied or _DENIED.search(_said(error)):
                way = "check the credentials (AWS_ACCESS_KEY_ID, ...) and what they allow on the bucket"
                raise Refused(f"s3://{path}: the store refuses: {_said(error)}; {way}") from error
            if _NO_BUCKET in str(error):
                raise self._no_bucket(path) from error
            way = "run the same command again: what is committed stays"
            raise Unreachable(f"s3://{path}: the store does not answer as it should: {_said(error)}; {way}") from error


class _Patience:
    """How long something is tried again, with growing pauses."""

    def __init__(self, seconds: float) -> None:
        self._until_s, self._pause_s = time.monotonic() + seconds, PAUSE_S

    def wait(self, error: Exception) -> None:
        """Pauses, or raises the error where patience is at its end."""
        pause_s = self._pause_s * random.uniform(0.5, 1)
        if time.monotonic() + pause_s > self._until_s:
            raise error
        time.sleep(pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


@lru_cache(maxsize=64)
def _client(address: BucketAddress, bits: int) -> "S3Store":
    return address.connect(FIRST_BYTES / SLOWEST_BYTES_PER_S + 2**bits / SLOWEST_BYTES_PER_S)


class ObjectReader:
    """A file object over one version of an object; each read is one request.

    Args:
        bucket: where it is.
        path: of the object.
        meta: its description, whose version is read.
    """

    def __init__(self, bucket: Bucket, path: str, meta: "ObjectMeta") -> None:
        self._bucket, self._path, self._meta, self._at = bucket, path, meta, 0
        self.closed = False

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it has a position: yes."""
        return True

    def writable(self) -> bool:
        """Whether it can be written: no."""
        return False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position, in bytes, and returns it."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._meta["size"]}[whence]
        return self._at

    def tell(self) -> int:
        """Returns the position in bytes."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Returns `size` bytes from the position on, or all that are left."""
        left = max(self._meta["size"] - self._at, 0)
        size = left if size < 0 else min(size, left)
        if not size:
            return b""
        data = self._bucket.read_range(self._path, self._at, self._at + size, self._meta["e_tag"])
        self._at += size
        return data.to_bytes()

    def close(self) -> None:
        """Ends reading."""
        self.closed = True


def _info(path: str, meta: "ObjectMeta") -> pafs.FileInfo:
    return pafs.FileInfo(path, pafs.FileType.File, size=meta["size"], mtime=meta["last_modified"].timestamp())


def _said(error: Exception) -> str:
    """Returns the first line of what obstore says; what follows is its own state."""
    return str(error).strip().split("\n")[0].strip()
