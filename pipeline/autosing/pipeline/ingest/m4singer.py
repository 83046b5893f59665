"""M4Singer: `meta.json` with the phones, notes and text of every phrase, and `<singer>#<song>/<nnnn>.wav`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autosing.pipeline.ingest.annotation import reference, seconds
from autosing.pipeline.ingest.files import LARGEST_TABLE_BYTES, read_text
from autosing.pipeline.ingest.mandarin import Phone, line_of, sung
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.source import Layout, Source
from autosing.signal.errors import DataError, RowError

META = "meta.json"
_PER_PHONE = ("phs", "ph_dur", "notes", "is_slur")


def _found(source: Source) -> bool:
    return (source.root / META).is_file() and any("#" in p.name and p.is_dir() for p in source.root.iterdir())


def _songs(source: Source) -> Iterator[NewSong]:
    used: list[Path] = []

    def song(numbered: tuple[int, Any]) -> NewSong | None:
        return _song(source, f"{META}, item {numbered[0]}", numbered[1], used)

    yield from source.taken(enumerate(_items(source.root / META), 1), song)
    source.tell_unused(used, f"not listed in {META}")


def _items(path: Path) -> list[Any]:
    try:
        items = json.loads(read_text(path, LARGEST_TABLE_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}; copy it again") from error
    if not isinstance(items, list):
        raise DataError(f"{path} holds no list of phrases; is it the meta.json of M4Singer?")
    return items


def _song(source: Source, where: str, item: Any, used: list[Path]) -> NewSong | None:
    name = str(item.get("item_name", "")) if isinstance(item, dict) else ""
    singer, *title, number = name.split("#") if name.count("#") >= 2 else ("", "", "")
    if not singer:
        raise RowError(f"{where}: expected an item_name of the form SINGER#SONG#NUMBER, found {name!r}")
    folder = f"{singer}#{'#'.join(title)}"
    path = source.named(f"{folder}/{number}.wav", f"{where} ({name})")
    used.append(path)
    if not source.wants(path):
        return None
    text = str(item.get("txt", ""))
    columns = {"singer": singer, "title": "#".join(title), "language": "zh", "raw_lyrics": text}
    its = sung(_phones(item, f"{where} ({name})"))
    try:
        lyrics = line_of(text, its.syllables)
    except RowError as error:
        source.problems.add(f"{where} ({name}): no ref_words: {error}")
        return source.song(path, columns, reference(None, its.phones, its.notes))
    return source.song(path, columns | {"lrc_lyrics": lyrics.lrc}, reference(lyrics, its.phones, its.notes))


def _phones(item: Mapping[str, Any], where: str) -> list[Phone]:
    lists = [item.get(key) for key in _PER_PHONE]
    sizes = [len(values) if isinstance(values, list) else -1 for values in lists]
    if len(set(sizes)) > 1 or sizes[0] < 0:
        raise RowError(f"{where}: expected lists of one length, found {dict(zip(_PER_PHONE, sizes, strict=True))}")
    phones = zip(*(values for values in lists if isinstance(values, list)), strict=True)
    return [Phone(str(p), seconds(d), seconds(n), seconds(s) != 0) for p, d, n, s in phones]


M4SINGER = Layout(_found, _songs)
