"""`f0`: fundamental frequency, voicing and periodicity at 100 Hz."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import Reach, Row, Stage, per_song
from autosing.signal.errors import RowError, UsageError
from autosing.signal.f0 import RATE, REACHES_S, Method, f0
from autosing.signal.framing import frames

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class F0Stage(Stage):
    """Tracks F0 by one of the methods of `autosing.signal.f0`.

    Raises:
        UsageError: there is nothing between `fmin_hz` and `fmax_hz`.
    """

    method: Method = "swift"
    audio: AudioName = "voice"
    fmin_hz: float = 50.0
    fmax_hz: float = 1100.0

    def __post_init__(self) -> None:
        if not 0 < self.fmin_hz < self.fmax_hz < math.inf:
            raise UsageError(
                f"f0: from fmin_hz {self.fmin_hz:g} to fmax_hz {self.fmax_hz:g}: give 0 < fmin_hz < fmax_hz"
            )

    def columns(self) -> tuple[Column, ...]:
        return (
            Column("f0_hz", pa.float32(), RATE, unit="Hz", meaning="F0 at the frame's centre; 0 where unvoiced"),
            Column("voiced", pa.uint8(), RATE, meaning="1 where the frame has an F0"),
            Column("periodicity", pa.float32(), RATE, meaning="confidence of the method, 0 to 1"),
        )

    def models(self) -> dict[str, str]:
        return {"swift": "wheel:swift-f0"} if self.method == "swift" else {}

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, self._track)

    def reach(self, model: Any) -> Reach | None:
        reach_s = REACHES_S[self.method]
        return None if reach_s is None else Reach(reach_s)

    def _track(self, song: Song) -> Row:
        n_frames = frames(song.n_samples, song.sample_rate, RATE)
        track = f0(song.mono(self.audio, SAMPLE_RATE), SAMPLE_RATE, n_frames, self.method, self.fmin_hz, self.fmax_hz)
        return {"f0_hz": track.f0_hz, "voiced": track.voiced, "periodicity": track.periodicity}
