"""`lyric_mel`: what the lyrics aligner hears of a song, 80 bands of the mix and 80 of its centre at 50 Hz."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import Row, Stage, per_song
from autosing.signal.errors import RowError
from autosing.signal.framing import frames
from autosing.signal.lyric_mel import DIM, RATE, SAMPLE_RATE, lyric_mel


@dataclass(frozen=True)
class LyricMel(Stage):
    """Makes the bands. They are cheap and big, so they are not stored unless `keep: true` says so, as to train on."""

    keep: ClassVar[bool] = False
    streams: ClassVar[bool] = True

    audio: AudioName = "mix"

    def columns(self) -> tuple[Column, ...]:
        return (
            Column("lyric_mel", pa.float16(), RATE, DIM, meaning="log-mels of mix and centre, normalised per song"),
        )

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, self._bands)

    def _bands(self, song: Song) -> Row:
        n_frames = frames(song.n_samples, song.sample_rate, RATE)
        blocks = song.blocks(self.audio, SAMPLE_RATE)
        return {"lyric_mel": lyric_mel(blocks, n_frames)}
