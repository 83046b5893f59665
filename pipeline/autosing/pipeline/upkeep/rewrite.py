"""Writes a partition of rows of others: the index, then each column with a record that keeps it as fresh as it was."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autosing.pipeline.columnfile import ROW_GROUP_BYTES, ROW_GROUP_ROWS, ColumnWriter
from autosing.pipeline.construct.inputs import digests
from autosing.pipeline.dataset import CLAIMED_S, INDEX, PROBE
from autosing.pipeline.record import ColumnDigest, Record, key_of
from autosing.pipeline.schema import METADATA_KEY, Column
from autosing.pipeline.store import Store
from autosing.pipeline.upkeep.stream import Passing, Position, Segment, column_rows, songs
from autosing.pipeline.upkeep.survey import Source, Sources
from autosing.signal.errors import DataError, RowError, SchemaMismatch


@dataclass(frozen=True)
class Limits:
    """When a partition is full."""

    bytes: int
    seconds: float


@dataclass
class Rewritten:
    """A partition in the making: its songs, where they come from, and its records.

    Args:
        ids: of the songs.
        bytes: of their audio.
        seconds: their length; None where that of a song is not known.
        segments: where they come from.
        records: of the columns that are there.
    """

    ids: list[str] = field(default_factory=list)
    bytes: int = 0
    seconds: float | None = 0.0
    segments: list[Segment] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)

    def takes(self, song: Passing, limits: Limits) -> bool:
        """Whether a further song belongs into it: of a kind with the others, and not too much."""
        if not self.ids:
            return True
        seconds = (self.seconds or 0.0) + (song.seconds or 0.0)
        fits = self.bytes + song.bytes <= limits.bytes and seconds <= limits.seconds
        return fits and self.segments[0].source.kind == song.source.kind

    def add(self, song: Passing) -> None:
        """Takes in a song."""
        if not self.segments or self.segments[-1].source is not song.source:
            self.segments.append(Segment(song.source, song.position.row))
        self.segments[-1].rows += 1
        self.ids.append(song.id)
        self.bytes += song.bytes
        self.seconds = None if self.seconds is None or song.seconds is None else self.seconds + song.seconds


class Rewriter:
    """Writes partitions one after the other from the songs of others.

    Args:
        store: where to write.
        sources: where the songs are, those of a kind beside each other.
        limits: when a partition is full.
        start: the first song that is not there yet.
        told: is told the name of every file that was written.
    """

    def __init__(
        self, store: Store, sources: Sources, limits: Limits, start: Position, told: Callable[[str], None]
    ) -> None:
        self._store, self._limits, self._told = store, limits, told
        self._songs = songs(sources, start)
        self._next = next(self._songs, None)

    @property
    def position(self) -> Position | None:
        """The first song that was not written; None where all were."""
        return self._next.position if self._next else None

    def write(self, number: int) -> Rewritten:
        """Writes the partition `number` of the songs that come next: its index, then every column that they have."""
        folder, made = str(number), Rewritten()
        for name in self._store.files(folder):
            self._store.remove(folder, name)  # What a run left that was killed at this partition.
        with self._store.writing(folder, f"{INDEX}.parquet") as path:
            index = self._write_index(path, made)
        self._told(f"{folder}/{INDEX}")
        for name in made.segments[0].source.order:
            with self._store.writing(folder, f"{name}.parquet") as path:
                made.records[name] = self._write_column(path, name, folder, made, index)
            self._told(f"{folder}/{name}")
        return made

    def _write_index(self, path: Path, made: Rewritten) -> dict[str, str]:
        """Writes the index and returns the digests of its columns."""
        assert self._next is not None
        writer = _IndexWriter(path, self._next.source)
        try:
            while (song := self._next) and made.takes(song, self._limits):
                made.add(song)
                writer.add(song)
                self._next = next(self._songs, None)
        finally:
            writer.close(made.seconds)
        return writer.digests()

    def _write_column(self, path: Path, name: str, folder: str, made: Rewritten, index: dict[str, str]) -> Record:
        first = made.segments[0].source
        columns = [Column.of_field(f) for f in first.schemas[name] if METADATA_KEY in (f.metadata or {})]
        writer = ColumnWriter(path, columns)
        try:
            for id, row in zip(made.ids, column_rows(made.segments, name, [c.name for c in columns]), strict=True):
                if row["id"] != id:
                    raise SchemaMismatch(
                        f"{name} of {first.partition.store.url} belongs to another index: it has the id {row['id']!r} "
                        f"where the index has {id!r}; find it with: autosing verify {first.partition.store.url}"
                    )
                writer.add(id, row if row["error"] is None else RowError(row["error"]))
            record = _record(name, made, writer, self._described(folder, index) if name == PROBE else {})
        except BaseException:
            writer.abandon()
            raise
        writer.close(record)
        return record

    def _described(self, folder: str, digests: dict[str, str]) -> dict[str, Any]:
        """Returns what `probe` says of the index."""
        stamp = self._store.stamp(folder, f"{INDEX}.parquet")
        if stamp is None:
            raise DataError(f"{self._store.path(folder, INDEX)}.parquet is gone; run the same command again")
        return {"size": stamp.size, "mtime_ns": stamp.mtime_ns, "digests": digests}


def _record(name: str, made: Rewritten, writer: ColumnWriter, index: dict[str, Any]) -> Record:
    """Returns the record of a column: as fresh as those that its rows were taken from."""
    first = made.segments[0].source.records[name]
    own = replace(
        first,
        digests=writer.digests() if first.keep else _unstored_digests(name, made),
        rows=writer.rows,
        errors=writer.errors if first.stage else first.errors,
        own_errors=writer.own_errors if first.stage else first.own_errors,
        index=index,
        run=_run(name, made),
    )
    if not first.stage:
        return own
    now = digests(first.input_digests, {**made.records, name: own})
    return replace(own, input_digests=now, key=key_of(first.definition, now))


def _unstored_digests(name: str, made: Rewritten) -> dict[str, str]:
    """Returns what stands for the digests of values that are not stored: it says which rows of which digests they are.

    What is computed from them stays fresh by it. Where all rows of a partition are one partition again, it is the same.
    """
    whole = len(made.segments) == 1 and made.segments[0].rows == made.segments[0].source.n_rows
    found = {}
    for column, digest in made.segments[0].source.records[name].digests.items():
        parts = [[s.source.records[name].digests[column], s.first, s.rows] for s in made.segments]
        found[column] = digest if whole else hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
    return found


def _run(name: str, made: Rewritten) -> dict[str, Any]:
    """Returns when and where the rows were computed, and which rows of which partitions they are."""
    runs = [s.source.records[name].run for s in made.segments]
    told: dict[str, Any] = {"from": [[s.source.partition.number, s.first, s.rows] for s in made.segments]}
    told["repartitioned"] = made.segments[0].source.partition.store.url
    for fact, chosen in (("finished", max), ("host", lambda hosts: ", ".join(sorted(set(hosts))))):
        if found := [str(run[fact]) for run in runs if fact in run]:
            told[fact] = chosen(found)
    for fact in ("busy_s", "audio_s"):
        shares = [run.get(fact, 0.0) * s.rows / s.source.n_rows for run, s in zip(runs, made.segments, strict=True)]
        told[fact] = round(sum(shares), 3)
    return told


class _IndexWriter:
    """Writes rows of indexes as they are, and takes the digests of their columns for `probe`."""

    def __init__(self, path: Path, source: Source) -> None:
        names = source.schema.names
        self._digests = {n: ColumnDigest() for n in names if n != "id" and PROBE in source.records}
        self._schema, self._rows, self._bytes = source.schema, list[pa.RecordBatch](), 0
        self._writer = pq.ParquetWriter(
            path,
            source.schema,
            compression={n: "none" if n == "audio" else "zstd" for n in names},
            write_batch_size=1,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    def add(self, song: Passing) -> None:
        """Adds the next song."""
        for name, digest in self._digests.items():
            value = song.row.column(name)[0].as_py()
            digest.add(song.id, value, name == "audio" and song.is_unreadable)
        self._rows.append(song.row)
        self._bytes += song.bytes
        if self._bytes >= ROW_GROUP_BYTES or len(self._rows) >= ROW_GROUP_ROWS:
            self._flush()

    def digests(self) -> dict[str, str]:
        """Returns the digest of each column but the ids."""
        return {name: digest.hex() for name, digest in self._digests.items()}

    def close(self, seconds: float | None) -> None:
        """Writes the rest, and how long all songs are, where that is known."""
        self._flush()
        if seconds:
            self._writer.add_key_value_metadata({CLAIMED_S: f"{seconds:.3f}"})
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_batches(self._rows, self._schema))
        self._rows, self._bytes = [], 0
