"""Opencpop: phrases (`segments/transcriptions.txt`, `segments/wavs/`) or whole songs (`wavs/`, `textgrids/`).

A line of the transcriptions is `name|text|phones|notes|note durations|phone durations|slurs`. The tiers of a song are
句子 (sentence), 汉字 (character), 音节, 音高 (note), 音长, 音素 (phone) and 连音 (slur).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from autosing.pipeline.ingest.annotation import Lyrics, Note, Timed, TimedLine, lyrics_of, midi_of, reference, seconds
from autosing.pipeline.ingest.files import LARGEST_TABLE_BYTES, audio_of_stem, read_text, rows_of
from autosing.pipeline.ingest.mandarin import UNSUNG, Phone, line_of, sung, without_pauses
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.source import Layout, Source
from autosing.pipeline.ingest.textgrid import read_textgrid
from autosing.signal.errors import RowError
from autosing.signal.lyrics import split_words

SINGER = "opencpop"
TRANSCRIPTIONS, TEST = "transcriptions.txt", "test.txt"
SENTENCES, CHARACTERS, NOTES, PHONES = "句子", "汉字", "音高", "音素"
_N_FIELDS = 7
_SONG_DIGITS = 4  # `2001000012` is the 12th phrase of song 2001.


def _segments(source: Source) -> Path:
    inner = source.root / "segments"
    return inner if inner.is_dir() else source.root


def _has_segments(source: Source) -> bool:
    return (_segments(source) / TRANSCRIPTIONS).is_file() and (_segments(source) / "wavs").is_dir()


def _has_songs(source: Source) -> bool:
    return all((source.root / name).is_dir() for name in ("wavs", "textgrids"))


def _phrases(source: Source) -> Iterator[NewSong]:
    folder = _segments(source)
    test = _names(folder / TEST)
    used: list[Path] = []

    def song(row: tuple[int, str]) -> NewSong | None:
        return _phrase(source, row, test, used)

    rows = enumerate(rows_of(read_text(folder / TRANSCRIPTIONS, LARGEST_TABLE_BYTES)), 1)
    yield from source.taken(((n, r) for n, r in rows if r.strip()), song)
    source.tell_unused(used, f"not listed in {TRANSCRIPTIONS} (--format opencpop-songs takes whole songs)")


def _names(file: Path) -> frozenset[str]:
    """Returns the names that a list begins its lines with; none where there is no list."""
    if not file.is_file():
        return frozenset()
    return frozenset(row.split("|")[0].strip() for row in rows_of(read_text(file, LARGEST_TABLE_BYTES)))


def _phrase(source: Source, row: tuple[int, str], test: frozenset[str], used: list[Path]) -> NewSong | None:
    fields = [field.strip() for field in row[1].split("|")]
    where = f"{TRANSCRIPTIONS}:{row[0]}"
    if len(fields) != _N_FIELDS:
        raise RowError(f"{where}: expected {_N_FIELDS} fields between '|', found {len(fields)}")
    path = audio_of_stem(_segments(source) / "wavs", fields[0])
    if path is None:
        raise RowError(f"{where}: there is no wavs/{fields[0]}.wav")
    used.append(path)
    if not source.wants(path):
        return None
    split = "test" if fields[0] in test else None
    columns = _columns(fields[0][:_SONG_DIGITS]) | {"raw_lyrics": without_pauses(fields[1]), "split": split}
    its = sung(_phones(fields, where))
    try:
        lyrics = line_of(without_pauses(fields[1]), its.syllables)
    except RowError as error:
        source.problems.add(f"{where} ({fields[0]}): no ref_words: {error}")
        return source.song(path, columns, reference(None, its.phones, its.notes))
    text = {"lrc_lyrics": lyrics.lrc, "raw_lyrics": lyrics.raw}
    return source.song(path, columns | text, reference(lyrics, its.phones, its.notes))


def _columns(song: str) -> dict[str, str | None]:
    return {"singer": SINGER, "title": song, "language": "zh"}


def _phones(fields: Sequence[str], where: str) -> list[Phone]:
    phones, notes, _, durations, slurs = (field.split() for field in fields[2:])
    if len({len(phones), len(notes), len(durations), len(slurs)}) > 1:
        counts = f"{len(phones)} phones, {len(notes)} notes, {len(durations)} durations and {len(slurs)} slurs"
        raise RowError(f"{where}: {counts}; expected as many of each")
    rows = zip(phones, durations, notes, slurs, strict=True)
    return [Phone(p, seconds(d), midi_of(n) or 0, s == "1") for p, d, n, s in rows]


def _whole_songs(source: Source) -> Iterator[NewSong]:
    paths = [p for p in source.audio if p.parent == source.root / "wavs"]

    def song(path: Path) -> NewSong:
        where = f"textgrids/{path.stem}.TextGrid"
        tiers = read_textgrid(source.root / "textgrids" / f"{path.stem}.TextGrid", where)
        columns = _columns(path.stem)
        phones, notes = _real(tiers.get(PHONES, [])), _notes(tiers.get(NOTES, []))
        try:
            lyrics = _lyrics(tiers)
        except RowError as error:
            source.problems.add(f"{where}: no lyrics: {error}")
            return source.song(path, columns, reference(None, phones, notes))
        text = {"lrc_lyrics": lyrics.lrc, "raw_lyrics": lyrics.raw}
        return source.song(path, columns | text, reference(lyrics, phones, notes))

    yield from source.taken(paths, song)
    source.tell_unused(paths, "outside of wavs/ left out (--format opencpop takes the phrases)")


def _real(tier: Sequence[Timed]) -> list[Timed]:
    return [interval for interval in tier if interval.text]


def _notes(tier: Sequence[Timed]) -> list[Note]:
    return [Note(i.text, i.start_s, i.end_s, midi) for i in tier if (midi := midi_of(i.text)) is not None]


def _lyrics(tiers: Mapping[str, Sequence[Timed]]) -> Lyrics:
    if missing := [name for name in (SENTENCES, CHARACTERS) if name not in tiers]:
        raise RowError(f"there is no tier {' and '.join(missing)}, there are {', '.join(tiers)}")
    return lyrics_of(
        TimedLine(without_pauses(sentence.text), _within(tiers[CHARACTERS], sentence)) for sentence in tiers[SENTENCES]
    )


def _within(tier: Sequence[Timed], line: Timed) -> list[Timed]:
    """Returns the characters of a line; one that is held on a further note, written as no character, is longer."""
    parts: list[Timed] = []
    for part in tier:
        if not line.start_s <= (part.start_s + part.end_s) / 2 < line.end_s or part.text in UNSUNG:
            continue
        if split_words(part.text):
            parts.append(part)
        elif part.text and parts:
            parts[-1] = parts[-1]._replace(end_s=part.end_s)
    return parts


OPENCPOP = Layout(_has_segments, _phrases)
OPENCPOP_SONGS = Layout(_has_songs, _whole_songs)
