"""The journal of a pass: what its micro-batches came to, kept beside the partition for the attempt after a kill.

A segment `.journal-<instance>-<definition>-<digest>.arrow` holds rows of one instance: a key, its columns, the error.
The key is a hash of the definition and of all that this song's row is computed from, so that a row is never taken for
another, whatever has changed since. The digest is that of the file: a segment that is torn has another, and is ignored.
Everything that a pass computes is kept, also what is not stored in the end: later stages and digests need it. Segments
are removed when their instance is committed; nobody but a pass looks at them.
"""

import hashlib
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from autosing.pipeline.columnfile import ERROR, decoder
from autosing.pipeline.leftovers import TEMPORARY, scratch_prefix
from autosing.pipeline.schema import Column
from autosing.pipeline.store import Draft, Store
from autosing.signal.errors import DataError, RowError

EVERY_S = 60.0
"""So much work may be lost at most: a pass that takes less writes nothing."""
MOST_BYTES = 64 << 20
"""So much waits in memory at most until it is written."""
SLOW_S = 3.0
"""A segment that takes longer to write makes the next one wait longer in proportion: writing costs a twentieth."""
SEGMENT = re.compile(r"\.journal-(?P<instance>.+)-(?P<definition>[0-9a-f]{32})-(?P<digest>[0-9a-f]{32})\.arrow")
KEY = pa.field("key", pa.binary(16))

Outcome = Mapping[str, Any] | RowError
"""Canonical values by column name, or why there are none."""


@dataclass(frozen=True)
class Kept:
    """An instance whose rows are kept.

    Args:
        name: of the instance.
        definition: what its columns mean.
        columns: its columns, whether they are stored in the end or not.
        is_retried: whether songs with errors are to be computed again, and not to get the error that they had.
    """

    name: str
    definition: str
    columns: tuple[Column, ...]
    is_retried: bool = False

    @cached_property
    def schema(self) -> pa.Schema:
        """What a segment has for a row."""
        return pa.schema([KEY, *(c.field() for c in self.columns), ERROR])

    @property
    def draft(self) -> str:
        """The name of a segment in the making."""
        return f".journal-{self.name}.arrow"

    def segment(self, digest: str) -> str:
        """Returns the name of a segment."""
        return f".journal-{self.name}-{self.definition}-{digest}.arrow"


