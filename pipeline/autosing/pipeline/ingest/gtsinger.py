"""GTSinger: `<language>/<singer>/<technique>/<song>/<take>/<nnnn>.wav` with `.json` beside; or a table of clips.

The table, `clips.tsv`, has the columns file, singer, language, song, take and lyrics. All takes of a song have its
title, so that none of them is on the other side of a split.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autosing.pipeline.ingest.annotation import (
    Lyrics,
    Note,
    Timed,
    TimedLine,
    joined,
    lyrics_of,
    reference,
    seconds,
)
from autosing.pipeline.ingest.files import LARGEST_TABLE_BYTES, first_line, read_text, table_rows
from autosing.pipeline.ingest.languages import language_tag
from autosing.pipeline.ingest.mandarin import UNSUNG
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.source import Layout, Source
from autosing.signal.errors import RowError
from autosing.signal.lyrics import split_words

CLIPS, GROUP, SPEECH = "clips.tsv", "_Group", "*Paired_Speech_Group*"
SPOKEN = "speech"
_COLUMNS = ("file", "singer", "language", "song", "lyrics")


def _found(source: Source) -> bool:
    clips = source.root / CLIPS
    if clips.is_file():
        return set(_COLUMNS) <= set(first_line(clips).strip().split("\t"))
    return source.is_most([p for p in source.audio if _is_take(p)])


def _is_take(path: Path) -> bool:
    return path.parent.name.endswith(GROUP) and path.with_suffix(".json").is_file()


def _songs(source: Source) -> Iterator[NewSong]:
    yield from _clips(source) if (source.root / CLIPS).is_file() else _takes(source)


def _takes(source: Source) -> Iterator[NewSong]:
    paths = [p for p in source.audio if p.parent.name.endswith(GROUP)]

    def song(path: Path) -> NewSong:
        # The source may be all of it, or the folder of a language or a singer. Links, as the Hub's cache has them, are
        # not followed: what they lead to has other names.
        title, _, singer, language, *_ = [folder.name for folder in Path(os.path.abspath(path)).parents[1:5]] + [""] * 4
        where = source.name(path.with_suffix(".json"))
        words = _json_words(path.with_suffix(".json"), where)
        text = {"singer": singer, "title": title, "language": language_tag(language)}
        try:
            lyrics, phones, notes = _annotation(words)
        except RowError as error:
            raise RowError(f"{where}: {error}") from error
        columns = text | {"lrc_lyrics": lyrics.lrc, "raw_lyrics": lyrics.raw}
        return source.song(path, columns, reference(lyrics, phones, notes))

    yield from source.taken(source.sung(paths, SPEECH), song)
    source.tell_unused(paths, f"in no folder <singer>/<technique>/<song>/<take>{GROUP}")


def _json_words(path: Path, where: str) -> list[Mapping[str, Any]]:
    if not path.is_file():
        raise RowError(f"{where} does not exist")
    try:
        words = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise RowError(f"{where} is no JSON: {error}") from error
    if not isinstance(words, list) or not all(isinstance(word, dict) for word in words):
        raise RowError(f"{where} holds no list of words")
    return words


def _annotation(words: Sequence[Mapping[str, Any]]) -> tuple[Lyrics, list[Timed], list[Note] | None]:
    """Returns lyrics, phones and notes of the words of a clip; recordings of speech have no notes."""
    parts = [Timed(str(w.get("word") or ""), seconds(w.get("start_time")), seconds(w.get("end_time"))) for w in words]
    sung = [part for part in parts if part.text.strip("<>") not in UNSUNG and split_words(part.text)]
    phones = [Timed(str(t).strip("<>"), s, e) for w in words for t, s, e in _intervals(w, "ph")]
    has_notes = any("note_start" in word for word in words)
    notes = [
        Note(str(w.get("word")), s, e, seconds(midi)) for w in words for midi, s, e in _intervals(w, "note") if midi
    ]
    lyrics = lyrics_of([TimedLine(joined(part.text for part in sung), sung)])
    return lyrics, phones, notes if has_notes else None


def _intervals(word: Mapping[str, Any], key: str) -> Iterator[tuple[Any, float, float]]:
    lists = [word.get(name) or [] for name in (key, f"{key}_start", f"{key}_end")]
    if not all(isinstance(values, list) for values in lists) or len({len(values) for values in lists}) > 1:
        raise RowError(f"the word {word.get('word')!r} has not as many {key}, {key}_start and {key}_end")
    for value, start, end in zip(*lists, strict=True):
        yield value, seconds(start), seconds(end)


def _clips(source: Source) -> Iterator[NewSong]:
    table = read_text(source.root / CLIPS, LARGEST_TABLE_BYTES)
    rows = list(enumerate(table_rows(table, CLIPS, "\t"), 2))
    used: list[Path] = []

    def song(row: tuple[int, dict[str, str]]) -> NewSong | None:
        number, fields = row
        if missing := [name for name in _COLUMNS if name not in fields]:
            raise RowError(f"{CLIPS}:{number}: the columns {', '.join(missing)} are missing")
        path = source.named(fields["file"], f"{CLIPS}:{number}")
        used.append(path)
        if not source.wants(path) or path in spoken:
            return None
        text = {"singer": fields["singer"], "title": fields["song"], "raw_lyrics": fields["lyrics"]}
        return source.song(path, text | {"language": language_tag(fields["language"])})

    read = [source.root / (fields.get("file") or "") for _, fields in rows if fields.get("take") == SPOKEN]
    spoken = set(read) - set(source.sung(read, f"*{SPOKEN}*"))
    yield from source.taken(rows, song)
    source.tell_unused(used, f"not listed in {CLIPS}")


GTSINGER = Layout(_found, _songs)
