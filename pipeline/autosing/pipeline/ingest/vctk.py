"""VCTK: `wav48*/<speaker>/<speaker>_<nnn>[_mic1].<wav|flac>` and `txt/<speaker>/<speaker>_<nnn>.txt`."""

import re
from collections.abc import Iterator
from pathlib import Path

from autosing.pipeline.ingest.files import read_text
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.ingest.source import Layout, Source

AUDIO_FOLDER, TEXT = "wav48*", "txt"
_UTTERANCE = re.compile(r"((\w+)_\d+)(?:_mic(\d))?")


def _found(source: Source) -> bool:
    return (source.root / TEXT).is_dir() and any(p.is_dir() for p in source.root.glob(AUDIO_FOLDER))


def _songs(source: Source) -> Iterator[NewSong]:
    recorded = {p: m for p in source.audio if (m := _UTTERANCE.fullmatch(p.stem)) and m[2] == p.parent.name}
    # The same utterance through a second microphone is no second utterance.
    chosen = [p for p, match in recorded.items() if match[3] in (None, "1") or source.include]
    lost: list[Path] = []

    def song(path: Path) -> NewSong:
        match = recorded[path]
        transcript = source.root / TEXT / match[2] / f"{match[1]}.txt"
        text = read_text(transcript).strip() if transcript.is_file() else None
        if not text:
            lost.append(transcript)
        return source.song(path, {"raw_lyrics": text, "singer": match[2], "language": "en"})

    yield from source.taken(chosen, song)
    if lost:
        first = source.name(lost[0])
        source.problems.add(f"{len(lost)} utterances have no transcript and go without lyrics: {first}, ...", len(lost))
    source.tell_unused(chosen, "of a second microphone (--include '*_mic2.*' takes them) or of no speaker's folder")


VCTK = Layout(_found, _songs)
