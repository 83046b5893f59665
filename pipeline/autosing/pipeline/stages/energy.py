"""`energy`: linear RMS at 100 Hz."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import Reach, Row, Stage, per_song
from autosing.signal.energy import RATE, energy
from autosing.signal.errors import RowError
from autosing.signal.framing import frames


@dataclass(frozen=True)
class Energy(Stage):
    """RMS of 20 ms about each frame's centre."""

    audio: AudioName = "voice"

    def columns(self) -> tuple[Column, ...]:
        return (Column("energy", pa.float32(), RATE, unit="linear", meaning="RMS, full scale = 1"),)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, self._measure)

    def reach(self, model: Any) -> Reach:
        return Reach(0.02)

    def _measure(self, song: Song) -> Row:
        audio = song.audio(self.audio)
        n_frames = frames(song.n_samples, song.sample_rate, RATE)
        return {"energy": energy(song.mono(self.audio), audio.sample_rate, n_frames)}
