"""`probe`: what the file is, found by decoding it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import Row, Stage, per_song
from autosing.signal.errors import RowError

LYRICS = ("index.lrc_lyrics", "index.raw_lyrics")


@dataclass(frozen=True)
class Probe(Stage):
    """Measures the index audio. Its file also records the digests of the index's columns."""

    streams: ClassVar[bool] = True

    def columns(self) -> tuple[Column, ...]:
        return (
            Column("n_samples", pa.int64(), unit="samples", meaning="samples per channel"),
            Column("duration_s", pa.float64(), unit="s", meaning="length"),
            Column("sample_rate_hz", pa.int32(), unit="Hz", meaning="sample rate of the file"),
            Column("channels", pa.int32(), meaning="number of channels"),
            Column("codec", pa.large_string(), meaning="container and coding"),
            Column("audio_digest", pa.large_string(), meaning="blake2b of the encoded bytes"),
            Column("lyrics_digest", pa.large_string(), meaning="blake2b of the lyrics", nullable=True),
        )

    def audio_read(self) -> AudioName:
        return "mix"

    def reads(self) -> tuple[str, ...]:
        return LYRICS

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, _probe)


def _probe(song: Song) -> Row:
    form = song.form("mix")
    lyrics = "\0".join(song[address] or "" for address in LYRICS)
    return {
        "n_samples": form.n_frames,
        "duration_s": form.n_frames / form.sample_rate,
        "sample_rate_hz": form.sample_rate,
        "channels": form.channels,
        "codec": form.codec,
        "audio_digest": _digest(song["index.audio"]),
        "lyrics_digest": _digest(lyrics.encode()) if lyrics.strip("\0") else None,
    }


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
