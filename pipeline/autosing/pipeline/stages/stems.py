"""`stems`: the voice of a mix and what is left of it, each as long as the index audio."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, ClassVar, Literal

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import Separation, Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Resources, Row, Stage, per_song
from autosing.signal.decode import Samples
from autosing.signal.decode_stream import FlacEncoder, Form, fitted, in_blocks
from autosing.signal.demucs import DemucsVoice, Device
from autosing.signal.errors import RowError, UsageError
from autosing.signal.separation import Center, separate_center
from autosing.signal.voice_network import VoiceNetwork, voice_of

BLOCK_S = 10.0
DEMUCS = "adefossez/HTDemucs"
PRETRAINED = ("demucs", "roformer")
STEMS: dict[Separation, tuple[str, ...]] = {
    "vocals": ("vocals",),
    "backing": ("backing",),
    "both": ("vocals", "backing"),
}


@dataclass(frozen=True)
class Stems(Stage):
    """Separates a mix, with memory that does not grow with the song beside its encoded bytes.

    Vocals and backing add up to the mix. They are FLAC of 16 bits, clipped at full scale.

    Args:
        method: `center` needs no weights; `demucs` and `roformer` are pretrained models; `none` is for a cappella
            recordings, whose voice is the recording itself (of 24 bits where it has more than 16) and whose backing is
            silence.
        separate_to: which stems are stored.
        center: how `center` tells a voice.
        model: of a pretrained model: a hub id, or the path of its files; `roformer` has none by itself.
        audio: which audio is separated.
        device: of a pretrained model: auto, cpu or cuda.
        gpus: GPUs that a worker occupies.

    Raises:
        UsageError: `roformer` has no `model`.
    """

    by_default: ClassVar[bool] = False
    streams: ClassVar[bool] = True

    method: Literal["center", "demucs", "roformer", "none"] = "center"
    separate_to: Separation = "vocals"
    center: Center = field(default_factory=Center)
    model: str = DEMUCS
    audio: Literal["mix"] = "mix"
    device: Device = field(default="auto", metadata=NOT_IN_DEFINITION)
    gpus: float = field(default=0, metadata=NOT_IN_DEFINITION)

    def __post_init__(self) -> None:
        if self.method == "roformer" and self.model == DEMUCS:
            raise UsageError("stems: `method: roformer` needs `model`, the path of its config and weights or a hub id")

    def columns(self) -> tuple[Column, ...]:
        meanings = {"vocals": "the voice as FLAC", "backing": "what is left without the voice, as FLAC"}
        return tuple(Column(name, pa.large_binary(), meaning=meanings[name]) for name in STEMS[self.separate_to])

    def models(self) -> dict[str, str]:
        return {"model": self.model} if self.method in PRETRAINED else {}

    def resources(self) -> Resources:
        return Resources(gpus=self.gpus)

    def setup(self) -> VoiceNetwork | None:
        if self.method == "roformer":
            from autosing.models.published.roformer import RoformerVoice

            return RoformerVoice(self.model, self.device)
        return DemucsVoice(self.model, self.device) if self.method == "demucs" else None

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: self._separate(song, model))

    def _separate(self, song: Song, model: VoiceNetwork | None) -> Row:
        form, wanted = song.form(self.audio), STEMS[self.separate_to]
        bits = form.bits if self.method == "none" else 16
        encoders = {name: FlacEncoder(form.sample_rate, form.channels, bits) for name in wanted}
        mixes = song.blocks(self.audio, block_s=BLOCK_S) if "backing" in wanted else repeat(None)
        for voice, mix in zip(self._voice(song, form, model), mixes, strict=False):
            for name, encoder in encoders.items():
                encoder.write(voice if mix is None or name == "vocals" else mix - voice)
        return {name: encoder.finish() for name, encoder in encoders.items()}

    def _voice(self, song: Song, form: Form, model: VoiceNetwork | None) -> Iterator[Samples]:
        """Yields the voice (n, C) in the blocks that `song.blocks` has."""
        mix = song.blocks(self.audio, block_s=BLOCK_S)
        if self.method == "none":
            return mix
        found: Iterable[Samples]
        if model is None:
            found = separate_center(mix, form.sample_rate, self.center)
        else:
            found = voice_of(model, mix, form.sample_rate)
        return in_blocks(fitted(found, form), max(round(BLOCK_S * form.sample_rate), 1))
