"""A data set: numbered partitions of songs, and the column files beside each index."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from autosing.pipeline.columnfile import RowReader, open_parquet, read_record
from autosing.pipeline.listing import INDEX as INDEX
from autosing.pipeline.listing import Listing, list_partitions
from autosing.pipeline.record import Record
from autosing.pipeline.schema import METADATA_KEY, Column
from autosing.pipeline.store import Stamp, Store
from autosing.signal.errors import DataError, MissingColumn, SchemaMismatch

if TYPE_CHECKING:
    import polars as pl

REFERENCE = "reference"
PROBE = "probe"
RESERVED = (INDEX, REFERENCE, PROBE)
INDEX_TEXT_COLUMNS = ("lrc_lyrics", "raw_lyrics", "artist", "singer", "title", "language", "split")
EXCLUDE = "exclude.txt"
REPARTITION, UNFINISHED = "repartition.json", "repartition-unfinished.json"
"""What a data set was divided anew from, and how far that is while it goes on."""
CLAIMED_S = "autosing.claimed_s"
"""In an index's footer: how many seconds its songs last by their headers, for estimates before `probe`."""


def split_address(address: str) -> tuple[str, str]:
    """Returns instance and column of `<instance>.<column>`; an instance may hold a dot, a column never does."""
    instance, _, column = address.rpartition(".")
    return instance, column


