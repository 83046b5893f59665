"""OpenSinger: `ManRaw` and `WomanRaw` with `<singer>_<song>/<singer>_<song>_<n>.wav`, and `.txt` and `.lab` beside."""

from collections.abc import Iterator
from pathlib import Path

from autosing.pipeline.ingest.annotation import reference
from autosing.pipeline.ingest.files import read_text
from autosing.pipeline.ingest.labels import are_labels, phones_of, read_labels
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.source import Layout, Source
from autosing.signal.errors import RowError

SIDES = {"ManRaw": "Man", "WomanRaw": "Woman"}


def _found(source: Source) -> bool:
    return any((source.root / side).is_dir() for side in SIDES)


def _songs(source: Source) -> Iterator[NewSong]:
    paths = [p for p in source.audio if p.parent.parent.name in SIDES]

    def song(path: Path) -> NewSong:
        number, underscore, title = path.parent.name.partition("_")
        if not underscore:
            raise RowError(f"{source.name(path)} lies in {path.parent.name}, no folder of the form SINGER_SONG")
        columns = {"singer": f"{SIDES[path.parent.parent.name]}-{number}", "title": title, "language": "zh"}
        lyrics, label = path.with_suffix(".txt"), path.with_suffix(".lab")
        if lyrics.is_file():
            columns["raw_lyrics"] = read_text(lyrics).strip()
        else:
            source.problems.add(f"{source.name(path)} goes without lyrics: there is no {lyrics.name}")
        text = read_text(label) if label.is_file() else ""
        # Labels without times say no more than the lyrics.
        known = reference(phones=phones_of(read_labels(text, source.name(label)))) if are_labels(text) else {}
        return source.song(path, columns, known)

    yield from source.taken(paths, song)
    source.tell_unused(paths, f"in no singer's folder of {' or '.join(SIDES)}")


OPENSINGER = Layout(_found, _songs)
