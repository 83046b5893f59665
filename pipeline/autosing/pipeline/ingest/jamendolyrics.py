"""JamendoLyrics: the repository (`JamendoLyrics.csv`, `mp3/`, `annotations/`, `lyrics/`), or a folder for each song.

In `words.csv` a row with a `line_end` is the last of its line. The repository keeps the words themselves in
`lyrics/<song>.words.txt`; a song's folder (`meta.json`, `audio.mp3`, `words.csv`, `lines.csv`) in `words.csv`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from autosing.pipeline.ingest.annotation import Timed, TimedLine, lyrics_of, reference, seconds, stamped
from autosing.pipeline.ingest.files import audio_of_stem, read_text, table_rows
from autosing.pipeline.ingest.languages import language_tag
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.source import Layout, Source
from autosing.signal.errors import RowError

CATALOGUE = "JamendoLyrics.csv"
_NO_LINE_END = "nan"
_BESIDE = ("meta.json", "words.csv", "lines.csv")


class Files(NamedTuple):
    """Where one song's parts are; `texts` is None where the words stand in `words`."""

    audio: Path | None
    words: Path
    lines: Path
    texts: Path | None
    about: Mapping[str, str]
    name: str


def _found(source: Source) -> bool:
    if (source.root / CATALOGUE).is_file():
        return True
    folders = [p for p in source.root.iterdir() if p.is_dir()]
    return 2 * sum(_is_song(folder) for folder in folders) > len(folders)


def _is_song(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _BESIDE)


def _songs(source: Source) -> Iterator[NewSong]:
    used: list[Path] = []

    def song(files: Files) -> NewSong | None:
        return _song(source, files, used)

    has_catalogue = (source.root / CATALOGUE).is_file()
    yield from source.taken(_catalogued(source) if has_catalogue else _folders(source), song)
    source.tell_unused(used, f"not listed in {CATALOGUE}" if has_catalogue else "in no folder with meta.json")


def _catalogued(source: Source) -> Iterator[Files]:
    notes, lyrics = source.root / "annotations", source.root / "lyrics"
    for row in _rows(source.root / CATALOGUE):
        file = row.get("Filepath") or ""
        stem = file.removesuffix(".mp3")
        folders = [source.root / "mp3", *sorted(source.root.glob("subsets/*/mp3"))]
        audio = next((p for folder in folders if (p := audio_of_stem(folder, stem))), None)
        texts = lyrics / f"{stem}.words.txt"
        yield Files(audio, notes / "words" / f"{stem}.csv", notes / "lines" / f"{stem}.csv", texts, row, file)


def _folders(source: Source) -> Iterator[Files]:
    for folder in sorted(filter(_is_song, source.root.iterdir())):
        try:
            about = json.loads(read_text(folder / "meta.json"))
        except ValueError as error:
            source.problems.add(f"{folder.name}/meta.json is no JSON: {error}")
            continue
        plain = {str(k): str(v) for k, v in about.items()} if isinstance(about, dict) else {}
        audio = audio_of_stem(folder, "audio")
        yield Files(audio, folder / "words.csv", folder / "lines.csv", None, plain, f"{folder.name}/audio.mp3")


def _song(source: Source, files: Files, used: list[Path]) -> NewSong | None:
    if files.audio is None:
        raise RowError(f"{files.name} does not exist")
    used.append(files.audio)
    if not source.wants(files.audio):
        return None
    about = files.about
    text = {"artist": about.get("Artist"), "title": about.get("Title"), "language": language_tag(about.get("Language"))}
    lines = _lines(files)
    try:
        lyrics = lyrics_of(_with_words(lines, files))
    except RowError as error:
        source.problems.add(f"{files.name}: no ref_words: {error}")
        raw = "\n".join(line.text for line in lines)
        return source.song(files.audio, text | {"lrc_lyrics": stamped(lines), "raw_lyrics": raw})
    columns = text | {"lrc_lyrics": lyrics.lrc, "raw_lyrics": lyrics.raw}
    return source.song(files.audio, columns, reference(lyrics))


def _lines(files: Files) -> list[TimedLine]:
    try:
        rows = _rows(files.lines)
        return [TimedLine(row.get("lyrics_line") or "", (), seconds(row.get("start_time"))) for row in rows]
    except RowError as error:
        raise RowError(f"{files.name}: {error}") from error


def _with_words(lines: Sequence[TimedLine], files: Files) -> list[TimedLine]:
    """Returns the lines with their words."""
    rows = _rows(files.words)
    texts = [row.get("word") or "" for row in rows] if files.texts is None else _existing(files.texts).split()
    if len(texts) != len(rows):
        raise RowError(f"there are {len(texts)} words, and times of {len(rows)}")
    words: list[list[Timed]] = [[]]
    for row, word in zip(rows, texts, strict=True):
        words[-1].append(Timed(word, seconds(row.get("word_start")), seconds(row.get("word_end"))))
        if (row.get("line_end") or _NO_LINE_END) != _NO_LINE_END:
            words.append([])
    words = [line for line in words if line]
    if len(words) != len(lines):
        raise RowError(f"there are {len(lines)} lines, and words of {len(words)}")
    return [line._replace(parts=its) for line, its in zip(lines, words, strict=True)]


def _rows(path: Path) -> Sequence[dict[str, str]]:
    return table_rows(_existing(path), path.name)


def _existing(path: Path) -> str:
    if not path.is_file():
        raise RowError(f"{path.name} does not exist")
    return read_text(path)


JAMENDOLYRICS = Layout(_found, _songs)
