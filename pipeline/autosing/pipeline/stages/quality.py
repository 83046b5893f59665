"""`quality`: level, faults, noise and bandwidth of the recording, and its fingerprint.

No other column is computed from it, so it may grow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import Row, Stage, per_song
from autosing.signal import faults, loudness, noise
from autosing.signal.errors import RowError
from autosing.signal.fingerprint import SAMPLE_RATE, fingerprint


@dataclass(frozen=True)
class Quality(Stage):
    """Measures the recording as it is in the file."""

    version: ClassVar[int] = 2

    audio: AudioName = "mix"

    def columns(self) -> tuple[Column, ...]:
        return (
            _maybe("loudness_lufs", "LUFS", "integrated loudness (BS.1770); null where silent or shorter than 0.4 s"),
            _maybe("loudness_range_lu", "LU", "loudness range (EBU Tech 3342); null where silent or shorter than 3 s"),
            _number("peak", "linear", "largest absolute sample, full scale = 1"),
            _maybe("true_peak_db", "dBTP", "largest value between samples (BS.1770); null where silent"),
            _number("clipped_ratio", "", "share of samples in runs at full scale"),
            Column("clipped_runs", pa.int64(), meaning="runs of three or more samples at full scale"),
            _maybe("top_range_db", "dB", "loudest 0.01 % of samples over loudest 0.1 %; below 0.5 clipped or limited"),
            _number("dc_offset", "linear", "mean of the channel whose mean is farthest from 0"),
            _number("silence_ratio", "", "share of 20 ms frames below -60 dBFS"),
            _maybe("snr_db", "dB", "sound over steady noise; null where silent or shorter than 0.5 s"),
            _maybe("bandwidth_hz", "Hz", "highest frequency with content; null where silent"),
            _maybe(
                "stereo_correlation", "", "of the first two channels, -1 to 1; null for one channel or a silent one"
            ),
            Column("opposite_phase", pa.uint8(), meaning="1 where the channels cancel when they are mixed to mono"),
            Column(
                "fingerprint", pa.large_binary(), meaning="landmarks (hash, frame), which copies of a recording share"
            ),
        )

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, self._measure)

    def _measure(self, song: Song) -> Row:
        audio = song.audio(self.audio)
        samples, rate = audio.samples, audio.sample_rate
        integrated, spread = loudness.loudness_and_range(samples, rate)
        clipping, stereo = faults.clipping(samples), faults.stereo(samples)
        return {
            "loudness_lufs": integrated,
            "loudness_range_lu": spread,
            "peak": faults.peak(samples),
            "true_peak_db": loudness.true_peak_db(samples, rate),
            "clipped_ratio": clipping.ratio,
            "clipped_runs": clipping.runs,
            "top_range_db": faults.top_range_db(samples),
            "dc_offset": faults.dc_offset(samples),
            "silence_ratio": faults.silence_ratio(samples, rate),
            "snr_db": noise.snr_db(samples, rate),
            "bandwidth_hz": noise.bandwidth_hz(samples, rate),
            "stereo_correlation": stereo.correlation,
            "opposite_phase": int(stereo.opposite),
            "fingerprint": fingerprint(song.mono(self.audio, SAMPLE_RATE)).astype("<u4").tobytes(),
        }


def _number(name: str, unit: str, meaning: str) -> Column:
    return Column(name, pa.float32(), unit=unit, meaning=meaning)


def _maybe(name: str, unit: str, meaning: str) -> Column:
    return Column(name, pa.float32(), unit=unit, meaning=meaning, nullable=True)
