"""What a data set holds, so that two of them can be compared, and what was computed twice in one."""

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from autosing.pipeline.dataset import EXCLUDE, REFERENCE, Dataset, Partition
from autosing.pipeline.events import EVENTS, RUNS
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.leftovers import TEMPORARY
from autosing.pipeline.listing import INDEX, Mark, list_partitions, mark_of
from autosing.pipeline.store import NoSuchFile, Store
from autosing.signal.errors import UsageError

SOURCES = (f"{REFERENCE}.parquet", f"{INDEX}.parquet")
"""The files of a partition that nobody computes, the one last that makes it a partition."""
FEWEST = 4
LISTED_WITHIN_S = 10.0
AT_ONCE = 8
T = TypeVar("T")
File = tuple[int, str]
"""A column file: partition and instance."""


@dataclass(frozen=True)
class State:
    """What the commit records of a data set say, and its artefacts.

    Args:
        columns: by file, all that must be the same however it was computed.
        rows: by file.
        artefacts: sha256 by path.
    """

    columns: Mapping[File, Any]
    rows: Mapping[File, int]
    artefacts: Mapping[str, str]

    @classmethod
    def of(cls, url: str, home: str = "", known: Collection[File] = ()) -> "State":
        """Returns the state of a data set.

        Args:
            url: the data set.
            home: the folder whose `models/` has its artefacts; "" for its own.
            known: as of `committed`.
        """
        store = Store(url)
        read = _of_each(lambda file: Partition(store, file[0]).record(file[1]), committed(url, known))
        records = {file: record for file, record in read.items() if record is not None}
        columns = {f: (r.definition, r.key, dict(r.digests), r.errors, r.own_errors) for f, r in records.items()}
        return cls(columns, {f: r.rows for f, r in records.items()}, _digests(Path(home or url, "models")))

    def differences(self, other: "State") -> list[str]:
        """Returns the names of what is not the same in another state."""
        columns = {f for f in {*self.columns, *other.columns} if self.columns.get(f) != other.columns.get(f)}
        ours, theirs = self.artefacts, other.artefacts
        artefacts = {path for path in {*ours, *theirs} if ours.get(path) != theirs.get(path)}
        return [*(f"{number}/{name}" for number, name in sorted(columns)), *sorted(artefacts)]

    def lost_rows(self, other: "State") -> int:
        """Returns how many rows another state lacks."""
        return sum(max(rows - other.rows.get(file, 0), 0) for file, rows in self.rows.items())


def _digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder.parent)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def committed(url: str, known: Collection[File] = ()) -> dict[File, Mark]:
    """Returns what tells each column file that is there from a later one.

    Args:
        url: the data set.
        known: files that are looked for though no listing shows them: that of a store may be late.
    """
    store = Store(url)
    listing = list_partitions(store)
    found = {(n, name): mark for n, files in listing.items() for name, mark in files.items() if name != INDEX}
    asked = _of_each(lambda file: mark_of(store, str(file[0]), f"{file[1]}.parquet"), {*known} - {*found})
    return found | {file: mark for file, mark in asked.items() if mark}


def _of_each(look: Callable[[File], T], files: Collection[File]) -> dict[File, T]:
    """Returns what is seen of each file; of several at once, as a store takes its time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(files, pool.map(look, files), strict=True))


def done_twice(url: str, before: Mapping[File, Mark]) -> list[str]:
    """Returns the column files that were computed although they were there, and not in the making, before.

    Args:
        url: the data set.
        before: what was committed when the run was disturbed.
    """
    now = committed(url, before)
    rewritten = {file for file, mark in before.items() if now.get(file) != mark}
    repeated = {file for file, times in _passes(url).items() if times > 1}
    return [f"{number}/{name}" for number, name in sorted(rewritten | repeated)]


def leftovers(url: str) -> list[str]:
    """Returns the files in the making that nobody makes any more."""
    return sorted("/".join(parts) for parts in _paths(Store(url)) if parts[-1].startswith(TEMPORARY))


def _paths(store: Store, *parts: str) -> Iterator[tuple[str, ...]]:
    """Yields where all files and folders are, from the top down."""
    for entry in store.entries(*parts):
        yield (*parts, entry.name)
        if entry.is_folder:
            yield from _paths(store, *parts, entry.name)


def _passes(url: str) -> Counter[File]:
    """Returns how often each column file was told to be done, by all runs."""
    times: Counter[File] = Counter()
    store = Store(url)
    for run in store.folders(RUNS):
        for event in _events(store.read_text(RUNS, run, EVENTS) or ""):
            if event.get("event") == "done":
                times.update((event["partition"], name) for name in event["instances"])
    return times


def _events(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        with suppress(ValueError):  # The last line of a run that was killed.
            yield json.loads(line)


def make_songs(url: str, partitions: int, songs: int, seconds: float) -> None:
    """Makes a data set of synthetic songs."""
    sung = list(SyntheticSource(2, seconds=seconds).songs())
    for p in range(partitions):
        append_songs(url, [replace(sung[i % 2], id=f"{p}/{i}", reference={}) for i in range(songs)])


def copy_songs(source: str, target: str) -> None:
    """Copies a data set without its columns, and waits until its partitions are listed: a run looks for them once.

    Raises:
        UsageError: there is none with partitions enough.
    """
    partitions = Dataset(source).partitions
    if len(partitions) < FEWEST:
        raise UsageError(
            f"{source} has fewer than {FEWEST} partitions: nothing would be left to do after the first ones"
        )
    here, there = Store(source), Store(target)
    for parts in [(EXCLUDE,), *((p.folder, name) for p in partitions for name in SOURCES)]:
        with suppress(NoSuchFile), here.open(*parts) as file, there.writing(*parts) as copy, copy.open("wb") as written:
            shutil.copyfileobj(file, written)
    deadline = time.monotonic() + LISTED_WITHIN_S
    while len(list_partitions(there)) < len(partitions) and time.monotonic() < deadline:
        time.sleep(0.1)


def below(url: str, name: str) -> str:
    """Returns the address of a folder inside another; what an address says after `?` stays at its end."""
    place, mark, told = url.partition("?") if "://" in url else (url, "", "")
    return f"{place.rstrip('/')}/{name}{mark}{told}"
