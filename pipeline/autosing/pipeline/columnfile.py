"""Column files: written whole or not at all, read in small batches with flat memory.

A file has one row per index row in the same order: `id`, the columns, `error`. It is its own commit record: the
record goes into the footer just before the file is closed, after its rows were checked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autosing.pipeline.record import RECORD_KEY, ColumnDigest, Record
from autosing.pipeline.schema import Column
from autosing.pipeline.seal import EMPTY, seal
from autosing.pipeline.store import NoSuchFile, Store
from autosing.signal.errors import DataError, RowError, SchemaMismatch

ROW_GROUP_BYTES = 32 << 20
ROW_GROUP_ROWS = 65536
READ_BYTES = 8 << 20
INHERITED = "input: "
"""How the error of a row begins whose input has an error; such rows are neither counted nor retried."""

ID = pa.field("id", pa.large_string())
ERROR = pa.field("error", pa.large_string())


class ColumnWriter:
    """Writes the rows of one column file to a local scratch path.

    Args:
        path: where to write; the caller publishes it.
        columns: the columns of a row.
        keep: whether values are stored; their digests are taken in any case.
    """

    def __init__(self, path: Path, columns: Sequence[Column], keep: bool = True) -> None:
        self._path, self._columns = path, columns
        self._stored = columns if keep else ()
        self._schema = pa.schema([ID, *(c.field() for c in self._stored), ERROR])
        has_blobs = any(pa.types.is_large_binary(f.type) for f in self._schema)
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression=_compression(self._stored),
            # A page is closed after a batch at the earliest: batches of many blobs make pages as large as row groups.
            write_batch_size=1 if has_blobs else None,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        self._digests = {c.name: ColumnDigest() for c in columns}
        self._rows: list[dict[str, Any]] = []
        self._pending_bytes = 0
        self.rows = self.errors = self.own_errors = 0

    def add(self, id: str, outcome: Mapping[str, Any] | RowError) -> None:
        """Adds the next row: canonical values by column name, or the reason why there are none."""
        error = str(outcome) if isinstance(outcome, RowError) else None
        row: dict[str, Any] = {"id": id, "error": error}
        for column in self._columns:
            value = None if isinstance(outcome, RowError) else outcome[column.name]
            self._digests[column.name].add(id, value, error is not None)
            if column in self._stored:
                row[column.name] = column.encode(value)
                self._pending_bytes += _size(row[column.name])
        self._rows.append(row)
        self.rows += 1
        self.errors += error is not None
        self.own_errors += error is not None and not error.startswith(INHERITED)
        if self._pending_bytes >= ROW_GROUP_BYTES or len(self._rows) >= ROW_GROUP_ROWS:
            self._flush()

    def digests(self) -> dict[str, str]:
        """Returns the digest of each column over the rows so far."""
        return {name: digest.hex() for name, digest in self._digests.items()}

    def close(self, record: Record) -> None:
        """Writes the remaining rows and the commit record, and reads the record back.

        Raises:
            DataError: the record tells another number of rows than were written.
        """
        self._flush()
        if record.rows != self.rows:
            raise DataError(f"{record.instance}: {self.rows} rows were written for {record.rows} rows of the index")
        sealed = replace(record, crc32=EMPTY)
        self._writer.add_key_value_metadata({RECORD_KEY.decode(): sealed.to_json().decode()})
        self._writer.close()
        seal(self._path)

    def abandon(self) -> None:
        """Closes the scratch file of a failed attempt; nobody publishes it."""
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._pending_bytes = [], 0


def _compression(columns: Sequence[Column]) -> dict[str, str] | str:
    """Blobs of encoded audio or floats do not shrink; everything else does."""
    blobs = {c.name for c in columns if pa.types.is_large_binary(c.field().type)}
    return {c.name: "none" if c.name in blobs else "zstd" for c in columns} | {"id": "zstd", "error": "zstd"}


def _size(stored: Any) -> int:
    if isinstance(stored, (bytes, str)):
        return len(stored)
    return 16 * len(stored) if isinstance(stored, list) else 8


def open_parquet(store: Store, *parts: str) -> pq.ParquetFile:
    """Returns an open Parquet file that reads with flat memory, whatever the size of its row groups.

    Raises:
        DataError: it does not exist or is no Parquet file.
    """
    file = store.open(*parts)
    with ExitStack() as on_error, told_damage(store.path(*parts)):
        on_error.callback(file.close)
        # pyarrow's default pre-buffering holds every row group read so far (1.3 GB for a file of 1.2 GB).
        parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
        on_error.pop_all()
        return parquet


@contextmanager
def told_damage(path: str) -> Iterator[None]:
    """Turns what reading a damaged or foreign file raises into one message. Errors of disk or network pass as they are.

    Raises:
        DataError: the file's content can't be read.
    """
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path} is not a readable Parquet file ({reason}); restore it, or remove it to have it made again"
        ) from error


def read_record(store: Store, folder: str, instance: str) -> Record | None:
    """Returns the commit record of a column file, or None where there is no file.

    Raises:
        DataError: the file is damaged or was not written by autosing.
    """
    name = f"{instance}.parquet"
    try:
        with open_parquet(store, folder, name) as file:
            raw = (file.metadata.metadata or {}).get(RECORD_KEY)
    except NoSuchFile:
        return None
    if raw is None:
        raise DataError(f"{store.path(folder, name)} has no commit record; it was not written by autosing")
    return Record.of_json(raw, store.path(folder, name))


class RowReader:
    """Iterates over the rows of one Parquet file of a partition.

    Args:
        store: the data set's store.
        folder: the partition.
        name: file name without `.parquet`.
        columns: names to read beside `id`; absent ones are read as None where `optional`.
        optional: whether a column may be absent.
    """

    def __init__(self, store: Store, folder: str, name: str, columns: Sequence[str], optional: bool = False) -> None:
        self.path = store.path(folder, f"{name}.parquet")
        self._file = open_parquet(store, folder, f"{name}.parquet")
        present = set(self._file.schema_arrow.names)
        missing = [c for c in ("id", *columns) if c not in present and not (optional and c != "id")]
        if missing:
            self._file.close()
            raise SchemaMismatch(f"{self.path} has no column {', '.join(missing)}; it has {', '.join(sorted(present))}")
        self._names = ["id", *(c for c in columns if c in present)]
        self._absent = [c for c in columns if c not in present]
        self._decoders = {n: decoder(self._file.schema_arrow.field(n)) for n in self._names}
        self.n_rows = self._file.metadata.num_rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.since(0)

    def since(self, first: int) -> Iterator[dict[str, Any]]:
        """Yields the rows from the row `first` on; row groups before it are not read."""
        with told_damage(self.path):
            for batch in batches(self._file, self._batch_rows(), self._names, first):
                columns = {n: batch.column(n) for n in self._names}
                for i in range(batch.num_rows):
                    row = {n: self._decoders[n](column[i]) for n, column in columns.items()}
                    row.update(dict.fromkeys(self._absent))
                    yield row

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _batch_rows(self) -> int:
        return batch_rows(self._file, self._names)


def batch_rows(file: pq.ParquetFile, names: Sequence[str]) -> int:
    """Returns how many rows of some columns make a batch of about `READ_BYTES`."""
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    chunks = (group.column(c) for group in groups for c in range(group.num_columns))
    total = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in names)
    return int(min(max(READ_BYTES * file.metadata.num_rows // max(total, 1), 1), 1024))


def batches(file: pq.ParquetFile, n_rows: int, names: Sequence[str], first: int = 0) -> Iterator[pa.RecordBatch]:
    """Yields batches of at most `n_rows` rows of some columns, from the row `first` on."""
    sizes = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
    group = 0
    while group < len(sizes) and first >= sizes[group]:
        first -= sizes[group]
        group += 1
    groups = list(range(group, len(sizes)))
    for batch in file.iter_batches(n_rows, row_groups=groups, columns=names, use_threads=False):
        if first < batch.num_rows:
            yield batch.slice(first) if first else batch
        first = max(first - batch.num_rows, 0)


def decoder(field: pa.Field) -> Callable[[Any], Any]:
    """Returns what makes a value of a stored scalar; a series becomes a numpy view."""
    if field.metadata and b"autosing.column" in field.metadata:
        column = Column.of_field(field)
        if column.is_series and pa.types.is_large_binary(field.type):
            return lambda scalar: column.decode(scalar.as_buffer() if scalar.is_valid else None)
        return lambda scalar: column.decode(scalar.as_py())
    return lambda scalar: scalar.as_py()
