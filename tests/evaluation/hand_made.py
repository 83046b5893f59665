"""Small data sets whose truth and columns are written by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from autosing.pipeline.columnfile import ColumnWriter
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.record import Record
from autosing.pipeline.schema import LINES, WORDS, Column
from autosing.pipeline.store import Store
from autosing.signal.errors import RowError

REF_WORDS = Column("ref_words", WORDS, nullable=True)
ALIGN = (
    Column("words", WORDS, nullable=True),
    Column("lines", pa.list_(pa.struct([*LINES.value_type, pa.field("confidence", pa.float32())])), nullable=True),
    Column("derailed", pa.bool_(), nullable=True),
)
PROBE = (Column("duration_s", pa.float64()),)

Values = Mapping[str, Any] | RowError


@dataclass(frozen=True)
class Made:
    """A data set that grows: songs first, then instances."""

    url: str

    @property
    def dataset(self) -> Dataset:
        return Dataset(self.url)

    def songs(self, truths: Mapping[str, Mapping[str, Any]], columns: Sequence[Column], lrc: str | None = None) -> None:
        """Appends a partition of songs with their truth by column."""
        text = {} if lrc is None else {"lrc_lyrics": lrc}
        append_songs(self.url, [NewSong(id, id.encode(), text, dict(t)) for id, t in truths.items()], columns)

    def instance(
        self,
        name: str,
        columns: Sequence[Column],
        rows: Mapping[str, Values],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes an instance in the partitions that have the songs of `rows`; its stage is the name up to a dot."""
        for partition in self.dataset.partitions:
            ids = partition.ids()
            if not {*ids} & {*rows}:
                continue
            with Store(self.url).writing(partition.folder, f"{name}.parquet") as path:
                writer = ColumnWriter(path, columns)
                for id in ids:
                    writer.add(id, _canonical(columns, rows[id]))
                told = dict(settings or {})
                stage = name.split(".")[0]
                writer.close(Record(name, stage, 1, told, {}, {}, name, name, {}, writer.digests(), writer.rows))


def _canonical(columns: Sequence[Column], row: Values) -> Values:
    return row if isinstance(row, RowError) else {c.name: c.canonical(row.get(c.name)) for c in columns}


def words(text: str, shift_s: float = 0.0, gap_s: float = 0.0) -> list[dict[str, Any]]:
    """Returns the words of lines (parted by `/`), one a second from 1 s on, with gaps between lines, then moved."""
    lines = [line.split() for line in text.split("/")]
    flat = [(word, line) for line, members in enumerate(lines) for word in members]
    starts_s = [1 + i + line * gap_s + shift_s for i, (_, line) in enumerate(flat)]
    return [
        {"text": word, "start_s": start_s, "end_s": start_s + 0.8, "line": line}
        for start_s, (word, line) in zip(starts_s, flat, strict=True)
    ]
