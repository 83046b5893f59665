"""Data sets for measurements: real recordings, repeated under new ids; where there are none, the synthetic singer."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import soundfile

from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.signal.decode import decode

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FOLDERS = ("nc/jamendolyrics", "nc/ultrastar", "ultrastar", "pjs", "nc/gtsinger")
AUDIO = (".flac", ".mp3", ".ogg", ".wav")
SYNTHETIC_SONGS, SYNTHETIC_S = 16, 45.0


def load_songs(data: Path) -> tuple[list[NewSong], str]:
    """Returns the songs below `data`, shortest first, and what they are; synthetic ones where there are none."""
    paths = [p for folder in FOLDERS for p in sorted((data / folder).rglob("*")) if p.suffix in AUDIO]
    if not paths:
        return list(SyntheticSource(SYNTHETIC_SONGS, SYNTHETIC_S).songs()), f"synthetic songs ({data} has no real ones)"
    songs = [NewSong(str(p.relative_to(data)), p.read_bytes(), duration_s=soundfile.info(p).duration) for p in paths]
    # Shortest first: a few minutes then make songs for every partition, and cost a worker most.
    return sorted(songs, key=lambda s: s.duration_s), "real songs"


def repeated(songs: Sequence[NewSong], minutes: float) -> Iterator[NewSong]:
    """Yields the songs, again and again under new ids, until `minutes` of audio are reached."""
    seconds = 0.0
    for number, song in enumerate(cycle(songs)):
        if seconds >= 60 * minutes:
            return
        seconds += song.duration_s
        yield replace(song, id=f"{number // len(songs)}/{song.id}", reference={})


def write_dataset(url: str, songs: Sequence[NewSong], partitions: int) -> float:
    """Writes the songs as partitions of about equal length; returns the minutes of audio."""
    shares: list[list[NewSong]] = [[] for _ in range(partitions)]
    lengths_s = [0.0] * partitions
    for song in sorted(songs, key=lambda s: -s.duration_s):
        shortest = lengths_s.index(min(lengths_s))
        shares[shortest].append(song)
        lengths_s[shortest] += song.duration_s
    for share in shares:
        append_songs(url, share, partition_bytes=1 << 60)
    return sum(lengths_s) / 60


def as_wave(data: bytes) -> bytes:
    """Returns a song as 32-bit stereo WAVE: a lot of bytes for a second, so that 1 GB does not take hours."""
    audio = decode(data)
    file = io.BytesIO()
    stereo = audio.samples[:, [0, -1]]
    soundfile.write(file, stereo, audio.sample_rate, subtype="FLOAT", format="WAV")
    return file.getvalue()
