"""Tables that hold songs: an AutoSing-style tree, audio bytes in a column, or a Hugging Face audio set.

Hugging Face sets are Parquet files, or the Arrow files of `save_to_disk`; the names of their class labels stand in the
schema.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from autosing.pipeline.columnfile import open_parquet, told_damage
from autosing.pipeline.dataset import INDEX_TEXT_COLUMNS
from autosing.pipeline.ingest.files import header_seconds, named_file, path_text
from autosing.pipeline.ingest.languages import language_tag
from autosing.pipeline.ingest.partitions import NewSong, Problems
from autosing.pipeline.store import Store
from autosing.signal.errors import RowError, SchemaMismatch, UsageError

MEANINGS = {
    "lrc_lyrics": ("lrc_lyrics",),
    "raw_lyrics": ("raw_lyrics", "lyrics", "text", "sentence", "transcription", "transcript"),
    "singer": ("singer", "speaker_id", "speaker", "client_id"),
    "title": ("title", "song"),
    "language": ("language", "lang", "locale"),
    **{c: (c,) for c in INDEX_TEXT_COLUMNS if c in ("artist", "split")},
}
"""Index column -> names under which other layouts have it, best first."""
_ROWS = 4  # Few songs at once: one can have many megabytes.


@dataclass(frozen=True)
class TableSource:
    """Songs in Parquet or Arrow files; where no column names them, by file (its path, where stems clash) and row.

    Args:
        root: such a file or a folder of them at any depth (`<n>/index.parquet` only, where there are such).
        prefix: put before every id.
        artist: artist of every song that names none.
        audio_root: a further folder in which files that a table names in place of their bytes may lie.
        problems: what was not taken, and why.
    """

    root: Path
    prefix: str = ""
    artist: str | None = None
    audio_root: Path | None = None
    problems: Problems = field(default_factory=Problems)

    def paths(self) -> list[Path]:
        """Returns the files, partitions by their number."""
        if self.root.is_file():
            return [self.root]
        indexes = [p for p in self.root.glob("*/index.parquet") if p.parent.name.isdecimal()]
        if indexes:
            return sorted(indexes, key=lambda p: int(p.parent.name))
        return sorted(self.root.rglob("*.parquet")) or sorted(self.root.rglob("*.arrow"))

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
        stems = Counter(path.stem for path in paths)
        for path in paths:
            is_alone = stems[path.stem] == 1
            name = path.stem if is_alone else path_text(path.relative_to(self.root).with_suffix(""))
            yield from self._songs_of(path, name)

    def _songs_of(self, path: Path, name: str) -> Iterator[NewSong]:
        with _open(path) as (schema, batches), told_damage(str(path)):
            names = _columns(schema, path)
            labels = _labels(schema)
            row_number = 0
            for batch in batches(sorted(set(names.values()))):
                for row in batch.to_pylist():
                    for column, classes in labels.items():
                        row[column] = classes[row[column]] if row.get(column) in range(len(classes)) else None
                    yield self._song(row, names, path, f"{name}/{row_number}", row_number)
                    row_number += 1

    def _song(
        self, row: dict[str, Any], names: dict[str, str], path: Path, default_id: str, row_number: int
    ) -> NewSong:
        audio = row[names["audio"]]
        inner = audio.get("path") if isinstance(audio, dict) else None
        data = audio.get("bytes") if isinstance(audio, dict) else audio
        id = row[names["id"]] if "id" in names else inner or default_id
        name = "" if id is None else f"{self.prefix}{id}"
        if not data:
            data = self._named_bytes(inner, path, row_number)
        text = {c: row[n] for c, n in names.items() if c not in ("id", "audio")}
        if self.artist and not text.get("artist"):
            text["artist"] = self.artist
        plain = {c: None if v is None else str(v) for c, v in text.items()}
        if "language" in plain:
            plain["language"] = language_tag(plain["language"])
        return NewSong(name, data, plain, duration_s=header_seconds(data))

    def _named_bytes(self, name: str | None, table: Path, row_number: int) -> bytes:
        """Returns the bytes of the file that a row names in their place; none, and a problem, where there is none."""
        root = self.root if self.root.is_dir() else self.root.parent
        roots = [root, *([self.audio_root] if self.audio_root else [])]
        where = f"{table.name}, row {row_number}, has no audio bytes and"
        try:
            return named_file(name or "", [table.parent, *roots], roots, where).read_bytes()
        except (RowError, OSError) as error:
            self.problems.add(f"{error}; it is taken without sound")
            return b""


Batches = Callable[[Sequence[str]], Iterator[pa.RecordBatch]]


@contextmanager
def _open(path: Path) -> Iterator[tuple[pa.Schema, Batches]]:
    """Opens a table; yields its schema and a function that yields a few rows of given columns at a time."""
    if path.suffix != ".arrow":
        with open_parquet(Store(str(path.parent)), path.name) as file:
            yield file.schema_arrow, lambda columns: file.iter_batches(_ROWS, columns=columns, use_threads=False)
        return
    with told_damage(str(path)), pa.memory_map(str(path)) as stored:
        reader = pa.ipc.open_stream(stored)

        def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
            for batch in reader:
                chosen = batch.select(columns)
                yield from (chosen.slice(start, _ROWS) for start in range(0, chosen.num_rows, _ROWS))

        yield reader.schema, batches


def _labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Returns the names of the classes of each column of class labels, from what `datasets` wrote into the schema."""
    raw = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(raw)["info"]["features"] if raw else {}
    except (ValueError, KeyError, TypeError):
        return {}
    described = features.items() if isinstance(features, Mapping) else ()
    names = {column: its.get("names") for column, its in described if isinstance(its, Mapping)}
    return {c: n for c, n in names.items() if c in schema.names and isinstance(n, list)}


def _columns(schema: pa.Schema, path: Path) -> dict[str, str]:
    """Returns which column of the file is which column of the index."""
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
