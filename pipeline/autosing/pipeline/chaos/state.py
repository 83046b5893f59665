"""What a data set holds, so that two of them can be compared, and what was computed twice in one."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.events import EVENTS, RUNS
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.listing import INDEX, Mark, list_partitions
from autosing.pipeline.store import TEMPORARY
from autosing.signal.errors import UsageError

SOURCES = ("index.parquet", "reference.parquet", "exclude.txt")
"""The files of a data set that nobody computes."""
FEWEST = 4
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
    def of(cls, url: str) -> "State":
        """Returns the state of a data set."""
        records = {
            (p.number, name): record
            for p in Dataset(url).partitions
            for name in p.instances()
            if (record := p.record(name)) is not None
        }
        columns = {f: (r.definition, r.key, dict(r.digests), r.errors, r.own_errors) for f, r in records.items()}
        return cls(columns, {f: r.rows for f, r in records.items()}, _digests(Path(url) / "models"))

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


def committed(url: str) -> dict[File, Mark]:
    """Returns what tells each column file that is there from a later one."""
    listing = list_partitions(Dataset(url).store)
    return {(n, name): mark for n, files in listing.items() for name, mark in files.items() if name != INDEX}


def done_twice(url: str, before: Mapping[File, Mark]) -> list[str]:
    """Returns the column files that were computed although they were there, and not in the making, before.

    Args:
        url: the data set.
        before: what was committed when the run was disturbed.
    """
    now = committed(url)
    rewritten = {file for file, mark in before.items() if now.get(file) != mark}
    repeated = {file for file, times in _passes(url).items() if times > 1}
    return [f"{number}/{name}" for number, name in sorted(rewritten | repeated)]


def leftovers(url: str) -> list[str]:
    """Returns the files in the making that nobody makes any more."""
    return sorted(str(p.relative_to(url)) for p in Path(url).rglob(f"{TEMPORARY}*"))


def _passes(url: str) -> Counter[File]:
    """Returns how often each column file was told to be done, by all runs."""
    times: Counter[File] = Counter()
    for log in (Path(url) / RUNS).glob(f"*/{EVENTS}"):
        for event in _events(log):
            if event.get("event") == "done":
                times.update((event["partition"], name) for name in event["instances"])
    return times


def _events(log: Path) -> Iterator[dict[str, Any]]:
    for line in log.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # The last line of a run that was killed.
            yield json.loads(line)


def make_songs(url: str, partitions: int, songs: int, seconds: float) -> None:
    """Makes a data set of synthetic songs."""
    sung = list(SyntheticSource(2, seconds=seconds).songs())
    for p in range(partitions):
        append_songs(url, [replace(sung[i % 2], id=f"{p}/{i}", reference={}) for i in range(songs)])


def copy_songs(source: str, target: str) -> None:
    """Copies a data set on a disk without its columns.

    Raises:
        UsageError: there is none with partitions enough.
    """
    if len(Dataset(source).partitions) < FEWEST:
        raise UsageError(
            f"{source} has fewer than {FEWEST} partitions: nothing would be left to do after the first ones"
        )
    for file in _sources(Path(source)):
        place = Path(target) / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, place)


def _sources(folder: Path) -> Sequence[Path]:
    return [file for name in SOURCES for file in (*folder.glob(f"*/{name}"), *folder.glob(name))]
