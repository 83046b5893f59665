"""What lies in a data set or a built set and belongs to nothing: leftovers of killed runs, and files of others."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autosing.pipeline.catalogue import CATALOGUE
from autosing.pipeline.columnfile import read_record
from autosing.pipeline.construct.manifest import MANIFEST
from autosing.pipeline.construct.shards import DROPS
from autosing.pipeline.construct.target import SCRATCH
from autosing.pipeline.dataset import EXCLUDE, INDEX, REFERENCE, REPARTITION, UNFINISHED
from autosing.pipeline.events import RUNS
from autosing.pipeline.journal import SEGMENT
from autosing.pipeline.leftovers import DRAFT, TEMPORARY
from autosing.pipeline.store import Entry, Store
from autosing.pipeline.upkeep.findings import ELSEWHERE, UNREADABLE, Finding

LEFTOVER_H = 24.0
"""How old a leftover is at least: a younger one may belong to a run that is still going on."""
MODELS = "models"
NUMBER = re.compile(r"0|[1-9]\d*")
_SCRATCH_FOLDER = re.compile(rf"{re.escape(SCRATCH)}[0-9a-f]{{32}}")


@dataclass(frozen=True)
class Orphan:
    """A file or folder that belongs to nothing.

    Args:
        parts: where it is in its store.
        is_folder: whether it is a folder.
        bytes: its size, with all that is in it.
        problem: what it is.
        is_ours: whether a run of ours left it, so that it can go.
    """

    parts: tuple[str, ...]
    is_folder: bool
    bytes: int
    problem: str
    is_ours: bool

    def finding(self, store: Store) -> Finding:
        """Returns what `verify` says of it."""
        return Finding(
            store.path(*self.parts), self.problem, f"delete it: autosing gc {store.url}" if self.is_ours else ELSEWHERE
        )


class Orphans:
    """Finds orphans in a data set or a built set.

    Args:
        store: where it is.
        older_than_h: leftovers must be so many hours old.
    """

    def __init__(self, store: Store, older_than_h: float = LEFTOVER_H) -> None:
        self._store = store
        self._youngest_ns = int(time.time_ns() - older_than_h * 3600e9)

    def of_dataset(self) -> Iterator[Orphan]:
        """Yields the orphans beside the partitions, and in folders that never became one."""
        partitions = set(partition_folders(self._store))
        for entry in self._store.entries():
            if entry.is_folder and entry.name == MODELS:
                yield from self._in_models()
            elif entry.is_folder and entry.name == RUNS:
                continue
            elif entry.is_folder and NUMBER.fullmatch(entry.name):
                if entry.name not in partitions:
                    yield from self._unborn(entry.name)
            elif entry.is_folder:
                told = "partitions are named without leading zeros" if entry.name.isdecimal() else "it is no partition"
                yield self._foreign((entry.name,), entry, told)
            elif entry.name not in (CATALOGUE, EXCLUDE, REPARTITION, UNFINISHED):
                yield from self._file((), entry)

    def of_partition(self, folder: str) -> Iterator[Orphan]:
        """Yields the orphans in a partition; Parquet files, which have commit records, are no matter of theirs."""
        entries = self._store.entries(folder)
        written_ns = {e.name.removesuffix(".parquet"): e.mtime_ns for e in entries if e.name.endswith(".parquet")}
        for entry in entries:
            if entry.is_folder:
                yield self._foreign((folder, entry.name), entry, "a folder in a partition")
            elif found := SEGMENT.fullmatch(entry.name):
                yield from self._segment(folder, entry, written_ns.get(found["instance"], 0))
            elif entry.name.startswith(".") or not entry.name.endswith(".parquet"):
                yield from self._file((folder,), entry)

    def of_built_set(self, own: Sequence[str]) -> Iterator[Orphan]:
        """Yields the orphans in a built set whose manifest names the files `own`."""
        for entry in self._store.entries():
            if entry.is_folder and _SCRATCH_FOLDER.fullmatch(entry.name):
                yield from self._folder((), entry, "scratch of a build that was killed")
            elif entry.is_folder:
                yield self._foreign((entry.name,), entry, "a folder in a built set")
            elif entry.name not in (MANIFEST, DROPS, *own):
                yield from self._file((), entry)

    def _file(self, place: tuple[str, ...], entry: Entry) -> Iterator[Orphan]:
        if not DRAFT.fullmatch(entry.name):
            yield self._foreign((*place, entry.name), entry, "autosing did not write it")
        elif entry.mtime_ns < self._youngest_ns:
            yield Orphan((*place, entry.name), False, entry.size, "left by a run that was killed", True)

    def _segment(self, folder: str, entry: Entry, written_ns: int) -> Iterator[Orphan]:
        """Yields a segment of a journal that no run takes up any more: it is old, or its column was written since."""
        if entry.mtime_ns < max(self._youngest_ns, written_ns):
            yield Orphan((folder, entry.name), False, entry.size, "the journal of a run that was killed", True)

    def _foreign(self, parts: tuple[str, ...], entry: Entry, told: str) -> Orphan:
        return Orphan(
            parts, entry.is_folder, entry.size, f"a foreign {'folder' if entry.is_folder else 'file'}: {told}", False
        )

    def _folder(self, place: tuple[str, ...], entry: Entry, told: str) -> Iterator[Orphan]:
        parts = (*place, entry.name)
        if self._store.is_local and Path(self._store.path(*parts)).is_symlink():
            yield Orphan(parts, True, 0, "a link to a foreign folder", False)
            return
        # A folder that was just made is empty, so that its own time counts, too.
        all_of_it = [entry, *_inside(self._store, parts)]
        if all(e.mtime_ns < self._youngest_ns for e in all_of_it):
            yield Orphan(parts, True, sum(e.size for e in all_of_it if not e.is_folder), told, True)

    def _in_models(self) -> Iterator[Orphan]:
        for entry in self._store.entries(MODELS):
            if not entry.is_folder:
                yield from self._file((MODELS,), entry)
            elif entry.name.startswith(TEMPORARY):
                yield from self._folder((MODELS,), entry, "left by a fit that was killed")

    def _unborn(self, folder: str) -> Iterator[Orphan]:
        """Yields what is in a folder without an index; columns there have lost it, and are no orphans."""
        for entry in self._store.entries(folder):
            if entry.name == f"{REFERENCE}.parquet" and _is_reference(self._store, folder):
                if entry.mtime_ns < self._youngest_ns:
                    yield Orphan((folder, entry.name), False, entry.size, "left by an ingest that was killed", True)
            elif entry.is_folder:
                yield self._foreign((folder, entry.name), entry, "a folder in a partition")
            elif SEGMENT.fullmatch(entry.name):
                yield from self._segment(folder, entry, 0)
            elif not entry.name.endswith(".parquet"):
                yield from self._file((folder,), entry)


def partition_folders(store: Store) -> list[str]:
    """Returns the names of the folders that are partitions: a number with an index inside."""
    return [n for n in store.folders() if NUMBER.fullmatch(n) and store.stamp(n, f"{INDEX}.parquet") is not None]


def _is_reference(store: Store, folder: str) -> bool:
    try:
        return read_record(store, folder, REFERENCE) is not None
    except UNREADABLE:
        return False


def _inside(store: Store, parts: tuple[str, ...]) -> Iterator[Entry]:
    for entry in store.entries(*parts):
        yield entry
        if entry.is_folder:
            yield from _inside(store, (*parts, entry.name))