@dataclass(frozen=True)
class SongRow:
    """One song with the columns that were asked for.

    Args:
        id: the song's id.
        partition: number of its partition.
        values: values by address; None where there is none.
        errors: error by instance, of the instances that have one for this song.
    """

    id: str
    partition: int
    values: dict[str, Any]
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Partition:
    """One folder `<n>` with its `index.parquet` and column files."""

    store: Store
    number: int

    @property
    def folder(self) -> str:
        """The folder's name."""
        return str(self.number)

    def instances(self) -> list[str]:
        """Returns the names of the column files, the index aside."""
        names = [n.removesuffix(".parquet") for n in self.store.files(self.folder) if n.endswith(".parquet")]
        return [n for n in names if n != INDEX and not n.startswith(".")]

    def record(self, instance: str) -> Record | None:
        """Returns the commit record of a column file, or None where there is no file."""
        return read_record(self.store, self.folder, instance)

    def index_stamp(self) -> Stamp | None:
        """Returns what tells the index from a later one; None where there is none."""
        return self.store.stamp(self.folder, f"{INDEX}.parquet")

    def index_columns(self) -> dict[str, pa.DataType]:
        """Returns name and type of the index's columns.

        Raises:
            SchemaMismatch: `id` or `audio` is missing or of a wrong type.
        """
        with open_parquet(self.store, self.folder, f"{INDEX}.parquet") as file:
            schema = file.schema_arrow
        check_index_schema(schema, self.store.path(self.folder, f"{INDEX}.parquet"))
        return {f.name: f.type for f in schema}

    def n_songs(self) -> int:
        """Returns the number of songs, from the index's footer."""
        with open_parquet(self.store, self.folder, f"{INDEX}.parquet") as file:
            return int(file.metadata.num_rows)

    def claimed_s(self) -> float | None:
        """Returns the length of the songs in seconds as their headers claim it; None where `ingest` did not note it."""
        with open_parquet(self.store, self.folder, f"{INDEX}.parquet") as file:
            told = (file.metadata.metadata or {}).get(CLAIMED_S.encode())
        return None if told is None else float(told)

    def ids(self) -> list[str]:
        """Returns the ids in order.

        Raises:
            DataError: an id is null, empty or there twice.
        """
        self.index_columns()
        reader = RowReader(self.store, self.folder, INDEX, [])
        try:
            ids = [row["id"] for row in reader]
        finally:
            reader.close()
        check_ids(ids, self.store.path(self.folder, f"{INDEX}.parquet"))
        return ids

    def columns(self, instance: str) -> list[Column]:
        """Returns the columns that are stored in a column file."""
        with open_parquet(self.store, self.folder, f"{instance}.parquet") as file:
            schema = file.schema_arrow
        return [Column.of_field(f) for f in schema if METADATA_KEY in (f.metadata or {})]

    def rows(self, addresses: Sequence[str]) -> Iterator[SongRow]:
        """Yields the songs in index order with the columns at `addresses`, series as numpy views.

        `<instance>.error` asks for an instance's errors alone.

        Raises:
            MissingColumn: a column file does not exist.
            DataError: files of the partition disagree on the ids.
        """
        wanted: dict[str, list[str]] = {INDEX: []}
        for address in addresses:
            instance, column = split_address(address)
            wanted.setdefault(instance, []).extend([column] if column != "error" else [])
        readers: dict[str, RowReader] = {}
        try:
            for name, columns in wanted.items():
                readers[name] = self._reader(name, columns)
            for name, reader in readers.items():
                if reader.n_rows != readers[INDEX].n_rows:
                    told = f"it has {reader.n_rows} rows and the index {readers[INDEX].n_rows}"
                    raise self._of_another_index(name, told)
            for parts in zip(*readers.values(), strict=True):
                yield self._joined(dict(zip(readers, parts, strict=True)))
        finally:
            for reader in readers.values():
                reader.close()

    def _reader(self, instance: str, columns: Sequence[str]) -> RowReader:
        if self.store.stamp(self.folder, f"{instance}.parquet") is None:
            raise MissingColumn(
                f"partition {self.number} has no {instance}; "
                f"compute it with: autosing process {self.store.url} {instance}"
            )
        names = columns if instance == INDEX else [*columns, "error"]
        return RowReader(self.store, self.folder, instance, names, optional=instance == INDEX)

    def _joined(self, parts: dict[str, dict[str, Any]]) -> SongRow:
        ids = {name: part.pop("id") for name, part in parts.items()}
        for name, id in ids.items():
            if id != ids[INDEX]:
                raise self._of_another_index(name, f"it has the id {id!r} where the index has {ids[INDEX]!r}")
        errors = {name: part.pop("error") for name, part in parts.items() if name != INDEX}
        values = {f"{name}.{column}": value for name, part in parts.items() for column, value in part.items()}
        return SongRow(ids[INDEX], self.number, values, {n: e for n, e in errors.items() if e is not None})

    def _of_another_index(self, instance: str, told: str) -> SchemaMismatch:
        path = self.store.path(self.folder, f"{instance}.parquet")
        return SchemaMismatch(
            f"{path} belongs to another index: {told}; compute it again: autosing process {self.store.url} {instance}"
        )


