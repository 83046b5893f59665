"""Appends songs to a data set as numbered partitions; what is there already is never written again."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autosing.pipeline.columnfile import ColumnWriter
from autosing.pipeline.dataset import CLAIMED_S, INDEX, INDEX_TEXT_COLUMNS, REFERENCE, Dataset, index_schema
from autosing.pipeline.record import Record, definition_of
from autosing.pipeline.schema import Column
from autosing.pipeline.store import Store, explained_refusals
from autosing.signal.errors import DataError, UsageError

PARTITION_BYTES = 256 << 20
PARTITION_HOURS = 4.0
ROW_GROUP_BYTES = 32 << 20
MOST_TOLD = 1000
"""How many problems of a source are kept in words; all are counted."""


def bytes_of(partition_mb: float) -> int:
    """Returns the bytes at which a partition is full.

    Raises:
        UsageError: that is no finite number of MB.
    """
    if not 0 <= partition_mb < math.inf:
        raise UsageError(f"a partition of {partition_mb:g} MB is none; give the MB of audio that it may hold")
    return int(partition_mb * (1 << 20))


@dataclass(frozen=True)
class NewSong:
    """A song on its way into a data set.

    Args:
        id: any non-empty string.
        audio: the encoded bytes, untouched.
        text: optional index columns (`artist`, `lrc_lyrics`, ...).
        reference: known truth by column name (`ref_f0_hz`, ...).
        duration_s: length, where it is known without decoding.
    """

    id: str
    audio: bytes
    text: dict[str, str | None] = field(default_factory=dict)
    reference: dict[str, Any] = field(default_factory=dict)
    duration_s: float = 0.0


@dataclass
class Problems:
    """What of a source could not be taken, or not as it is: counted in full, told up to `MOST_TOLD`."""

    count: int = 0
    told: list[str] = field(default_factory=list)

    def add(self, told: str, count: int = 1) -> None:
        """Adds what is wrong with `count` things: which they are, why, and where it helps what to do."""
        self.count += count
        if len(self.told) < MOST_TOLD:
            self.told.append(told)


@dataclass
class IngestResult:
    """What an ingest came to.

    Args:
        songs: how many were written.
        skipped: how many were there already.
        partitions: how many were written.
        bytes: of the sound that was written.
        problems: what of the source was not taken, or not as it is; at most `MOST_TOLD`.
        n_problems: how many there were.
    """

    songs: int = 0
    skipped: int = 0
    partitions: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    n_problems: int = 0


def append_songs(
    url: str,
    songs: Iterable[NewSong],
    reference_columns: Sequence[Column] = (),
    partition_bytes: int = PARTITION_BYTES,
    problems: Problems | None = None,
) -> IngestResult:
    """Writes songs as further partitions. Songs that are there with the same bytes are skipped and counted.

    Args:
        url: the data set; it need not exist.
        songs: read one partition at a time.
        reference_columns: the columns of `reference.parquet`, which a partition has where truth of a song is known.
        partition_bytes: size at which a partition is full.
        problems: where the source tells what it could not take.

    Raises:
        DataError: an id is there already with other bytes, twice in the source, or empty; or the disk is full.
    """
    store = Store(url)
    known = _known_songs(url)
    # A folder without an index is what a killed ingest left; its number is used again.
    names = [n for n in store.folders() if n.isdecimal() and store.stamp(n, f"{INDEX}.parquet")]
    number = max(map(int, names), default=-1) + 1
    result = IngestResult()
    for batch in _partitions(_new_songs(songs, known, result), partition_bytes):
        with explained_refusals(url):
            store.remove_leftovers(str(number), [f"{name}.parquet" for name in (REFERENCE, INDEX)])
            if reference_columns and any(s.reference for s in batch):
                _write_reference(store, number, batch, reference_columns)
            else:
                store.remove(str(number), f"{REFERENCE}.parquet")  # A killed ingest of other songs may have left one.
            _write_index(store, number, batch)
        result.partitions += 1
        result.songs += len(batch)
        result.bytes += sum(len(s.audio) for s in batch)
        number += 1
    if problems is not None:
        result.problems, result.n_problems = problems.told, problems.count
    if not result.songs and not result.skipped:
        first = f"; the first of {result.n_problems} problems: {result.problems[0]}" if result.problems else ""
        raise UsageError(f"the source holds no songs; look at SOURCE, --include and --exclude{first}")
    return result


def _known_songs(url: str) -> dict[str, bytes]:
    """Returns id -> digest of the audio of every song of the data set."""
    known: dict[str, bytes] = {}
    dataset = Dataset(url)
    dataset.check_whole()
    try:
        partitions = dataset.partitions
    except DataError:
        return known
    for partition in partitions:
        for row in partition.rows([f"{INDEX}.audio"]):
            known[row.id] = _digest(row.values[f"{INDEX}.audio"] or b"")
    return known


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _new_songs(songs: Iterable[NewSong], known: dict[str, bytes], result: IngestResult) -> Iterator[NewSong]:
    seen: set[str] = set()
    for song in songs:
        if not song.id:
            raise DataError("the source has a song with an empty id; give every song a name")
        if song.id in seen:
            raise DataError(f"the source has the id {song.id!r} twice; tell them apart (rename one, or use --prefix)")
        seen.add(song.id)
        if song.id not in known:
            yield song
        elif known[song.id] == _digest(song.audio):
            result.skipped += 1
        else:
            raise DataError(
                f"the id {song.id!r} is in the data set already with other audio; "
                "ingest it under another id (--prefix), or leave it out (--exclude)"
            )


def _partitions(songs: Iterable[NewSong], limit_bytes: int) -> Iterator[list[NewSong]]:
    batch: list[NewSong] = []
    size = hours = 0.0
    for song in songs:
        if batch and (size + len(song.audio) > limit_bytes or hours + song.duration_s / 3600 > PARTITION_HOURS):
            yield batch
            batch, size, hours = [], 0.0, 0.0
        batch.append(song)
        size += len(song.audio)
        hours += song.duration_s / 3600
    if batch:
        yield batch


def _write_index(store: Store, number: int, songs: Sequence[NewSong]) -> None:
    present = [c for c in INDEX_TEXT_COLUMNS if any(c in s.text for s in songs)]
    schema = index_schema(present)
    with store.creating(str(number), f"{INDEX}.parquet") as path:
        compression = {n: "none" if n == "audio" else "zstd" for n in schema.names}
        with pq.ParquetWriter(
            path,
            schema,
            compression=compression,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        ) as writer:
            for group in _row_groups(songs):
                rows = [{"id": s.id, "audio": s.audio, **{c: s.text.get(c) for c in present}} for s in group]
                writer.write_table(pa.Table.from_pylist(rows, schema))
            if all(s.duration_s for s in songs):
                writer.add_key_value_metadata({CLAIMED_S: f"{sum(s.duration_s for s in songs):.3f}"})


def _row_groups(songs: Sequence[NewSong]) -> Iterator[list[NewSong]]:
    group: list[NewSong] = []
    size = 0
    for song in songs:
        group.append(song)
        size += len(song.audio)
        if size >= ROW_GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _write_reference(store: Store, number: int, songs: Sequence[NewSong], columns: Sequence[Column]) -> None:
    with store.writing(str(number), f"{REFERENCE}.parquet") as path:
        writer = ColumnWriter(path, columns)
        for song in songs:
            writer.add(song.id, {c.name: c.canonical(song.reference.get(c.name)) for c in columns})
        definition = definition_of(REFERENCE, 1, {}, {}, {})
        record = Record(REFERENCE, "", 1, {}, {}, {}, definition, definition, {}, writer.digests(), writer.rows)
        writer.close(record)
