"""`voice_activity`: where someone sings, at 50 Hz, of a full mix or of the voice alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Resources, Row, Stage, per_song
from autosing.signal import silero
from autosing.signal.decode import to_mono
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import frames
from autosing.signal.ssl import SAMPLE_RATE, Windowing, encode_songs
from autosing.signal.ssl_encoder import Device
from autosing.signal.vocal_part import vocal_blocks
from autosing.signal.voice_activity import RATE, Activation, Scores, active, singing
from autosing.signal.wave_heads import FrameClassifier, load_frame_classifier

WINDOWING = Windowing.of_seconds(30, 2)


@dataclass(frozen=True)
class VoiceActivity(Stage):
    """Scores every frame by a method and makes intervals of the scores.

    Args:
        method: `weight_free`; `silero`, a network for speech (package silero-vad); or `model`, a network that tells
            what each frame is.
        model: of `model`: hub id or path of a Hugging Face audio frame classification model.
        label: of `model`: the label that means a voice; "" finds it by its name.
        audio: which audio is listened to; the first two methods take the middle of a mix, without drums and chords.
        on: score from which a stretch is sung.
        off: score down to which it lasts.
        min_sung_s: shorter stretches are none.
        min_pause_s: shorter pauses are none.
        device: of `model`: auto, cpu or cuda.
        gpus: GPUs that a worker occupies.

    Raises:
        UsageError: a value is out of its range, or `model` is missing or not used.
    """

    streams: ClassVar[bool] = True

    method: Literal["weight_free", "silero", "model"] = "weight_free"
    model: str = ""
    label: str = ""
    audio: AudioName = "mix"
    on: float = 0.5
    off: float = 0.35
    min_sung_s: float = 0.2
    min_pause_s: float = 0.3
    device: Device = field(default="auto", metadata=NOT_IN_DEFINITION)
    gpus: float = field(default=0, metadata=NOT_IN_DEFINITION)

    def __post_init__(self) -> None:
        for wrong, what in (
            (not 0 < self.off <= self.on <= 1, f"on {self.on}, off {self.off}: give 0 < off <= on <= 1"),
            (min(self.min_sung_s, self.min_pause_s) < 0, "min_sung_s, min_pause_s: a length is at least 0"),
            (
                self.method == "model" and not self.model,
                "method model: give `model`, a hub id or the path of its files",
            ),
            (self.method != "model" and bool(self.model or self.label), "model, label: only `method: model` uses them"),
        ):
            if wrong:
                raise UsageError(f"voice_activity: {what}")

    def columns(self) -> tuple[Column, ...]:
        return (
            Column("voice_activity", pa.uint8(), RATE, meaning="1 where someone sings"),
            Column("singing", pa.float32(), RATE, meaning="how sure the method is that someone sings, 0 to 1"),
        )

    def models(self) -> dict[str, str]:
        known = {"weight_free": {}, "silero": {"silero": f"wheel:{silero.PACKAGE}"}, "model": {"model": self.model}}
        return known[self.method]

    def resources(self) -> Resources:
        return Resources(gpus=self.gpus)

    def setup(self) -> Any:
        if self.method == "silero":
            return silero.load_silero()
        return load_frame_classifier(self.model, self.label, self.device) if self.method == "model" else None

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: self._listen(song, model))

    def _listen(self, song: Song, model: Any) -> Row:
        scores = self._scores(song, model)
        rule = Activation(self.on, self.off, self.min_sung_s, self.min_pause_s)
        return {"voice_activity": active(scores, rule), "singing": scores}

    def _scores(self, song: Song, model: Any) -> Scores:
        n_frames = frames(song.n_samples, song.sample_rate, RATE)
        blocks = song.blocks(self.audio, SAMPLE_RATE)
        if isinstance(model, FrameClassifier):
            wave = np.concatenate([np.zeros(0, np.float32), *map(to_mono, blocks)])
            (found,) = encode_songs(model, [wave], [n_frames], WINDOWING)
            return found[:, 0].astype(np.float32)
        return silero.speech(model, vocal_blocks(blocks), n_frames) if model else singing(blocks, n_frames)
