"""The files of a built set: in a local folder, or on an object store and read by ranges through a local cache."""

import fcntl
import hashlib
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from autosing.signal.errors import DataError, UsageError

# What is fetched and kept at a time: some seconds of a loader's work, and few requests per tar.
BLOCK_BYTES = 8 << 20
DEFAULT_CACHE_GB = 50.0
CACHE_VARIABLE = "AUTOSING_CACHE"
# The cache is measured once a process has added this share of its limit, and brought this far below it.
MEASURED, SLACK = 0.01, 0.1
# Seconds between tries to read from a remote set: a store that is busy or restarts is back within two minutes.
PAUSES_S = (1.0, 5.0, 20.0, 60.0)
# Of HTTP: answers that stay the same however often one asks.
REFUSALS = (401, 403)


class Files(ABC):
    """Files by name; picklable, so reading processes have it too."""

    url: str

    def where(self, name: str) -> str:
        """Returns the address of a file, for messages."""
        return f"{self.url.rstrip('/')}/{name}"

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Returns the size in bytes; None where there is no such file."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Returns a whole file; raises FileNotFoundError."""

    @abstractmethod
    def read_range(self, name: str, offset: int, length: int, size: int) -> bytes:
        """Returns bytes of a file of `size` bytes, fewer where it is cut short; raises FileNotFoundError."""

    def forget(self, name: str) -> bool:
        """Drops what is kept of a file; says whether there was any, so that reading again may give something else."""
        return False


@dataclass(frozen=True)
class LocalFiles(Files):
    """Files in a folder."""

    url: str

    def size(self, name: str) -> int | None:
        """Returns the size in bytes; None where there is no such file."""
        path = Path(self.url, name)
        return path.stat().st_size if path.is_file() else None

    def read(self, name: str) -> bytes:
        """Returns a whole file."""
        return Path(self.url, name).read_bytes()

    def read_range(self, name: str, offset: int, length: int, size: int) -> bytes:
        """Returns bytes of a file."""
        with open(Path(self.url, name), "rb") as file:
            file.seek(offset)
            return file.read(length)