class Journal:
    """What earlier attempts at a pass left, and what this one leaves.

    Args:
        store: the data set's store.
        folder: the partition.
        instances: all that the pass computes.
        n_songs: of the partition.
        every_s: seconds between segments; infinite where none are to be written.
    """

    def __init__(
        self, store: Store, folder: str, instances: Sequence[Kept], n_songs: int, every_s: float = EVERY_S
    ) -> None:
        self._store, self._folder, self._instances = store, folder, {kept.name: kept for kept in instances}
        self._n_songs, self._every_s = n_songs, every_s
        self._files: dict[str, list[str]] = {name: [] for name in self._instances}
        self._rows: dict[str, dict[bytes, tuple[pa.RecordBatch, int]]] = {}
        self._pending: dict[str, list[dict[str, Any]]] = {}
        self._pending_bytes = 0
        self._writers: dict[str, _Writer] = {}
        self._downloads: tempfile.TemporaryDirectory[str] | None = None
        self._begun = self._safe = time.monotonic()
        self._write_s = 0.0
        self._look()

    def recall(self, name: str, keys: Sequence[bytes]) -> list[Outcome] | None:
        """Returns the rows of a micro-batch as they were computed, or None where one of them is not known.

        A model may give a song other last digits in other company, so that micro-batches are kept whole or not at all.
        """
        if name not in self._rows:
            self._rows[name] = self._read(name)
        rows = self._rows[name]
        if not keys or not all(key in rows for key in keys):
            return None
        found = [self._outcome(name, *rows[key]) for key in keys]
        again = self._instances[name].is_retried and any(isinstance(outcome, RowError) for outcome in found)
        return None if again else found

    def note(self, name: str, keys: Sequence[bytes], outcomes: Sequence[Outcome]) -> None:
        """Takes in the rows that a micro-batch came to."""
        rows = self._pending.setdefault(name, [])
        for key, outcome in zip(keys, outcomes, strict=True):
            values = {"error": str(outcome)} if isinstance(outcome, RowError) else outcome
            rows.append({"key": key, **values})
            self._pending_bytes += sum(map(_size, values.values()))

    def passed(self, songs: int) -> None:
        """Takes in that a micro-batch is done, and so many songs in all; writes a segment where it is time."""
        now = time.monotonic()
        if not self._pending and not self._writers:
            self._safe = now
            return
        try:
            if now - self._safe >= self._every_s * max(1.0, self._write_s / SLOW_S):
                self._write()
                self._safe = time.monotonic()
                self._write_s = self._safe - now
            elif self._pending_bytes > MOST_BYTES:
                # A pass that will soon be over is as soon done again.
                self._spill(is_dropped=(now - self._begun) * self._n_songs / songs < self._every_s)
        except (OSError, DataError):  # No room, most likely, which the columns need more.
            self.close()
            for name in self._instances:
                self.forget(name)
            self._every_s = float("inf")

    def forget(self, name: str) -> None:
        """Removes the segments of an instance, which is committed."""
        for file in self._files[name]:
            with suppress(OSError):
                self._store.remove(self._folder, file)
        self._files[name] = []

    def close(self) -> None:
        """Leaves nothing half written, and what is written where it is."""
        for writer in self._writers.values():
            writer.discard()
        self._writers, self._pending, self._pending_bytes = {}, {}, 0
        self._rows = {}
        if self._downloads:
            self._downloads.cleanup()

    def _look(self) -> None:
        """Finds the segments that are there, and removes what was never finished."""
        unfinished = tuple(f"{TEMPORARY}{kept.draft}." for kept in self._instances.values())
        for file in self._store.files(self._folder):
            found = SEGMENT.fullmatch(file)
            if found and found["instance"] in self._files:
                self._files[found["instance"]].append(file)
            elif file.startswith(unfinished):
                self._store.remove(self._folder, file)

    def _read(self, name: str) -> dict[bytes, tuple[pa.RecordBatch, int]]:
        kept = self._instances[name]
        rows: dict[bytes, tuple[pa.RecordBatch, int]] = {}
        for file in self._files[name]:
            found = SEGMENT.fullmatch(file)
            if found and found["definition"] == kept.definition:
                with suppress(OSError, pa.ArrowException, DataError):
                    for batch in _batches(self._local(file), found["digest"], kept.schema):
                        for row, key in enumerate(batch.column("key").to_pylist()):
                            # A song that had an error may have got a value since.
                            if key not in rows or not batch.column("error")[row].is_valid:
                                rows[key] = (batch, row)
        return rows

    def _local(self, file: str) -> Path:
        if self._store.is_local:
            return Path(self._store.path(self._folder, file))
        if self._downloads is None:
            self._downloads = tempfile.TemporaryDirectory(prefix=scratch_prefix())
        path = Path(self._downloads.name, file)
        with self._store.open(self._folder, file) as source:
            source.download(str(path))
        return path

    def _outcome(self, name: str, batch: pa.RecordBatch, row: int) -> Outcome:
        error = batch.column("error")[row].as_py()
        if error is not None:
            return RowError(error)
        columns = self._instances[name].columns
        return {c.name: decoder(batch.schema.field(c.name))(batch.column(c.name)[row]) for c in columns}

    def _spill(self, is_dropped: bool = False) -> None:
        for name, rows in self._pending.items() if not is_dropped else ():
            if name not in self._writers:
                kept = self._instances[name]
                self._writers[name] = _Writer(self._store.draft(self._folder, kept.draft), kept)
            self._writers[name].add(rows)
        self._pending, self._pending_bytes = {}, 0

    def _write(self) -> None:
        self._spill()
        for name in list(self._writers):
            self._files[name].append(self._writers[name].publish())
            del self._writers[name]


class _Writer:
    """Writes a segment."""

    def __init__(self, draft: Draft, kept: Kept) -> None:
        self._draft, self._kept = draft, kept
        self._file = pa.ipc.new_file(str(draft.scratch), kept.schema)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        encoded = [{**row, **{c.name: c.encode(row.get(c.name)) for c in self._kept.columns}} for row in rows]
        self._file.write_batch(pa.RecordBatch.from_pylist(encoded, self._kept.schema))

    def publish(self) -> str:
        """Makes the segment appear, and returns its name."""
        self._file.close()
        name = self._kept.segment(_digest(self._draft.scratch))
        folder = self._draft.target.rpartition("/")[0]
        replace(self._draft, target=f"{folder}/{name}").publish()
        self._draft.discard()
        return name

    def discard(self) -> None:
        with suppress(OSError, pa.ArrowException):
            self._file.close()
        self._draft.discard()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _batches(path: Path, digest: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a segment, mapped into memory; none where it is torn, or of other columns."""
    if _digest(path) != digest:
        return
    file = pa.ipc.open_file(pa.memory_map(str(path)))
    if file.schema.equals(schema, check_metadata=True):
        yield from map(file.get_batch, range(file.num_record_batches))


def _size(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    return len(value) if isinstance(value, (bytes, str)) else 16 * len(value) if isinstance(value, list) else 8


def row_key(definition: str, id: str, inputs: Sequence[bytes]) -> bytes:
    """Returns the key of a song's row: of what it means, whose it is, and the digests of what it is computed from."""
    hashed = hashlib.blake2b(definition.encode(), digest_size=16)
    for part in (id.encode(), *inputs):
        hashed.update(len(part).to_bytes(8, "little") + part)
    return hashed.digest()
