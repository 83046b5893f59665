"""`mel`: the log-mel spectrogram of one MelSpec."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import Row, Stage, per_song
from autosing.signal.errors import RowError
from autosing.signal.framing import frames
from autosing.signal.mel import MelSpec, log_mel


@dataclass(frozen=True)
class Mel(Stage):
    """Log-mel of `spec`; the default is that of the 24 kHz, 100-band BigVGAN-v2 vocoder."""

    spec: MelSpec = field(default_factory=MelSpec)
    audio: AudioName = "voice"

    def columns(self) -> tuple[Column, ...]:
        meaning = "natural log of the mel magnitude"
        return (Column("mel", pa.float16(), self.spec.rate, self.spec.n_mels, "ln", meaning),)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, self._analyse)

    def _analyse(self, song: Song) -> Row:
        n_frames = frames(song.n_samples, song.sample_rate, self.spec.rate)
        return {"mel": log_mel(song.mono(self.audio, self.spec.sample_rate), self.spec, n_frames)}
