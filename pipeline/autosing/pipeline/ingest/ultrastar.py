"""UltraStar songs: a `.txt` with syllables, beats and pitches, and the sound that it names.

Beat b is at GAP ms + b * 15 / BPM s; pitch 0 is C4. `: * F R G` begin notes (plain, golden, freestyle, rap, golden
rap), `-` ends a line, `P1`, `P2` change the voice, `E` ends the song. See https://usdx.eu/format.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from autosing.pipeline.ingest.annotation import Lyrics, Note, Timed, TimedLine, lyrics_of, reference
from autosing.pipeline.ingest.files import (
    LARGEST_LYRICS_BYTES,
    OutsideError,
    audio_of_stem,
    beginning_of,
    decode_text,
    rows_of,
)
from autosing.pipeline.ingest.languages import language_tag
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.source import Layout, Source
from autosing.signal.errors import RowError
from autosing.signal.lyrics import split_words

SOUND = ("AUDIO", "MP3")
SINGABLE, UNPITCHED = ":*", "FRG"
_HEADER = re.compile(r"#\s*([^:]+?)\s*:\s*(.*?)\s*")
_NOTE = re.compile(rf"([{SINGABLE}{UNPITCHED}])\s+(-?\d{{1,9}})\s+(\d{{1,9}})\s+(-?\d{{1,4}})(?:[ \t](.*))?")
_LINE_END = re.compile(r"-\s*(-?\d{1,9})(?:\s+(-?\d{1,9}))?\s*")
_VOICE = re.compile(r"P\s*(\d)\s*")
_ENCODINGS = {"utf-8", "utf8", "cp1252", "cp1250", "cp1251", "iso-8859-1", "latin1"}
_MIDI_OF_0 = 60
_SAME_S = 0.001


class Sung(NamedTuple):
    """What a song file says: its headers in upper case, lines in order of time, and notes with a pitch."""

    headers: Mapping[str, str]
    lines: list[TimedLine]
    notes: list[Note]


def _found(source: Source) -> bool:
    folders = {p.parent for p in source.audio}
    described = {p.parent for p in source.files if p.suffix.lower() == ".txt" and _is_song(p)}
    return bool(described) and 2 * len(folders & described) >= len(folders)


def _is_song(path: Path) -> bool:
    rows = rows_of(beginning_of(path))
    headers = {row.split(":")[0].lstrip("# ").rstrip().upper() for row in rows if row.startswith("#")}
    return "BPM" in headers and bool(headers & set(SOUND))


def _songs(source: Source) -> Iterator[NewSong]:
    used: dict[Path, str] = {}

    def song(path: Path) -> NewSong | None:
        return _song(source, path, used)

    yield from source.taken((p for p in source.files if p.suffix.lower() == ".txt" and _is_song(p)), song)
    source.tell_unused(used, "named by no song file")


def _song(source: Source, path: Path, used: dict[Path, str]) -> NewSong | None:
    where = source.name(path)
    sung = read_song(_read(path, where), where)
    name = next((sung.headers[key] for key in SOUND if sung.headers.get(key)), "")
    audio = _audio(source, path, name, where)
    if audio in used:
        raise RowError(f"{where} names {source.name(audio)}, which {used[audio]} has taken already")
    used[audio] = where
    if not source.wants(audio):
        return None
    try:
        lyrics = lyrics_of(sung.lines)
    except RowError as error:
        raise RowError(f"{where}: {error}") from error
    return source.song(audio, _columns(sung.headers, lyrics), reference(lyrics, None, sung.notes))


def _audio(source: Source, path: Path, name: str, where: str) -> Path:
    """Returns the sound that a song names; one of that name in another coding is taken as well."""
    recoded = audio_of_stem(path.parent, name.rpartition(".")[0])
    try:
        return source.named(name, where, path.parent)
    except OutsideError:
        raise
    except RowError:
        if recoded is None:
            raise
        return recoded


def _columns(headers: Mapping[str, str], lyrics: Lyrics) -> dict[str, str | None]:
    return {
        "artist": headers.get("ARTIST"),
        "title": headers.get("TITLE"),
        "language": language_tag(headers.get("LANGUAGE")),
        "lrc_lyrics": lyrics.lrc,
        "raw_lyrics": lyrics.raw,
    }


def _read(path: Path, where: str) -> str:
    """Returns the text of a song file in the encoding that it declares, or else looks like."""
    if path.stat().st_size > LARGEST_LYRICS_BYTES:
        raise RowError(f"{where} has {path.stat().st_size} bytes; a song has at most {LARGEST_LYRICS_BYTES}")
    raw = path.read_bytes()
    declared = re.search(rb"#\s*ENCODING\s*:\s*([\w-]+)", raw, re.IGNORECASE)
    name = declared[1].decode().lower() if declared else ""
    return decode_text(raw, [name, "utf-8-sig"] if name in _ENCODINGS - {"utf-8", "utf8"} else ("utf-8-sig", "cp1252"))


def read_song(text: str, where: str) -> Sung:
    """Returns what the text of a song file says.

    Raises:
        RowError: a line is not of the format, or the tempo is missing; the message names file and line.
    """
    headers: dict[str, str] = {}
    reader = None
    for number, row in enumerate(rows_of(text.lstrip("\ufeff")), 1):
        if row.startswith("#"):
            if header := _HEADER.fullmatch(row):
                headers[header[1].upper()] = header[2]
        elif row.strip() == "E":
            break
        elif row.strip():
            reader = reader or _Reader(headers, where)
            reader.read(row, f"{where}:{number}")
    if reader is None:
        raise RowError(f"{where} has no notes")
    return Sung(headers, reader.lines(), sorted(reader.notes, key=lambda note: note.start_s))


class _Reader:
    """Reads the notes of a song, voice by voice."""

    def __init__(self, headers: Mapping[str, str], where: str) -> None:
        self.notes: list[Note] = []
        self._beat_s = 15 / _decimal(headers, "BPM", f"{where}: #BPM", positive=True)
        self._gap_s = _decimal(headers, "GAP", f"{where}: #GAP") / 1000
        self._is_relative = headers.get("RELATIVE", "").strip().lower() == "yes"
        self._voice = 1
        self._first_beat: dict[int, int] = {}
        self._lines: dict[int, list[list[Timed]]] = {}

    def read(self, row: str, where: str) -> None:
        """Takes one line of the body."""
        if note := _NOTE.fullmatch(row.lstrip()):
            self._add(note)
        elif end := _LINE_END.fullmatch(row.strip()):
            self._end_line(int(end[1]), int(end[2] or end[1]))
        elif voice := _VOICE.fullmatch(row.strip()):
            self._voice = int(voice[1])
        else:
            raise RowError(
                f"{where}: expected TYPE BEAT LENGTH PITCH TEXT with a type of {SINGABLE}{UNPITCHED}, `- BEAT`, `P1`, "
                f"`P2` or `E`, found {row.strip()[:60]!r}"
            )

    def lines(self) -> list[TimedLine]:
        """Returns the lines of all voices in order of time; what two voices sing together is there once."""
        found: list[tuple[float, TimedLine]] = []
        for lines in self._lines.values():
            found += [(line[0].start_s, TimedLine(_text(line), _words(line))) for line in lines if line]
        kept: list[tuple[float, TimedLine]] = []
        for start_s, line in sorted(found, key=lambda entry: entry[0]):
            words = split_words(line.text)
            if not any(abs(start_s - s) < _SAME_S and split_words(other.text) == words for s, other in kept[-9:]):
                kept.append((start_s, line))
        return [line for _, line in kept]

    def _add(self, note: re.Match[str]) -> None:
        kind, beat, length, pitch = note[1], int(note[2]), int(note[3]), int(note[4])
        start_s = self._gap_s + (self._first_beat.get(self._voice, 0) + beat) * self._beat_s
        syllable = Timed(note[5] or "", start_s, start_s + length * self._beat_s)
        self._lines.setdefault(self._voice, [[]])[-1].append(syllable)
        if kind in SINGABLE:
            self.notes.append(Note(syllable.text.strip(), syllable.start_s, syllable.end_s, _MIDI_OF_0 + pitch))

    def _end_line(self, beat: int, shift: int) -> None:
        self._lines.setdefault(self._voice, [[]]).append([])
        if self._is_relative:
            self._first_beat[self._voice] = self._first_beat.get(self._voice, 0) + shift


def _decimal(headers: Mapping[str, str], name: str, where: str, positive: bool = False) -> float:
    """Returns a header's number, with a decimal point or comma; 0 of one that is missing."""
    text = headers.get(name, "").replace(",", ".") or "0"
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e9 or (positive and number <= 0):
        raise RowError(f"{where}: expected a {'positive ' if positive else ''}number, found {headers.get(name)!r}")
    return number


