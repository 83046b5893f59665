"""`denoise`: a voice without its steady noise, as long as the index audio."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row, Stage, per_song
from autosing.signal.decode_stream import encode_blocks
from autosing.signal.denoise import Denoising, denoised
from autosing.signal.errors import RowError


@dataclass(frozen=True)
class Denoise(Stage):
    """Spectral noise reduction, with memory that does not grow with the song beside its encoded bytes.

    Args:
        audio: `mix` (the index audio, for a cappella recordings) or `vocals` (the separated stem).
        denoising: how much is taken off.
    """

    by_default: ClassVar[bool] = False
    streams: ClassVar[bool] = True

    audio: Literal["mix", "vocals"] = "mix"
    denoising: Denoising = field(default_factory=Denoising)

    def columns(self) -> tuple[Column, ...]:
        return (Column("audio", pa.large_binary(), meaning="the voice without steady noise, as FLAC of 16 bits"),)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, self._denoise)

    def _denoise(self, song: Song) -> Row:
        form = song.form(self.audio)
        cleaned = denoised(song.blocks(self.audio), form.sample_rate, self.denoising)
        return {"audio": encode_blocks(cleaned, form.sample_rate, form.channels)}
