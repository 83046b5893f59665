"""Reads the songs of several partitions, and then each of their columns, in one order with flat memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from autosing.pipeline.columnfile import RowReader, batch_rows, batches, open_parquet, told_damage
from autosing.pipeline.dataset import INDEX, PROBE
from autosing.pipeline.upkeep.survey import Source, Sources


@dataclass(frozen=True)
class Position:
    """A song among those of all sources: the number of its source in their order, and its row there."""

    source: int = 0
    row: int = 0


@dataclass(frozen=True)
class Passing:
    """A song on its way.

    Args:
        position: where it comes from.
        source: the same.
        row: its row of the index.
        id: its id.
        bytes: size of its audio.
        seconds: how long it is; None where nobody knows.
        is_unreadable: whether `probe` has an error for it.
    """

    position: Position
    source: Source
    row: pa.RecordBatch
    id: str
    bytes: int
    seconds: float | None
    is_unreadable: bool


@dataclass
class Segment:
    """Rows of one source that go into one partition."""

    source: Source
    first: int
    rows: int = 0


def songs(sources: Sources, start: Position) -> Iterator[Passing]:
    """Yields the songs of all sources from a position on; each index is read once, a few MB at a time."""
    for number in range(start.source, len(sources)):
        source, first = sources[number], start.row if number == start.source else 0
        rows = zip(_index_rows(source, first), _lengths(source, first), strict=True)
        for n, (row, length) in enumerate(rows, first):
            audio = row.column("audio")[0]
            n_bytes = len(audio.as_buffer()) if audio.is_valid else 0
            yield Passing(Position(number, n), source, row, row.column("id")[0].as_py(), n_bytes, *length)


def _index_rows(source: Source, first: int) -> Iterator[pa.RecordBatch]:
    store, folder, names = source.partition.store, source.partition.folder, source.schema.names
    with open_parquet(store, folder, f"{INDEX}.parquet") as file, told_damage(store.path(folder, f"{INDEX}.parquet")):
        for batch in batches(file, batch_rows(file, names), names, first):
            plain = batch.replace_schema_metadata(None)
            yield from (plain.slice(i, 1) for i in range(plain.num_rows))


def _lengths(source: Source, first: int) -> Iterator[tuple[float | None, bool]]:
    """Yields of each song from a row on its length, and whether `probe` could not read it."""
    share_s = None if source.claimed_s is None else source.claimed_s / max(source.n_rows, 1)
    if PROBE not in source.records:
        yield from ((share_s, False) for _ in range(first, source.n_rows))
        return
    for row in column_rows([Segment(source, first, source.n_rows - first)], PROBE, ["duration_s"]):
        unreadable = row["error"] is not None
        yield (share_s if unreadable else row["duration_s"]), unreadable


def column_rows(segments: Sequence[Segment], instance: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields `id`, columns and `error` of the rows of all segments."""
    for segment in segments:
        partition = segment.source.partition
        reader = RowReader(partition.store, partition.folder, instance, [*columns, "error"])
        try:
            yield from islice(reader.since(segment.first), segment.rows)
        finally:
            reader.close()
