"""JSON lines: one sound file, or a part of one, per line, as NeMo writes manifests and Hugging Face `metadata.jsonl`.

The same as a table is `metadata.csv`. A part without a title has its recording's name for one, so that parts of one
recording are on one side of a split.

`{"audio_filepath": "a.wav", "offset": 1.5, "duration": 3.2, "text": "...", "speaker": "...", "lang": "en", ...}`
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autosing.pipeline.ingest.annotation import Lyrics, Note, Timed, TimedLine, lyrics_of, reference, seconds
from autosing.pipeline.ingest.languages import language_tag
from autosing.pipeline.ingest.manifest import Row, first_row, grouped, manifests, sound_of
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.parts import Recordings, is_whole
from autosing.pipeline.ingest.source import Layout, Source
from autosing.signal.errors import RowError
from autosing.signal.lyrics import parse_lrc

AUDIO = ("audio_filepath", "file_name", "audio_path", "audio", "wav", "path")
MEANINGS = {
    "raw_lyrics": ("raw_lyrics", "text", "transcript", "transcription", "sentence"),
    "lrc_lyrics": ("lrc_lyrics",),
    "singer": ("singer", "speaker", "speaker_id", "spk"),
    "artist": ("artist",),
    "title": ("title", "song"),
    "language": ("language", "lang", "language_id"),
    "split": ("split",),
}
"""Index column -> the keys under which manifests have it, best first."""
IDS = ("id", "utt_id", "utterance_id", "key")


def _audio_key(values: Mapping[str, Any]) -> str | None:
    return next((key for key in AUDIO if isinstance(values.get(key), str)), None)


def _found(source: Source) -> bool:
    return any(_audio_key(first_row(path)) for path in manifests(source))


def _songs(source: Source) -> Iterator[NewSong]:
    used: list[Path] = []
    for path in manifests(source):
        key = _audio_key(first_row(path))
        if key is None:
            told = f"{source.name(path)} has no sound in its first line ({', '.join(AUDIO)}); it is left out"
            source.problems.add(told)
            continue
        reader = _Reader(source, path, key, used)
        yield from source.taken(grouped(source, path, reader.names_of), reader.song)
    source.tell_unused(used, "named by no manifest")


class _Reader:
    """Makes songs of the rows of one manifest."""

    def __init__(self, source: Source, manifest: Path, audio_key: str, used: list[Path]) -> None:
        self._source, self._manifest, self._audio_key, self._used = source, manifest, audio_key, used
        self._recordings = Recordings()

    def names_of(self, values: Mapping[str, Any]) -> list[str]:
        """Returns the one sound that a row names."""
        name = values.get(self._audio_key)
        if not isinstance(name, str) or not name:
            raise RowError(f"{self._audio_key!r} is missing")
        return [name]

    def song(self, row: Row) -> NewSong | None:
        """Returns the song of a row; None of one that the globs leave out."""
        (name,) = self.names_of(row.values)
        path = sound_of(self._source, name, row.where, self._manifest)
        self._used.append(path)
        if not self._source.wants(path):
            return None
        try:
            return self._made(row.values, path)
        except RowError as error:
            raise RowError(f"{row.where}: {error}") from error

    def _made(self, values: Mapping[str, Any], path: Path) -> NewSong:
        text, known = _text(values), _annotation(values)
        lyrics = known.pop("lyrics", None)
        if lyrics is not None:
            text |= {"lrc_lyrics": lyrics.lrc, "raw_lyrics": lyrics.raw}
        truth = reference(lyrics, **known)
        start_s, end_s = _interval(values)
        id = next((str(values[key]) for key in IDS if values.get(key) not in (None, "")), "")
        if start_s == 0 and (end_s is None or is_whole(path, end_s)):
            return self._source.song(path, text, truth, id)
        data, duration_s = self._recordings.part(path, start_s, end_s)
        end = "end" if end_s is None else f"{end_s:.3f}"
        name = self._source.name(path)
        titled = {"title": name} | text
        return self._source.song_of(data, titled, truth, id or f"{name}#{start_s:.3f}-{end}", duration_s)


def _interval(values: Mapping[str, Any]) -> tuple[float, float | None]:
    """Returns where a row's part begins and ends; None: with the file."""
    start_s = seconds(values.get("offset") or 0)
    duration = values.get("duration")
    if start_s < 0 or (duration is not None and seconds(duration) <= 0):
        raise RowError(
            f"its offset is {start_s:g} s and its duration {duration} s; expected 0 or more, and more than 0"
        )
    return start_s, None if duration is None else start_s + seconds(duration)


def _text(values: Mapping[str, Any]) -> dict[str, str | None]:
    given = {key: value for key, value in values.items() if value not in (None, "")}
    found = {column: next((given[k] for k in keys if k in given), None) for column, keys in MEANINGS.items()}
    # Tables with gaps have numbers of singers as 3.0.
    whole = {c: int(v) if isinstance(v, float) and v.is_integer() else v for c, v in found.items()}
    text = {column: str(value) for column, value in whole.items() if isinstance(value, str | int)}
    lyrics = values.get("lyrics")
    if isinstance(lyrics, str) and lyrics.strip():
        text["lrc_lyrics" if parse_lrc(lyrics).lines else "raw_lyrics"] = lyrics
    return text | {"language": language_tag(text.get("language"))}


def _annotation(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns lyrics, phones and notes of the lists `words`, `phones` and `notes`, where a row has such.

    Their items have `start`, `end` and `text` (or `start_s`, `end_s`, `word`, `phone`), notes a `midi`, and the last
    word of a line `line_end: true`.
    """
    known: dict[str, Any] = {}
    if words := _items(values, "words"):
        known["lyrics"] = _lyrics(words)
    if phones := _items(values, "phones"):
        known["phones"] = [_timed(item) for item in phones]
    if notes := _items(values, "notes"):
        known["notes"] = [Note(*_timed(item), seconds(item.get("midi", item.get("pitch")))) for item in notes]
    return known


def _items(values: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = values.get(key)
    if not isinstance(items, list) or not items:
        return []
    if not all(isinstance(item, dict) for item in items):
        raise RowError(f"{key!r} is no list of objects with start, end and text")
    return items


def _timed(item: Mapping[str, Any]) -> Timed:
    text = next((str(item[k]) for k in ("text", "word", "phone", "symbol") if item.get(k) is not None), "")
    return Timed(text, seconds(item.get("start", item.get("start_s"))), seconds(item.get("end", item.get("end_s"))))


def _lyrics(words: Sequence[Mapping[str, Any]]) -> Lyrics:
    lines: list[list[Timed]] = [[]]
    for item in words:
        lines[-1].append(_timed(item))
        if item.get("line_end") is True:
            lines.append([])
    return lyrics_of(TimedLine(" ".join(word.text for word in line), line) for line in lines if line)


JSONL = Layout(_found, _songs)
