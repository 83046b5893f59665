"""Verifies one partition: what its files say of themselves against what is in them, and against each other.

Everything that a commit record says is derived again: definition and key from what they are made of, counts and digests
from the rows. No setting is looked at: a set may well be verified where nobody knows how it was made.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from autosing.pipeline.columnfile import ERROR, ID, INHERITED, RowReader, open_parquet
from autosing.pipeline.construct.inputs import digests
from autosing.pipeline.dataset import INDEX, PROBE, REFERENCE, Partition, split_address
from autosing.pipeline.record import ColumnDigest, Record, definition_of, key_of
from autosing.pipeline.schema import Column
from autosing.pipeline.seal import is_sealed
from autosing.pipeline.store import Store
from autosing.pipeline.upkeep.findings import ELSEWHERE, UNREADABLE, Checked, reason, some
from autosing.pipeline.upkeep.orphans import LEFTOVER_H, Orphans
from autosing.signal.framing import frames, tied_frames

NO_RECORD = "has no commit record"


@dataclass(frozen=True)
class PartitionTask:
    """The work on one partition; small, as it travels to a worker.

    Args:
        url: of the data set.
        number: of the partition.
        quick: whether values are left unread: footers, ids and errors alone.
        older_than_h: leftovers must be so many hours old.
    """

    url: str
    number: int
    quick: bool = False
    older_than_h: float = LEFTOVER_H


def verify_partition(task: PartitionTask) -> tuple[Checked, list[str]]:
    """Returns what was found in a partition, and its ids; whatever is there is found, nothing is raised."""
    check = _Check(Partition(Store(task.url), task.number), task.quick)
    try:
        check.run()
        for orphan in Orphans(check.partition.store, task.older_than_h).of_partition(check.partition.folder):
            check.found.findings.append(orphan.finding(check.partition.store))
    except Exception as error:  # the worker boundary: whatever a partition holds, its neighbours are verified
        folder = check.partition.store.path(check.partition.folder)
        check.found.find(folder, reason(error, folder), "look at the folder, and verify again")
    return check.found, check.ids or []


class _Check:
    """What is known of a partition while it is verified."""

    def __init__(self, partition: Partition, quick: bool) -> None:
        self.partition, self.quick = partition, quick
        self.found = Checked()
        self.ids: list[str] | None = None
        self.records: dict[str, Record] = {}
        self.lengths: list[tuple[int, int] | None] | None = None

    def run(self) -> None:
        for name in (INDEX, *self.partition.instances()):
            self.found.files += 1
            stamp = self.partition.store.stamp(self.partition.folder, f"{name}.parquet")
            self.found.bytes += stamp.size if stamp else 0
        self._read_ids()
        names = sorted(self.partition.instances(), key=lambda name: (name != PROBE, name))
        for name in names:
            self._read(name)
        self._try(INDEX, self._check_index)
        # Only what is whole itself can tell of others whether they were computed from it.
        for name, record in self.records.items():
            if told := self._other_inputs(record):
                self._find(name, told, f"run: autosing process {self.partition.store.url} {name}")

    def _path(self, name: str) -> str:
        return self.partition.store.path(self.partition.folder, f"{name}.parquet")

    def _find(self, name: str, problem: str, way_out: str = "") -> None:
        self.found.find(self._path(name), problem, way_out or self._made_again(name))

    def _made_again(self, name: str) -> str:
        if name == INDEX:
            return f"restore it from a copy, or take it as it is: autosing process {self.partition.store.url}"
        if name == REFERENCE:
            return "restore it from a copy, or delete it: nothing computes it"
        return f"delete it and run: autosing process {self.partition.store.url} {name}"

    def _try(self, name: str, look: Callable[[], str]) -> bool:
        """Returns whether there is nothing wrong with a file by what `look` tells; else that is a finding."""
        try:
            told = look()
        except UNREADABLE as error:
            told = reason(error, self._path(name))
        if told:
            self._find(name, told)
        return not told

    def _read_ids(self) -> None:
        try:
            self.ids = self.partition.ids()
        except UNREADABLE as error:
            self._find(INDEX, reason(error, self._path(INDEX)))

    def _read(self, name: str) -> None:
        """Reads a column file, and keeps its record where there is nothing wrong with it."""
        try:
            record = self.partition.record(name)
        except UNREADABLE as error:
            told = reason(error, self._path(name))
            foreign = told.startswith(NO_RECORD)
            self._find(name, f"a foreign file: it {told}" if foreign else told, ELSEWHERE if foreign else "")
            return
        if record is None:
            return
        self.found.rows += record.rows
        if self._try(name, lambda: self._wrong(name, record)):
            self.records[name] = record
            if name == PROBE:
                self._read_lengths()

    def _wrong(self, name: str, record: Record) -> str:
        """Returns what is wrong with a column file: its bytes, its record, its schema, or its rows."""
        if record.instance != name:
            return f"it is the file of {record.instance}"
        if not self.quick and not self._is_sealed(name, record):
            return "its bytes have changed since it was written (its checksum differs)"
        if told := _edited(record):
            return f"its commit record contradicts itself ({told})"
        return self._other_schema(name, record) or self._other_rows(name, record)

    def _read_lengths(self) -> None:
        """Notes samples and sample rate of every song; None where `probe` could not read it."""
        rows = self._rows(PROBE, ["n_samples", "sample_rate_hz", "error"])
        self.lengths = [None if r["error"] is not None else (r["n_samples"], r["sample_rate_hz"]) for r in rows]

    def _rows(self, name: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        reader = RowReader(self.partition.store, self.partition.folder, name, columns)
        try:
            yield from reader
        finally:
            reader.close()

    def _check_index(self) -> str:
        """Returns in what the index is not what `probe` read."""
        probe = self.records.get(PROBE)
        if self.ids is None or probe is None or self.lengths is None:
            return ""
        stamp = self.partition.store.stamp(self.partition.folder, f"{INDEX}.parquet")
        names = [n for n in self.partition.index_columns() if n != "id"]
        told: Mapping[str, str] = probe.index["digests"]
        if sorted(names) != sorted(told):
            return f"it has the columns {some(sorted(names))}, and probe read {some(sorted(told))}"
        if self.quick:
            return "" if stamp and stamp.size == probe.index["size"] else "it is not the file that probe read"
        now = {n: ColumnDigest() for n in names}
        for row, length in zip(self._rows(INDEX, names), self.lengths, strict=True):
            for name, digest in now.items():
                digest.add(row["id"], row[name], name == "audio" and length is None)
        changed = [n for n in names if now[n].hex() != told[n]]
        return f"its column {some(changed)} is not what probe read" if changed else ""

    def _is_sealed(self, name: str, record: Record) -> bool:
        parts = self.partition.folder, f"{name}.parquet"
        stamp = self.partition.store.stamp(*parts)
        if not record.crc32 or stamp is None:
            return not record.crc32
        with self.partition.store.open(*parts) as file:
            return is_sealed(file, stamp.size, record.crc32)

    def _other_schema(self, name: str, record: Record) -> str:
        with open_parquet(self.partition.store, self.partition.folder, f"{name}.parquet") as file:
            schema, n_rows = file.schema_arrow, int(file.metadata.num_rows)
        columns = [f.name for f in schema][1:-1]
        if schema.field(0) != ID or schema.field(len(schema) - 1) != ERROR:
            return f"its columns are {some(schema.names)}, and not id, its own and error"
        if sorted(columns) != (sorted(record.digests) if record.keep else []):
            return (
                f"it has the columns {some(columns) or 'id and error'}, and its record {some(sorted(record.digests))}"
            )
        for field in list(schema)[1:-1]:
            if Column.of_field(field).field() != field:
                return f"its column {field.name} is stored as {field.type}, unlike what is said of it"
        return "" if n_rows == record.rows else f"it has {n_rows} rows, and its record says {record.rows}"

    def _other_inputs(self, record: Record) -> str:
        """Returns in what the columns that it was computed from differ from those that are there now."""
        names = dict.fromkeys([*record.inputs, *(split_address(a)[0] for a in record.input_digests)])
        needed = [PROBE if name == INDEX else name for name in names]
        if gone := [n for n in needed if n not in self.records and n not in self.partition.instances()]:
            return f"it was computed from {some(gone)}, which is gone"
        if any(n not in self.records for n in needed):
            return ""
        redefined = [n for n, definition in record.inputs.items() if self.records[n].definition != definition]
        now = digests(record.input_digests, self.records)
        changed = redefined or [a for a, digest in now.items() if record.input_digests[a] != digest]
        return f"it was computed from another {some(changed)} than is there now" if changed else ""

    def _other_rows(self, name: str, record: Record) -> str:
        """Returns in what its rows differ from its record, from the index and from the lengths of the songs."""
        if self.ids is not None and record.rows != len(self.ids):
            return f"it belongs to another index: it has {record.rows} rows and the index {len(self.ids)}"
        columns = [] if self.quick else self.partition.columns(name)
        seen = _Seen(columns, self.lengths if record.stage and name != PROBE else None)
        for n, row in enumerate(self._rows(name, [*(c.name for c in columns), "error"])):
            if self.ids is not None and row["id"] != self.ids[n]:
                return (
                    f"it belongs to another index: row {n} has the id {row['id']!r} where the index has {self.ids[n]!r}"
                )
            seen.add(n, row)
        self.found.errors += seen.errors
        if (seen.errors, seen.own_errors) != (record.errors, record.own_errors) and record.stage:
            return f"{seen.errors} rows have an error, {seen.own_errors} of their own, and its record says " + (
                f"{record.errors} and {record.own_errors}"
            )
        if changed := [c.name for c in columns if seen.digests[c.name].hex() != record.digests[c.name]]:
            return f"its column {some(changed)} has other values than were written"
        return seen.told


def _edited(record: Record) -> str:
    """Returns which hash of a record is not made of what it says."""
    made = definition_of(record.stage, record.version, record.settings, record.models, record.inputs)
    if record.stage and made != record.definition:
        return "definition"
    if record.stage and key_of(record.definition, record.input_digests) != record.key:
        return "key"
    return ""


class _Seen:
    """What the rows of a column file amount to.

    Args:
        columns: what is read of them.
        lengths: samples and sample rate by row, which series must be as long as; None where that is not asked.
    """

    def __init__(self, columns: list[Column], lengths: list[tuple[int, int] | None] | None) -> None:
        self._columns, self._lengths = columns, lengths
        self.digests = {c.name: ColumnDigest() for c in columns}
        self.errors = self.own_errors = 0
        self.told = ""

    def add(self, n: int, row: Mapping[str, Any]) -> None:
        error = row["error"]
        self.errors += error is not None
        self.own_errors += error is not None and not error.startswith(INHERITED)
        for column in self._columns:
            value = row[column.name]
            self.digests[column.name].add(row["id"], value, error is not None)
            if value is not None and column.rate is not None and self._lengths is not None and not self.told:
                length = self._lengths[n] if n < len(self._lengths) else None
                if length is not None and len(value) != (wanted := _frames(column, column.rate, *length)):
                    self.told = f"{column.name} of {row['id']!r} has {len(value)} frames, and the song {wanted}"


def _frames(column: Column, rate: Fraction, n_samples: int, sample_rate: int) -> int:
    if column.tied:
        return tied_frames(n_samples, sample_rate, column.tied)[column.tied.index(rate)]
    return frames(n_samples, sample_rate, rate)
