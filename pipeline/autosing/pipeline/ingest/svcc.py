"""The data of the Singing Voice Conversion Challenge 2023: `Data/<singer>/<number>.wav`."""

import re
from collections.abc import Iterator
from pathlib import Path

from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.source import Layout, Source

SINGER = re.compile(r"(?:CD|ID|S)[FM]\d")
"""Targets of the cross-domain and the in-domain task, and source singers; women and men."""


def _found(source: Source) -> bool:
    folder = source.root / "Data" if (source.root / "Data").is_dir() else source.root
    return any(SINGER.fullmatch(p.name) and p.is_dir() for p in folder.iterdir())


def _songs(source: Source) -> Iterator[NewSong]:
    paths = [p for p in source.audio if SINGER.fullmatch(p.parent.name)]

    def song(path: Path) -> NewSong:
        return source.song(path, {"singer": path.parent.name, "language": "en"})

    yield from source.taken(paths, song)
    source.tell_unused(paths, "in no singer's folder (CDF1, IDM1, SF1, ...)")


SVCC = Layout(_found, _songs)