@dataclass(frozen=True)
class Dataset:
    """A data set at a path or URL.

    Raises:
        DataError: (on first use) there are no partitions, or it is being made of another set.
    """

    url: str

    @cached_property
    def store(self) -> Store:
        """Where the data set lies."""
        return Store(self.url)

    def list_files(self) -> Listing:
        """Returns the partitions' files, as one look at them all shows them."""
        self.check_whole()
        found = list_partitions(self.store)
        if not found:
            raise DataError(f"{self.url} has no partitions (<n>/index.parquet); make them with: autosing ingest")
        return found

    @cached_property
    def partitions(self) -> list[Partition]:
        """The partitions in order of their numbers."""
        return [Partition(self.store, number) for number in self.list_files()]

    def check_whole(self) -> None:
        """Checks that the set is not one that `repartition` is still making.

        Raises:
            DataError: it is.
        """
        if self.store.stamp(UNFINISHED) is not None:
            raise DataError(
                f"{self.url} is not whole: `autosing repartition` into it was stopped; run the same command again"
            )

    @cached_property
    def _is_whole(self) -> bool:
        self.check_whole()
        return True

    def partition(self, number: int) -> Partition:
        """Returns a partition by number.

        Raises:
            DataError: there is none; the message says which there are.
        """
        partition = Partition(self.store, number)
        if self._is_whole and partition.index_stamp() is not None:
            return partition
        first, last = self.partitions[0].number, self.partitions[-1].number
        raise DataError(f"{self.url} has no partition {number}; it has {len(self.partitions)} from {first} to {last}")

    @cached_property
    def excluded(self) -> frozenset[str]:
        """The ids listed in `exclude.txt`, which no build uses."""
        text = (self.store.read_text(EXCLUDE) or "").removeprefix("\ufeff")  # Which editors put before the first id.
        return frozenset(line.strip() for line in text.splitlines() if line.strip())

    def resolve(self, name: str) -> str:
        """Returns the address of a column given by address or by a name that is unique.

        Raises:
            MissingColumn: no column, or several columns, have that name; the message lists them.
        """
        first = self.partitions[0]
        known = {f"{i}.{c.name}" for i in first.instances() for c in first.columns(i)}
        known |= {f"{INDEX}.{c}" for c in first.index_columns()}
        if name in known:
            return name
        matches = sorted(address for address in known if split_address(address)[1] == name)
        if len(matches) != 1:
            unknown = f"is unknown or not computed yet (autosing process); there are: {', '.join(sorted(known))}"
            what = f"is ambiguous: {', '.join(matches)}" if matches else unknown
            raise MissingColumn(f"{self.url}: column {name!r} {what}")
        return matches[0]

    def read(self, names: Sequence[str]) -> Iterator[SongRow]:
        """Yields every song with the columns of the given names or addresses."""
        addresses = [self.resolve(name) for name in names]
        for partition in self.partitions:
            yield from partition.rows(addresses)

    def polars(self, names: Sequence[str]) -> "pl.DataFrame":
        """Returns id and columns of all songs as a frame; series become lists."""
        import polars as pl

        rows = [
            {"id": r.id} | {a: v.tolist() if hasattr(v, "tolist") else v for a, v in r.values.items()}
            for r in self.read(names)
        ]
        return pl.DataFrame(rows, infer_schema_length=None)


def check_index_schema(schema: pa.Schema, path: str) -> None:
    """Checks the columns of an index.

    Raises:
        SchemaMismatch: a column is missing or of a wrong type; the message says which and what it should be.
    """
    for name in ("id", "audio"):
        if name not in schema.names:
            raise SchemaMismatch(f"{path}: column {name!r} is missing; it has {', '.join(schema.names) or 'none'}")
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise SchemaMismatch(f"{path}: column {name!r} is there twice; rename one")
    for name in ("id", *INDEX_TEXT_COLUMNS):
        if name in schema.names and not _is_text(schema.field(name).type):
            raise SchemaMismatch(f"{path}: column {name!r} is {schema.field(name).type}, expected string")
    audio = schema.field("audio").type
    if not (pa.types.is_binary(audio) or pa.types.is_large_binary(audio)):
        raise SchemaMismatch(f"{path}: column 'audio' is {audio}, expected large_binary (encoded audio)")


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_null(dtype))


def check_ids(ids: Sequence[Any], path: str) -> None:
    """Checks that ids are non-empty and unique.

    Raises:
        DataError: the message names the row or the id.
    """
    seen: set[str] = set()
    for row, id in enumerate(ids):
        if not id:
            raise DataError(f"{path}: row {row} has {'no' if id is None else 'an empty'} id")
        if id in seen:
            raise DataError(f"{path}: the id {id!r} is there twice")
        seen.add(id)


def index_schema(columns: Sequence[str]) -> pa.Schema:
    """Returns the schema of an index with the given optional text columns."""
    optional = [pa.field(c, pa.large_string()) for c in columns]
    return pa.schema([pa.field("id", pa.large_string()), pa.field("audio", pa.large_binary()), *optional])
