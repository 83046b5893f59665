"""`content`: soft units, pitch and dynamics that a content encoder hears, in features of an `ssl` or in the sound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Reach, Resources, Row, Stage, named_model, per_song
from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import frames
from autosing.signal.ssl import RATE, SAMPLE_RATE, Windowing
from autosing.signal.ssl_encoder import Device, torch_device

if TYPE_CHECKING:
    from autosing.models.listener import Content

KINDS = "what `autosing train soft_units`, `pitdyn` or `soft_hubert` made"
ON_FEATURES, ON_SOUND = "content", "wave_content"


@dataclass(frozen=True)
class ContentStage(Stage):
    """Applies a content encoder; columns are of what it hears.

    Args:
        model: what `autosing train soft_units` or `pitdyn` made, which hears features, or `soft_hubert`, which hears
            the sound.
        source: the `ssl` instance, for one that hears features.
        audio: which audio is heard, by one that hears sound.
        window_s: seconds that one that hears sound sees at once; part of what the columns mean.
        context_s: seconds at each inner edge of a window that are seen but not used.
        device: auto, cpu or cuda.
        windows_per_batch: windows that a GPU gets at once.
        gpus: GPUs that a worker occupies.

    Raises:
        UsageError: the contexts leave nothing of a window, or batches hold no window.
    """

    by_default: ClassVar[bool] = False

    model: str = field(default="", metadata=NOT_IN_DEFINITION)
    source: str = "ssl"
    audio: AudioName = "voice"
    window_s: float = 30
    context_s: float = 2
    device: Device = field(default="auto", metadata=NOT_IN_DEFINITION)
    windows_per_batch: int = field(default=8, metadata=NOT_IN_DEFINITION)
    gpus: float = field(default=0, metadata=NOT_IN_DEFINITION)

    def __post_init__(self) -> None:
        if self.windows_per_batch < 1:
            raise UsageError(f"content: windows_per_batch is {self.windows_per_batch}; give 1 or more")
        self._windowing()

    def columns(self) -> tuple[Column, ...]:
        fields = self._config()["fields"]
        found = []
        if fields["n_units"]:
            found.append(Column("soft_units", pa.float16(), RATE, fields["soft_dim"], meaning="what is sung"))
        if fields["pitch_bins"]:
            found.append(
                Column(
                    "pitch_bin",
                    pa.uint16(),
                    RATE,
                    meaning="0 where unvoiced, else 1 + the bin",
                    n_tokens=fields["pitch_bins"] + 1,
                )
            )
            found.append(Column("f0_hz", pa.float32(), RATE, unit="Hz", meaning="the pitch; 0 where unvoiced"))
            found.append(Column("voiced", pa.uint8(), RATE, meaning="1 where there is a pitch"))
        if fields["dynamic_bins"]:
            found.append(
                Column("dynamic_bin", pa.uint16(), RATE, meaning="bin of loudness", n_tokens=fields["dynamic_bins"])
            )
        return tuple(found)

    def reads(self) -> tuple[str, ...]:
        return () if self._hears_sound() else (f"{self.source}.ssl",)

    def audio_read(self) -> AudioName | None:
        return self.audio if self._hears_sound() else None

    def models(self) -> dict[str, str]:
        return {"model": self._named}

    def resources(self) -> Resources:
        return Resources(gpus=self.gpus, batch_s=self.windows_per_batch * self.window_s if self._hears_sound() else 0)

    def setup(self) -> Any:
        from autosing.models.directory import load_model

        return load_model(self._named).model.to(torch_device(self.device, "content"))

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        if not self._hears_sound():
            return per_song(songs, lambda song: self._heard(song, model))
        from autosing.models.wave_content import contents_of

        waves = [song.mono(self.audio, SAMPLE_RATE) for song in songs]
        counts = [frames(song.n_samples, song.sample_rate, RATE) for song in songs]
        found = contents_of(model, waves, counts, self._windowing(), self.windows_per_batch)
        return [_row(heard) for heard in found]

    def reach(self, model: Any) -> Reach | None:
        if not self._hears_sound():
            return Reach(float(model.context_frames / RATE))
        return None if model.fields.normalises else Reach(self.context_s, self._windowing().step_s)

    @property
    def _named(self) -> str:
        return named_model("content", self.model, KINDS)

    def _windowing(self) -> Windowing:
        return Windowing.of_seconds(self.window_s, self.context_s)

    def _hears_sound(self) -> bool:
        return bool(self.model) and self._config()["class"] == ON_SOUND

    def _config(self) -> Mapping[str, Any]:
        config = Checkpoint(self._named).config
        if config.get("class") not in (ON_FEATURES, ON_SOUND):
            kind = config.get("class") or config.get("model_type")
            raise UsageError(f"content: {self.model} is no content encoder but a {kind!r}; give {KINDS}")
        return config

    def _heard(self, song: Song, network: Any) -> Row:
        from autosing.models.content import content_of

        return _row(content_of(network, song[f"{self.source}.ssl"]))


def _row(heard: "Content") -> Row:
    found: dict[str, Any] = {}
    if heard.soft_units is not None:
        found["soft_units"] = heard.soft_units
    if heard.pitch_bin is not None and heard.f0_hz is not None:
        found |= {"pitch_bin": heard.pitch_bin, "f0_hz": heard.f0_hz, "voiced": heard.pitch_bin > 0}
    if heard.dynamic_bin is not None:
        found["dynamic_bin"] = heard.dynamic_bin
    return found
