"""What of a data set can be carried into another: its songs, and the columns that are fresh by their own records."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

import pyarrow as pa

from autosing.pipeline.columnfile import open_parquet
from autosing.pipeline.construct.inputs import digests
from autosing.pipeline.dataset import INDEX, PROBE, Partition, check_index_schema, split_address
from autosing.pipeline.record import ColumnDigest, Record
from autosing.pipeline.store import Stamp
from autosing.pipeline.upkeep.findings import UNREADABLE, reason
from autosing.signal.errors import DataError


@dataclass(frozen=True)
class Source:
    """A partition as it is before.

    Args:
        partition: where it is.
        n_rows: its songs.
        stamp: of its index.
        claimed_s: seconds that its songs last by their headers; None where nobody noted it.
        schema: of its index, without the file's own metadata.
        records: of the columns that can be carried.
        schemas: of their files.
        left: instance -> why its file can't be carried.
    """

    partition: Partition
    n_rows: int
    stamp: Stamp
    claimed_s: float | None
    schema: pa.Schema
    records: Mapping[str, Record]
    schemas: Mapping[str, pa.Schema]
    left: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def kind(self) -> str:
        """What must be equal in sources that become one partition: columns, their meaning, and how they are stored."""
        files = {
            name: (record.definition, record.keep, sorted(record.digests), _hash(self.schemas[name].serialize()))
            for name, record in self.records.items()
        }
        return _hash(json.dumps([_hash(self.schema.serialize()), files], sort_keys=True).encode())

    @cached_property
    def state(self) -> str:
        """What changes when anything of it changes."""
        told = {name: [record.key, dict(record.digests)] for name, record in self.records.items()}
        stamp = [self.partition.number, self.n_rows, self.stamp.size, self.stamp.mtime_ns]
        return _hash(json.dumps([stamp, self.kind, told], sort_keys=True).encode())

    @property
    def order(self) -> list[str]:
        """The instances that can be carried, inputs first, `probe` at the head."""
        needed = {n: _needed(r) - {n} | ({PROBE} if r.stage and n != PROBE else set()) for n, r in self.records.items()}
        return list(TopologicalSorter(dict(sorted(needed.items()))).static_order())


@dataclass(frozen=True)
class Sources:
    """All partitions as they are before, those of a kind beside each other; only what tells them apart is in memory.

    Args:
        partitions: in the order in which their songs are taken.
        states: of each.
        probed: whether the index of each is what `probe` read.
    """

    partitions: tuple[Partition, ...]
    states: tuple[str, ...]
    probed: tuple[bool, ...]
    n_songs: int
    left: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, partitions: Iterable[Partition]) -> "Sources":
        """Returns the sources that some partitions are.

        Raises:
            DataError: an index can't be read.
        """
        found: dict[str, list[tuple[Partition, str, bool]]] = {}
        left: dict[str, Counter[str]] = {}
        n_songs = 0
        for partition in partitions:
            source = survey(partition)
            found.setdefault(source.kind, []).append((partition, source.state, PROBE in source.records))
            n_songs += source.n_rows
            for instance, why in source.left.items():
                left.setdefault(why, Counter())[instance] += 1
        ordered, states, probed = zip(*(each for kind in found.values() for each in kind), strict=True)
        return cls(ordered, states, probed, n_songs, {why: dict(counts) for why, counts in left.items()})

    def __len__(self) -> int:
        """Returns the number of partitions."""
        return len(self.partitions)

    def __getitem__(self, number: int) -> Source:
        """Returns a source.

        Raises:
            DataError: it is not what it was before.
        """
        source = survey(self.partitions[number], self.probed[number])
        if source.state != self.states[number]:
            raise DataError(
                f"{source.partition.store.path(source.partition.folder)} changed meanwhile; when nothing writes there, "
                "begin again with a new folder"
            )
        return source


def survey(partition: Partition, is_probed: bool | None = None) -> Source:
    """Returns what of a partition can be carried.

    Args:
        partition: where it is.
        is_probed: whether its index is what `probe` read, where that is known.

    Raises:
        DataError: its index can't be read.
    """
    stamp = partition.store.stamp(partition.folder, f"{INDEX}.parquet")
    if stamp is None:
        raise DataError(f"partition {partition.number}: index.parquet is gone; restore it from a copy")
    with open_parquet(partition.store, partition.folder, f"{INDEX}.parquet") as file:
        schema, n_rows = file.schema_arrow.remove_metadata(), int(file.metadata.num_rows)
    check_index_schema(schema, partition.store.path(partition.folder, f"{INDEX}.parquet"))
    records, schemas, left = _read(partition, n_rows)
    if PROBE in records and not (_is_probed(partition, records[PROBE], stamp) if is_probed is None else is_probed):
        left[PROBE] = "index.parquet was written again"
        del records[PROBE]
    for name in [n for n in records if not _is_fresh(n, records, {})]:
        left.setdefault(name, "stale")
    fresh = {n: r for n, r in records.items() if n not in left}
    return Source(partition, n_rows, stamp, partition.claimed_s(), schema, fresh, schemas, left)


def _read(partition: Partition, n_rows: int) -> tuple[dict[str, Record], dict[str, pa.Schema], dict[str, str]]:
    """Returns records and schemas of the column files, and of those that are not what they should be the reason."""
    records: dict[str, Record] = {}
    schemas: dict[str, pa.Schema] = {}
    left: dict[str, str] = {}
    for name in partition.instances():
        try:
            record = partition.record(name)
            with open_parquet(partition.store, partition.folder, f"{name}.parquet") as file:
                schemas[name] = file.schema_arrow.remove_metadata()
            if record is not None and (record.instance, record.rows) == (name, n_rows):
                records[name] = record
            else:
                left[name] = "it belongs to another index"
        except UNREADABLE as error:
            left[name] = reason(error, partition.store.path(partition.folder, f"{name}.parquet"))
    return records, schemas, left


def _is_probed(partition: Partition, probe: Record, stamp: Stamp) -> bool:
    """Whether the index is what `probe` read: the same file, or one with the same values, as a copy has."""
    if (probe.index["size"], probe.index["mtime_ns"]) == (stamp.size, stamp.mtime_ns):
        return True
    names = [n for n in partition.index_columns() if n != "id"]
    if sorted(names) != sorted(probe.index["digests"]):
        return False
    now = {n: ColumnDigest() for n in names}
    for row in partition.rows([*(f"{INDEX}.{n}" for n in names), f"{PROBE}.error"]):
        for name, digest in now.items():
            digest.add(row.id, row.values[f"{INDEX}.{name}"], name == "audio" and PROBE in row.errors)
    return all(digest.hex() == probe.index["digests"][name] for name, digest in now.items())


def _is_fresh(name: str, records: Mapping[str, Record], known: dict[str, bool]) -> bool:
    """Whether a column was computed from what is there now, and so was all that it was computed from."""
    if name not in known:
        record = records.get(name)
        known[name] = record is not None and (not record.stage or _has_its_inputs(name, record, records, known))
    return known[name]


def _has_its_inputs(name: str, record: Record, records: Mapping[str, Record], known: dict[str, bool]) -> bool:
    needed = (_needed(record) | {PROBE}) - {name}
    if not all(_is_fresh(n, records, known) for n in needed):
        return False
    redefined = any(records[n].definition != definition for n, definition in record.inputs.items())
    return not redefined and digests(record.input_digests, records) == dict(record.input_digests)


def _needed(record: Record) -> set[str]:
    """Returns the instances that a column was computed from; `probe` tells of the index."""
    names = {*record.inputs, *(split_address(a)[0] for a in record.input_digests)}
    return {PROBE if name == INDEX else name for name in names}


def _hash(data: Any) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def check_ids(partitions: Iterable[Partition]) -> None:
    """Checks that no id is there twice.

    Raises:
        DataError: one is; the message says where.
    """
    seen: dict[bytes, int] = {}
    for partition in partitions:
        for id in partition.ids():
            other = seen.setdefault(hashlib.blake2b(id.encode(), digest_size=16).digest(), partition.number)
            if other != partition.number:
                raise DataError(
                    f"{partition.store.url}: the id {id!r} is in the partitions {other} and {partition.number}, which "
                    "may become one; ingest one of both under another id"
                )
