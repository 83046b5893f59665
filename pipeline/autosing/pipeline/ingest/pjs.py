"""PJS: `pjsNNN/pjsNNN_song.wav` with phones (`.lab`), score (`.mid`) and kana (`.musicxml`), and the same read aloud.

The MIDI file lies on the song's time line; the MusicXML file, which has the kana, may lack bars of rest.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from autosing.pipeline.ingest.annotation import Note, midi_of, reference
from autosing.pipeline.ingest.files import LARGEST_LYRICS_BYTES, read_bytes, read_text
from autosing.pipeline.ingest.labels import phones_of, read_labels
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.source import Layout, Source
from autosing.signal.errors import RowError

SINGER, SPEECH = "pjs", "*_speech.*"
_SONG = re.compile(r"(pjs\d+)_(song|speech)")
_REST_S = 0.1
_ALTERED = {"-2": "bb", "-1": "b", "0": "", "1": "#", "2": "##"}


def _found(source: Source) -> bool:
    return source.is_most([p for p in source.audio if _SONG.fullmatch(p.stem)])


def _songs(source: Source) -> Iterator[NewSong]:
    recorded = {p: m for p in source.audio if (m := _SONG.fullmatch(p.stem))}

    def song(path: Path) -> NewSong:
        name, kind = recorded[path].groups()
        beside = {suffix: path.with_name(f"{name}.{suffix}") for suffix in ("lab", "mid", "musicxml")}
        text = {"singer": SINGER, "title": name, "language": "ja"}
        if missing := [file.name for file in beside.values() if not file.is_file()]:
            raise RowError(f"{source.name(path)}: {' and '.join(missing)} is missing beside it")
        notes = _with_kana(_midi_notes(beside["mid"]), beside["musicxml"])
        text["raw_lyrics"] = _lines(notes)
        if kind == "speech":
            return source.song(path, text)
        phones = phones_of(read_labels(read_text(beside["lab"]), source.name(beside["lab"])))
        return source.song(path, text, reference(None, phones, notes))

    yield from source.taken(source.sung(recorded, SPEECH), song)
    source.tell_unused(recorded, "whose name is not of the form pjsNNN_song")


def _midi_notes(path: Path) -> list[Note]:
    """Returns the notes of a MIDI file in order."""
    import mido

    sounding: dict[int, float] = {}
    notes, now_s = [], 0.0
    try:
        for message in mido.MidiFile(file=io.BytesIO(read_bytes(path))):
            now_s += message.time
            if message.type not in ("note_on", "note_off"):
                continue
            if message.note in sounding:
                notes.append(Note("", sounding.pop(message.note), now_s, message.note))
            if message.type == "note_on" and message.velocity:
                sounding[message.note] = now_s
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:  # What mido raises for broken files.
        raise RowError(f"{path.name} can't be read as MIDI: {error}") from error
    return sorted(notes, key=lambda note: note.start_s)


def _with_kana(notes: list[Note], score: Path) -> list[Note]:
    """Returns the notes with the kana that a MusicXML file has for them.

    Raises:
        RowError: the file can't be read, or has other notes.
    """
    if score.stat().st_size > LARGEST_LYRICS_BYTES:
        raise RowError(f"{score.name} has {score.stat().st_size} bytes; a score has at most {LARGEST_LYRICS_BYTES}")
    try:
        # Expat bounds how much entities may grow, and ElementTree opens no other files.
        root = ElementTree.fromstring(read_bytes(score))
    except ElementTree.ParseError as error:
        raise RowError(f"{score.name} is no MusicXML: {error}") from error
    written = [w for w in map(_written, root.iter("note")) if w is not None]
    if [midi for midi, _ in written] != [note.midi for note in notes]:
        raise RowError(f"{score.name} has other notes than the MIDI file ({len(written)} and {len(notes)})")
    return [note._replace(text=kana) for note, (_, kana) in zip(notes, written, strict=True)]


def _written(note: ElementTree.Element) -> tuple[float, str] | None:
    """Returns pitch and kana of a written note; None of a rest, and of what a tie makes the note before longer by."""
    if note.find("pitch") is None or any(tie.get("type") == "stop" for tie in note.findall("tie")):
        return None
    step, octave = note.findtext("pitch/step", ""), note.findtext("pitch/octave", "")
    midi = midi_of(step + _ALTERED.get(note.findtext("pitch/alter", "0"), "?") + octave)
    return (midi if midi is not None else -1.0, note.findtext("lyric/text", ""))


def _lines(notes: list[Note]) -> str:
    """Returns the kana of notes, a line between two rests."""
    text = ""
    for before, note in zip([None, *notes], notes, strict=False):
        if before is not None and note.start_s - before.end_s > _REST_S:
            text += "\n"
        text += note.text
    return text


PJS = Layout(_found, _songs)
