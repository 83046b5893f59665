"""Parquet files that hold songs: an AutoSing-style tree, audio bytes in a column, or a Hugging Face audio set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autosing.pipeline.columnfile import open_parquet, told_damage
from autosing.pipeline.dataset import INDEX_TEXT_COLUMNS
from autosing.pipeline.ingest.folder import header_seconds
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.store import Store
from autosing.signal.errors import SchemaMismatch, UsageError

MEANINGS = {
    "lrc_lyrics": ("lrc_lyrics",),
    "raw_lyrics": ("raw_lyrics", "lyrics", "text", "sentence", "transcription", "transcript"),
    "singer": ("singer", "speaker_id", "speaker", "client_id"),
    **{c: (c,) for c in INDEX_TEXT_COLUMNS if c not in ("lrc_lyrics", "raw_lyrics", "singer")},
}
"""Index column -> names under which other layouts have it, best first."""


@dataclass(frozen=True)
class TableSource:
    """Songs in Parquet files.

    Args:
        root: a `.parquet` file or a folder of them at any depth (`<n>/index.parquet` only, where there are such).
        prefix: put before every id.
        artist: artist of every song that names none.
    """

    root: Path
    prefix: str = ""
    artist: str | None = None

    def paths(self) -> list[Path]:
        """Returns the files, partitions by their number."""
        if self.root.is_file():
            return [self.root]
        indexes = [p for p in self.root.glob("*/index.parquet") if p.parent.name.isdecimal()]
        if indexes:
            return sorted(indexes, key=lambda p: int(p.parent.name))
        return sorted(self.root.rglob("*.parquet"))

    def songs(self) -> Iterator[NewSong]:
        """Yields the songs with flat memory, whatever the size of the row groups.

        Raises:
            UsageError: there is no Parquet file.
            DataError: a file is damaged.
        SchemaMismatch: a file has no audio bytes.
        """
        paths = self.paths()
        if not paths:
            raise UsageError(f"{self.root} holds no Parquet files")
        for path in paths:
            yield from self._songs_of(path)

    def _songs_of(self, path: Path) -> Iterator[NewSong]:
        with open_parquet(Store(str(path.parent)), path.name) as file, told_damage(str(path)):
            names = _columns(file, path)
            row_number = 0
            for batch in file.iter_batches(4, columns=sorted(set(names.values())), use_threads=False):
                for row in batch.to_pylist():
                    yield self._song(row, names, path, row_number)
                    row_number += 1

    def _song(self, row: dict[str, Any], names: dict[str, str], path: Path, row_number: int) -> NewSong:
        audio = row[names["audio"]]
        inner = audio.get("path") if isinstance(audio, dict) else None
        data = audio.get("bytes") if isinstance(audio, dict) else audio
        id = row[names["id"]] if "id" in names else inner or f"{path.stem}/{row_number}"
        name = "" if id is None else f"{self.prefix}{id}"
        text = {c: row[n] for c, n in names.items() if c not in ("id", "audio")}
        if self.artist and not text.get("artist"):
            text["artist"] = self.artist
        plain = {c: None if v is None else str(v) for c, v in text.items()}
        return NewSong(name, data or b"", plain, duration_s=header_seconds(data or b""))


def _columns(file: pq.ParquetFile, path: Path) -> dict[str, str]:
    """Returns which column of the file is which column of the index."""
    schema = file.schema_arrow
    audio = next((n for n in ("audio", "bytes", "flac", "wav", "mp3") if n in schema.names), None)
    if audio is None or not _is_audio(schema.field(audio).type):
        raise SchemaMismatch(
            f"{path}: no column of audio bytes; expected 'audio' as binary or as a struct of bytes and path, "
            f"found {', '.join(f'{f.name}: {f.type}' for f in schema) or 'no columns'}"
        )
    found = {"audio": audio} | _first_present(MEANINGS, schema.names)
    return found | ({"id": "id"} if "id" in schema.names else {})


def _is_audio(dtype: pa.DataType) -> bool:
    if pa.types.is_struct(dtype):
        return any(f.name == "bytes" for f in dtype)
    return bool(pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype))


def _first_present(meanings: dict[str, tuple[str, ...]], names: Sequence[str]) -> dict[str, str]:
    first = {column: next((n for n in candidates if n in names), None) for column, candidates in meanings.items()}
    return {column: name for column, name in first.items() if name is not None}
