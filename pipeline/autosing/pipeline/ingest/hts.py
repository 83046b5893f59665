"""Sound with label files of speech and singing synthesis beside it (`song.wav`, `song.lab`), as in NIT SONG070."""

from collections.abc import Iterator
from pathlib import Path

from autosing.pipeline.ingest.annotation import reference
from autosing.pipeline.ingest.files import first_line, read_text
from autosing.pipeline.ingest.labels import are_labels, notes_of, phones_of, read_labels
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.source import Layout, Source


def _labelled(source: Source) -> list[Path]:
    return [p for p in source.audio if p.with_suffix(".lab").is_file()]


def _found(source: Source) -> bool:
    labelled = _labelled(source)
    if not source.is_most(labelled):
        return False
    return are_labels(first_line(labelled[0].with_suffix(".lab")))


def _songs(source: Source) -> Iterator[NewSong]:
    paths = _labelled(source)

    def song(path: Path) -> NewSong:
        file = path.with_suffix(".lab")
        labels = read_labels(read_text(file), source.name(file))
        notes = notes_of(labels) if any(label.note for label in labels) else None
        return source.song(path, {"title": path.stem}, reference(None, phones_of(labels), notes))

    yield from source.taken(paths, song)
    source.tell_unused(paths, "without a .lab file beside them")


HTS = Layout(_found, _songs)