@dataclass(frozen=True)
class Cache:
    """Blocks of remote files on a local disk, the longest unused removed first; any number of processes share it.

    Attributes:
        folder: where the blocks lie.
        limit_bytes: what they may take; at least two blocks.
    """

    folder: Path
    limit_bytes: int
    _added: list[int] = field(default_factory=lambda: [0], compare=False)

    def get(self, name: str) -> bytes | None:
        """Returns a block, if it is here, and notes that it was used."""
        path = self.folder / name
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return content

    def put(self, name: str, content: bytes) -> None:
        """Keeps a block; a disk that is full or read-only costs the cache, not the run."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=self.folder, prefix=".")
            try:
                with open(descriptor, "wb") as file:
                    file.write(content)
                Path(draft).replace(self.folder / name)
            except OSError:
                Path(draft).unlink()
                raise
            self._added[0] += len(content)
            if self._added[0] > MEASURED * self.limit_bytes:
                self._added[0] = 0
                self._shrink()

    def drop(self, name: str) -> bool:
        """Removes a block; says whether it was here."""
        try:
            (self.folder / name).unlink()
        except OSError:
            return False
        return True

    @property
    def is_used(self) -> bool:
        """Whether anything is kept."""
        return self.limit_bytes >= 2 * BLOCK_BYTES

    def _shrink(self) -> None:
        with open(self.folder / ".lock", "w") as lock:
            # Another process is at it, and would otherwise see its blocks go.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._remove_longest_unused()

    def _remove_longest_unused(self) -> None:
        blocks = []
        for entry in os.scandir(self.folder):
            with suppress(OSError):
                stat = entry.stat()
                blocks.append((stat.st_mtime, stat.st_size, entry.path))
        excess = sum(size for _, size, _ in blocks) - (1 - SLACK) * self.limit_bytes
        for _, size, path in sorted(blocks):
            if excess <= 0:
                return
            with suppress(OSError):
                Path(path).unlink()
                excess -= size


@dataclass(frozen=True)
class RemoteFiles(Files):
    """Files below a URL that fsspec knows; tars are fetched in blocks, which are kept.

    Attributes:
        url: of the folder, such as `s3://bucket/shards`.
        cache: where blocks are kept.
        version: what the files are a version of, so that blocks of an older set under the same URL are not taken.
    """

    url: str
    cache: Cache
    version: str = ""

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        try:
            filesystem, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{self.url} cannot be read: {error}") from error
        return filesystem, root.rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the connection out: each process opens its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_opened"}

    def size(self, name: str) -> int | None:
        """Returns the size in bytes; None where there is no such file."""
        filesystem, root = self._opened
        try:
            told = self._patiently(lambda: filesystem.info(f"{root}/{name}"))["size"]
        except FileNotFoundError:
            return None
        if told is None:
            raise DataError(f"{self.url} does not tell the size of {name}; read it with --stream")
        return int(told)

    def read(self, name: str) -> bytes:
        """Returns a whole file, never from the cache."""
        return self._fetched(name, None, None)

    def read_range(self, name: str, offset: int, length: int, size: int) -> bytes:
        """Returns bytes of a file, fetching the blocks that are not here."""
        if not self.cache.is_used:
            return self._fetched(name, offset, offset + length)
        first, last = offset // BLOCK_BYTES, (offset + max(length, 1) - 1) // BLOCK_BYTES
        content = b"".join(self._block(name, number, size) for number in range(first, last + 1))
        start = offset - first * BLOCK_BYTES
        return content[start : start + length]

    def forget(self, name: str) -> bool:
        """Drops the blocks of a file."""
        known = [path.name for path in self.cache.folder.glob(f"{self._stem(name)}-*")]
        return sum(self.cache.drop(block) for block in known) > 0

    def _block(self, name: str, number: int, size: int) -> bytes:
        block = f"{self._stem(name)}-{number:05d}"
        content = self.cache.get(block)
        if content is None:
            content = self._fetched(name, number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, size))
            self.cache.put(block, content)
        return content

    def _fetched(self, name: str, start: int | None, end: int | None) -> bytes:
        filesystem, root = self._opened
        return bytes(self._patiently(lambda: filesystem.cat_file(f"{root}/{name}", start=start, end=end)))

    def _patiently(self, read: Callable[[], Any]) -> Any:
        """Returns what `read` does, after some tries.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: the store does not answer, or refuses.
        """
        pauses_s = list(PAUSES_S)
        while True:
            try:
                return read()
            except FileNotFoundError:
                raise
            except _failures() as error:
                if not pauses_s or isinstance(error, PermissionError) or getattr(error, "status", 0) in REFUSALS:
                    raise DataError(f"{self.url} cannot be read ({error}); resume the run when it can") from error
                time.sleep(pauses_s.pop(0))

    def _stem(self, name: str) -> str:
        return hashlib.sha256("\n".join((self.url, self.version, name)).encode()).hexdigest()[:32]


def _failures() -> tuple[type[Exception], ...]:
    """Returns what reading raises where a store does not answer; what is read by HTTP has errors of its own."""
    try:
        from aiohttp import ClientError
    except ImportError:  # without it nothing is read by HTTP
        return OSError, TimeoutError
    return OSError, TimeoutError, ClientError


def open_files(url: str | Path, cache_gb: float = DEFAULT_CACHE_GB) -> Files:
    """Returns the files of a folder or a URL.

    Args:
        url: a path, `file://...`, or a URL of an object store.
        cache_gb: how much of the local disk a remote set may take, in `$AUTOSING_CACHE` or the user's cache folder.
    """
    text = str(url).removeprefix("file://")
    if "://" not in text:
        return LocalFiles(text)
    home = os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "autosing"
    return RemoteFiles(text.rstrip("/"), Cache(Path(home) / "shards", int(cache_gb * 1e9)))


def plain_name(name: Any, owner: str) -> str:
    """Returns a file name from a manifest, if it stays inside the set's folder.

    Raises:
        DataError: it is no relative path, or it leads elsewhere.
    """
    parts = name.split("/") if isinstance(name, str) else []
    if not parts or any(part in ("", ".", "..") for part in parts) or "\\" in name or ":" in name:
        raise DataError(f"{owner} names the file {name!r}, which is not inside its folder; build the set again")
    return str(name)
