"""LJSpeech, and what was made in its image: `metadata.csv` of `id|text|normalised text`, and `wavs/<id>.wav`."""

import re
from collections.abc import Iterator
from pathlib import Path

from autosing.pipeline.ingest.files import LARGEST_TABLE_BYTES, audio_of_stem, first_line, read_text, rows_of
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.source import Layout, Source
from autosing.signal.errors import RowError

METADATA, WAVS = "metadata.csv", "wavs"
_LJ = re.compile(r"LJ\d{3}-\d{4}")
Row = tuple[int, str]


def _found(source: Source) -> bool:
    metadata = source.root / METADATA
    if not metadata.is_file():
        return False
    return 1 <= first_line(metadata, 1 << 16).count("|") <= 2


def _songs(source: Source) -> Iterator[NewSong]:
    used: list[Path] = []

    def song(row: Row) -> NewSong | None:
        return _song(source, row, used)

    rows = enumerate(rows_of(read_text(source.root / METADATA, LARGEST_TABLE_BYTES)), 1)
    yield from source.taken(((n, r) for n, r in rows if r.strip()), song)
    source.tell_unused(used, f"not listed in {METADATA}, or further codings of what is")


def _song(source: Source, row: Row, used: list[Path]) -> NewSong | None:
    number, text = row
    fields = text.split("|")  # There are quotes in the text, and none around it.
    if not 2 <= len(fields) <= 3:
        raise RowError(f"{METADATA}:{number}: expected ID|TEXT or ID|TEXT|NORMALISED TEXT, found {text[:60]!r}")
    stem = fields[0].strip().removesuffix(".wav")
    path = audio_of_stem(source.root / WAVS, stem) or audio_of_stem(source.root, stem)
    if path is None:
        raise RowError(f"{METADATA}:{number}: there is no sound of {stem!r} ({WAVS}/{stem}.wav)")
    used.append(path)
    if not source.wants(path):
        return None
    is_lj = _LJ.fullmatch(stem) is not None
    columns = {"raw_lyrics": fields[-1].strip() or fields[1].strip()}
    return source.song(path, columns | ({"singer": "LJ", "language": "en"} if is_lj else {}))


LJSPEECH = Layout(_found, _songs)
