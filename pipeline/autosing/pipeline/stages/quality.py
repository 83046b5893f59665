"""`quality`: level, clipping, noise and bandwidth of the recording. Nothing is computed from it, so it may grow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import Row, Stage, per_song
from autosing.signal import loudness
from autosing.signal.errors import RowError


@dataclass(frozen=True)
class Quality(Stage):
    """Measures the recording as it is in the file."""

    audio: AudioName = "mix"

    def columns(self) -> tuple[Column, ...]:
        lufs = "integrated loudness (BS.1770); null where silent or shorter than 0.4 s"
        return (
            Column("loudness_lufs", pa.float32(), unit="LUFS", meaning=lufs, nullable=True),
            Column("peak", pa.float32(), unit="linear", meaning="largest absolute sample, full scale = 1"),
            Column("clipped_ratio", pa.float32(), meaning="share of samples in runs at full scale"),
            Column("silence_ratio", pa.float32(), meaning="share of 20 ms frames below -60 dBFS"),
            Column("snr_db", pa.float32(), unit="dB", meaning="loud over quiet frames; null if silent", nullable=True),
            Column("bandwidth_hz", pa.float32(), unit="Hz", meaning="highest frequency with content", nullable=True),
        )

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, self._measure)

    def _measure(self, song: Song) -> Row:
        audio = song.audio(self.audio)
        samples, rate = audio.samples, audio.sample_rate
        return {
            "loudness_lufs": loudness.integrated_loudness(samples, rate),
            "peak": loudness.peak(samples),
            "clipped_ratio": loudness.clipped_ratio(samples),
            "silence_ratio": loudness.silence_ratio(samples, rate),
            "snr_db": loudness.snr_db(samples, rate),
            "bandwidth_hz": loudness.bandwidth_hz(samples, rate),
        }
