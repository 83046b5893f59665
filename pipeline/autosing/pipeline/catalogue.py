"""The commit records of a data set in one Parquet file beside its partitions, so that planning opens no footers.

It is only ever a cache. An entry is believed only for a file that a listing shows as it was when the entry was read;
whatever is missing, changed or damaged is read from the column files themselves, and the catalogue is written again.
Two runs at once may each write it: the last one wins, and either is right.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autosing.pipeline.columnfile import open_parquet
from autosing.pipeline.listing import Listing, Mark, mark_of
from autosing.pipeline.record import FORMAT, Record
from autosing.pipeline.seal import EMPTY, is_sealed, seal
from autosing.pipeline.store import Store
from autosing.signal.errors import DataError

CATALOGUE = "catalogue.parquet"
KEY = b"autosing.catalogue"
SHARED = ("instance", "stage", "version", "settings", "models", "inputs", "definition", "keep")
"""What the records of an instance have in common in all partitions; it is stored once, with the digests' names."""
OWN = ("key", "rows", "errors", "own_errors", "index")
MAPPINGS = ("input_digests", "digests")
"""What a record has for itself. `run` and `crc32` are not catalogued: no plan looks at them."""
SETTLED_S, SETTLED_AFAR_S = 2.0, 60.0
"""How old a file must be, by the clock here, so that its time and size tell it from one written right after it."""
MERGE_FILES = 50_000
MOST_BYTES_PER_FILE, MOST_EXTRA = 16 << 10, 1000
_SCHEMA = pa.schema([pa.field("partition", pa.int64(), False), pa.field("files", pa.large_string(), False)])


@dataclass(frozen=True)
class Kind:
    """What the records of an instance share, and the names of their digests; `code` stands for it in the file."""

    code: int
    shared: Mapping[str, Any]
    names: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Entry:
    """What is known of a column file: its mark when its record was read, and the record in parts."""

    mark: Mark
    kind: Kind
    own: Sequence[Any]

    def record(self) -> Record:
        """Returns the record."""
        digests = zip(MAPPINGS, self.kind.names, self.own[len(OWN) :], strict=True)
        mappings: dict[str, Any] = {
            mapping: dict(zip(names, values, strict=True)) for mapping, names, values in digests
        }
        return Record(**self.kind.shared, **mappings, **dict(zip(OWN, self.own, strict=False)))


class Catalogue:
    """The records of a data set's column files, as far as they are known.

    Args:
        store: of the data set.
        listing: the files as they are now; a catalogue that is far larger than they need is not of this data set.
    """

    def __init__(self, store: Store, listing: Listing) -> None:
        self._store = store
        self._new: dict[int, dict[str, Entry]] = {}
        self.n_new = 0
        self._take(_SCHEMA.empty_table())
        told, table = _read(store, sum(map(len, listing.values()))) or ([], self._table)
        self._kinds = [Kind(code, *kind) for code, kind in enumerate(told)]
        self._by_content = {_content(kind): kind for kind in self._kinds}
        self._take(table)

    def find(self, number: int) -> dict[str, Entry]:
        """Returns what is known of a partition's files, by instance."""
        if number in self._new:
            return self._new[number]
        row = int(np.searchsorted(self._partitions, number))
        if row == len(self._partitions) or self._partitions[row] != number:
            return {}
        files = json.loads(self._files[row].as_py())
        return {name: Entry(Mark(*mark), self._kinds[code], own) for name, mark, code, own in files}

    def add(self, number: int, instance: str, mark: Mark, record: Record) -> None:
        """Takes in the record of a file that had `mark` before the record was read."""
        if self.n_new % MERGE_FILES == MERGE_FILES - 1:
            self._merge()
        mappings: list[Mapping[str, str]] = [getattr(record, name) for name in MAPPINGS]
        shared = {name: getattr(record, name) for name in SHARED}
        kind = Kind(len(self._kinds), shared, [[*m] for m in mappings])
        known = self._by_content.setdefault(_content(kind), kind)
        if known is kind:
            self._kinds.append(kind)
        own = [*(getattr(record, name) for name in OWN), *([*m.values()] for m in mappings)]
        self._new.setdefault(number, self.find(number))[instance] = Entry(mark, known, own)
        self.n_new += 1

    def save(self, listing: Listing) -> None:
        """Writes the entries of the partitions in `listing`; where nothing can be written, nothing is."""
        self._merge()
        table = self._table.filter(pa.array(np.isin(self._partitions, list(listing))))
        kinds = [(kind.shared, kind.names) for kind in self._kinds]
        told = json.dumps({"format": FORMAT, "kinds": kinds, "crc32": EMPTY})
        try:
            with self._store.writing(CATALOGUE) as path:
                with pq.ParquetWriter(path, _SCHEMA, compression="zstd", use_dictionary=False) as writer:
                    writer.write_table(table)
                    writer.add_key_value_metadata({KEY.decode(): told})
                seal(path)
        except OSError:
            return
        self.n_new = 0

    def _take(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        self._partitions = self._table.column("partition").to_numpy()
        self._files = self._table.column("files")

    def _merge(self) -> None:
        """Puts new entries among the others, in place of older ones, as far as their files are settled."""
        margin_s = SETTLED_S if self._store.is_local else SETTLED_AFAR_S
        settled_ns = time.time_ns() - int(margin_s * 1e9)
        packed = {n: _packed(e) for n, e in self._new.items() if self._are_settled(e, settled_ns)}
        old = self._table.filter(pa.array(~np.isin(self._partitions, list(packed))))
        new = pa.table([[*packed], [*packed.values()]], schema=_SCHEMA)
        self._take(pa.concat_tables([old, new]).sort_by("partition"))
        self._new = {n: entries for n, entries in self._new.items() if n not in packed}

    def _are_settled(self, entries: Mapping[str, Entry], settled_ns: int) -> bool:
        """Returns whether none of the files can be taken for one that is written from now on."""
        marks = [e.mark for e in entries.values()]
        return all(0 < m.mtime_ns < settled_ns or (m.tag and not self._store.is_local) for m in marks)


def _content(kind: Kind) -> str:
    return json.dumps([kind.shared, kind.names], sort_keys=True)


def _packed(entries: Mapping[str, Entry]) -> str:
    files = [(name, e.mark, e.kind.code, e.own) for name, e in entries.items()]
    return json.dumps(files, separators=(",", ":"))


def _read(store: Store, n_files: int) -> tuple[list[Any], pa.Table] | None:
    """Returns kinds and rows of a catalogue; None where it is missing, damaged, of another format, or far too large."""
    try:
        mark = mark_of(store, CATALOGUE)
        if mark is None:
            return None
        with open_parquet(store, CATALOGUE) as file, store.open(CATALOGUE) as raw:
            told = json.loads((file.metadata.metadata or {})[KEY])
            is_ours = told["format"] == FORMAT and file.schema_arrow.equals(_SCHEMA)
            if is_ours and _is_bounded(file, n_files) and is_sealed(raw, mark.size, told["crc32"]):
                return told["kinds"], file.read(use_threads=False)
    except (OSError, DataError, ValueError, KeyError, TypeError, pa.ArrowException):
        pass
    return None


def _is_bounded(file: pq.ParquetFile, n_files: int) -> bool:
    """Returns whether a catalogue has no more rows and bytes than the files of its data set need."""
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    most = 2 * n_files + MOST_EXTRA
    return int(file.metadata.num_rows) <= most and sum(g.total_byte_size for g in groups) <= most * MOST_BYTES_PER_FILE
