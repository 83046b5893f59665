"""One look at all files of a data set: what each partition has, and by what a file is told from a later one."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.fs as pafs

from autosing.pipeline.bucket import Bucket
from autosing.pipeline.store import Stamp, Store, seconds_ns, tag_of
from autosing.signal.errors import DataError

if TYPE_CHECKING:
    from obstore import ObjectMeta

ENDING = ".parquet"
INDEX = "index"


class Mark(NamedTuple):
    """What tells a file from any later one under its name.

    Args:
        size: in bytes.
        mtime_ns: when it was written; 0 where the store does not tell.
        tag: its inode or ETag; "" where the store tells none.
    """

    size: int
    mtime_ns: int
    tag: str = ""

    @property
    def stamp(self) -> Stamp:
        """What `Store.stamp` says of the file."""
        return Stamp(self.size, self.mtime_ns)


Listing = dict[int, dict[str, Mark]]
"""Partition -> instance -> mark of its file; only what has an index is a partition."""


def list_partitions(store: Store) -> Listing:
    """Returns all column files of a data set from one listing, partitions in order.

    Raises:
        DataError: the address is that of a file.
    """
    found: Listing = {}
    for folder, name, mark in _local(store) if store.is_local else _remote(store):
        if folder.isdecimal() and str(int(folder)) == folder and _is_column_file(name):
            found.setdefault(int(folder), {})[name.removesuffix(ENDING)] = mark
    return {number: found[number] for number in sorted(found) if INDEX in found[number]}


def list_partition(store: Store, number: int) -> dict[str, Mark]:
    """Returns the column files of one partition."""
    folder = str(number)
    files = _local_folder(store.path(folder)) if store.is_local else (f[1:] for f in _remote(store, folder))
    return {name.removesuffix(ENDING): mark for name, mark in files if _is_column_file(name)}


def mark_of(store: Store, *parts: str) -> Mark | None:
    """Returns the mark of one file as a listing tells it, or None where there is none."""
    path = store.path(*parts)
    try:
        if store.is_local:
            return local_mark(Path(path).stat())
        if isinstance(store.fs, Bucket):
            meta = store.fs.head(path)
            return _object_mark(meta) if meta else None
        return _foreign_mark(path, store.foreign.info(path))
    except FileNotFoundError:
        return None


def local_mark(status: os.stat_result) -> Mark:
    """Returns the mark of a local file. A new file is renamed into its place, so that it has another inode."""
    return Mark(status.st_size, status.st_mtime_ns, str(status.st_ino))


def _is_column_file(name: str) -> bool:
    return name.endswith(ENDING) and not name.startswith(".")


def _local(store: Store) -> Iterator[tuple[str, str, Mark]]:
    try:
        with os.scandir(store.path()) as entries:
            folders = [e for e in entries if e.name.isdecimal() and e.is_dir()]
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise DataError(f"{store.path().rstrip('/')} is a file; a data set is a folder") from error
    for folder in folders:
        for name, mark in _local_folder(folder.path):
            yield folder.name, name, mark


def _local_folder(path: str) -> Iterator[tuple[str, Mark]]:
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                if _is_column_file(entry.name) and entry.is_file():
                    yield entry.name, local_mark(entry.stat())
            except FileNotFoundError:  # It was renamed or removed meanwhile.
                continue


def _remote(store: Store, *parts: str) -> Iterator[tuple[str, str, Mark]]:
    """Yields folder, name and mark of the files in the folders of a data set, or in one of them."""
    root, place = store.path().rstrip("/"), store.path(*parts).rstrip("/")
    if isinstance(store.fs, Bucket):
        told = ((path, _object_mark(meta)) for path, meta in store.fs.walk(place))
    else:
        found = store.foreign.find(place, detail=True)
        told = ((path, _foreign_mark(path, info)) for path, info in found.items())
    for path, mark in told:
        folder, _, name = path[len(root) + 1 :].rpartition("/")
        yield folder, name, mark


def _foreign_mark(path: str, info: dict[str, Any]) -> Mark:
    like_stamp = pafs.FileInfo(path, pafs.FileType.File, size=info["size"], mtime=info.get("mtime"))
    return Mark(info["size"], like_stamp.mtime_ns or 0, tag_of(info))


def _object_mark(meta: "ObjectMeta") -> Mark:
    return Mark(meta["size"], seconds_ns(meta["last_modified"]), meta["e_tag"] or "")