def _text(line: list[Timed]) -> str:
    """Returns a line's text: its syllables without the `~` of those that are held on, and `word~ .` as `word.`."""
    text = re.sub(r"~\s+(?=[^\w\s~])", "", "".join(syllable.text for syllable in line))
    return " ".join(text.replace("~", "").split())


def _words(line: list[Timed]) -> list[Timed]:
    """Returns the words between spaces; a `~` is a part of the word before it, which it makes longer."""
    words: list[Timed] = []
    is_inside = False
    for piece in (piece for syllable in line for piece in _pieces(syllable)):
        text = piece.text.replace("~", "")
        if piece.text.isspace():
            is_inside = False
            continue
        if words and (is_inside or not text):
            words[-1] = Timed(words[-1].text + text, words[-1].start_s, piece.end_s)
        else:
            words.append(piece._replace(text=text))
        is_inside = True
    return words


def _pieces(syllable: Timed) -> Iterator[Timed]:
    """Yields what is between the spaces of a syllable, and the spaces; words share its time by their letters."""
    pieces = re.findall(r"\s+|\S+", syllable.text)
    letters = [sum(map(str.isalnum, piece)) for piece in pieces]
    if sum(map(bool, letters)) < 2:
        yield from (syllable._replace(text=piece) for piece in pieces)
        return
    step_s, end_s = (syllable.end_s - syllable.start_s) / sum(letters), syllable.start_s
    for piece, n in zip(pieces, letters, strict=True):
        start_s, end_s = end_s, end_s + n * step_s
        yield Timed(piece, start_s, end_s)


ULTRASTAR = Layout(_found, _songs)
