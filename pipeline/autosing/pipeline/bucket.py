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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from autosing.signal.errors import DataError, UsageError

if TYPE_CHECKING:
    from obstore import Bytes, GetOptions, ObjectMeta, PutMode
    from obstore.store import S3Config, S3Store

T = TypeVar("T")
ANYTHING = "*"
"""In place of a version: whatever is there is replaced."""
MOST_BYTES = 5 << 30
"""What one PUT takes."""
DRAFT = "autosing-draft"
"""Metadata of an object: by it a writer whose answer was lost knows its own."""
PARAMETERS = (
    "scheme",
    "endpoint_override",
    "region",
    "access_key",
    "secret_key",
    "session_token",
    "anonymous",
    "retry_s",
)
IGNORED = ("allow_delayed_open", "allow_bucket_creation", "allow_bucket_deletion", "background_writes")
"""What pyarrow's addresses may say beside, which means nothing here."""
_DENIED = re.compile(r"status code: 40[13]")
"""Listings tell it only in words."""
_NO_BUCKET = "NoSuchBucket"
RETRY_S = 180.0
"""How long a request is repeated."""
PAUSE_S, LONGEST_PAUSE_S = 0.1, 15.0
FIRST_BYTES, SLOWEST_BYTES_PER_S = 64 << 20, 1 << 20
"""An upload may take as long as its size, rounded up to a power of two, takes at that speed."""
LIST_CHUNK = 1000


class StoreError(DataError, OSError):
    """An error of a store: an `OSError`, for who can repeat the work or do without, and a `DataError`, for a person."""

    ERRNO = errno.EIO

    def __init__(self, message: str) -> None:
        super().__init__(self.ERRNO, message)

    def __str__(self) -> str:
        return str(self.args[1])

    def __reduce__(self) -> tuple[type["StoreError"], tuple[str]]:
        return type(self), (str(self),)


class Unreachable(StoreError):
    """The store did not answer, or answered that it can't just now, however often it was asked."""


class Changed(Unreachable):
    """The object is another one than that which is being read."""


class Refused(StoreError):
    """The store does not allow it."""

    ERRNO = errno.EACCES


@dataclass(frozen=True)
class Bucket:
    """A bucket, by the address of something in it.

    Args:
        url: `s3://bucket/path`, and after `?` what the environment (`AWS_ENDPOINT_URL`, `AWS_REGION`,
            `AWS_ACCESS_KEY_ID`, ...) does not say: see `PARAMETERS`.

    Raises:
        UsageError: the address is none of a bucket, or says something unknown.
    """

    url: str
    _told: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        told = dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))
        if unknown := sorted(told.keys() - {*PARAMETERS, *IGNORED}):
            raise UsageError(f"{self._shown}: {unknown[0]!r} is unknown; there are: {', '.join(PARAMETERS)}")
        if not self.name:
            raise UsageError(f"{self._shown}: the name of a bucket is missing; write s3://BUCKET/FOLDER")
        object.__setattr__(self, "_told", told)

    def __getstate__(self) -> dict[str, object]:
        return {"url": self.url, "_told": self._told}

    @property
    def name(self) -> str:
        """The bucket's name."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def folder(self) -> str:
        """Bucket and folder, as paths begin."""
        return f"{self.name}/{unquote(urlsplit(self.url).path).strip('/')}".rstrip("/")

    @property
    def _shown(self) -> str:
        """The address without what may be secret."""
        return f"s3://{self.name}{urlsplit(self.url).path}"

    def infos(self, folder: str) -> list[pafs.FileInfo]:
        """Returns the objects and folders directly inside a folder."""
        import obstore

        found = self._repeat(folder, lambda: obstore.list_with_delimiter(self._store, self._key(folder)))
        folders = [pafs.FileInfo(f"{self.name}/{p}", pafs.FileType.Directory) for p in found["common_prefixes"]]
        return folders + [_info(f"{self.name}/{m['path']}", m) for m in found["objects"]]

    def walk(self, folder: str) -> Iterator[tuple[str, "ObjectMeta"]]:
        """Yields path and description of all objects below a folder, from one listing."""
        import obstore

        patience, last = _Patience(self._retry_s), None
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

    @property
    def _retry_s(self) -> float:
        try:
            return float(self._told.get("retry_s", RETRY_S))
        except ValueError as error:
            raise UsageError(f"{self._shown}: retry_s must be a number of seconds") from error

    @cached_property
    def _store(self) -> "S3Store":
        return self._client(0)

    def _client(self, size: int) -> "S3Store":
        """Returns a client that is patient enough for objects of a size; there are few."""
        return _client(self, max(size - 1, FIRST_BYTES - 1).bit_length())

    def connect(self, timeout_s: float) -> "S3Store":
        """Returns a new client."""
        from obstore.store import S3Store

        told = self._told
        endpoint = self._endpoint()
        config: S3Config = {"region": self._region(endpoint)}
        if endpoint:
            config["endpoint"] = endpoint
        user, _, _ = urlsplit(self.url).netloc.rpartition("@")
        key, _, secret = user.partition(":")
        if key := told.get("access_key", unquote(key)):
            config["access_key_id"] = key
            config["secret_access_key"] = told.get("secret_key", unquote(secret))
        if token := told.get("session_token"):
            config["session_token"] = token
        if told.get("anonymous", "").lower() in ("true", "1"):
            config["skip_signature"] = True
        return S3Store(
            self.name,
            config=config,
            client_options={
                "timeout": timedelta(seconds=timeout_s),
                "connect_timeout": timedelta(seconds=10),
                "allow_http": (endpoint or "").startswith("http://"),
            },
            retry_config={
                "max_retries": 1000,
                "retry_timeout": timedelta(seconds=self._retry_s),
                "backoff": {
                    "init_backoff": timedelta(seconds=PAUSE_S),
                    "max_backoff": timedelta(seconds=LONGEST_PAUSE_S),
                    "base": 2,
                },
            },
        )

    def _endpoint(self) -> str | None:
        if (endpoint := self._told.get("endpoint_override")) is None:
            return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return endpoint if "://" in endpoint else f"{self._told.get('scheme', 'https')}://{endpoint}"

    def _region(self, endpoint: str | None) -> str:
        told = self._told.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if told or endpoint:
            return told or "us-east-1"
        try:
            return str(pafs.resolve_s3_region(self.name))
        except OSError as error:
            raise UsageError(f"{self._shown}: its region is unknown ({error}); set AWS_REGION") from error

    def _repeat(self, path: str, work: Callable[[], T]) -> T:
        """Returns `work()`, repeated with growing pauses while the store is unreachable.

        obstore repeats what is answered by an error or not at all, but no answer that breaks off.
        """
        patience = _Patience(self._retry_s)
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
def _client(bucket: Bucket, bits: int) -> "S3Store":
    return bucket.connect(FIRST_BYTES / SLOWEST_BYTES_PER_S + 2**bits / SLOWEST_BYTES_PER_S)


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
