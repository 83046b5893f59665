"""`codes`: the voice as a neural codec's codes, a column for each level at its own rate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Resources, Row, Stage, named_model, per_song
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import common_period, tied_frames
from autosing.signal.ssl_encoder import Device

if TYPE_CHECKING:
    from autosing.models.codecs import CodecInfo

KINDS = "a codec of `autosing train codec`, or the path or hub id of EnCodec, DAC, Mimi or SNAC"


@dataclass(frozen=True)
class CodesStage(Stage):
    """Encodes the voice by a codec; levels are tied, so that their numbers of codes are in the ratio of their rates.

    Args:
        model: a codec that `autosing train codec` made, or the path or hub id of EnCodec, DAC, Mimi or SNAC.
        levels: how many of its levels are kept, the first ones; 0 keeps all.
        audio: which audio is encoded.
        device: auto, cpu or cuda.
        gpus: GPUs that a worker occupies.

    Raises:
        UsageError: `levels` is negative.
    """

    by_default: ClassVar[bool] = False

    model: str = field(default="", metadata=NOT_IN_DEFINITION)
    levels: int = 0
    audio: AudioName = "voice"
    device: Device = field(default="auto", metadata=NOT_IN_DEFINITION)
    gpus: float = field(default=0, metadata=NOT_IN_DEFINITION)

    def __post_init__(self) -> None:
        if self.levels < 0:
            raise UsageError(f"codes: levels is {self.levels}; give 0 for all, or how many")

    def columns(self) -> tuple[Column, ...]:
        info = self._info()
        return tuple(
            Column(
                f"codes_{n}", pa.uint16(), rate, meaning=f"level {n} of {size} codes", tied=info.rates, n_tokens=size
            )
            for n, (rate, size) in enumerate(zip(info.rates, info.sizes, strict=True))
        )

    def models(self) -> dict[str, str]:
        return {"model": self._named}

    def resources(self) -> Resources:
        return Resources(gpus=self.gpus)

    def setup(self) -> Any:
        from autosing.models.codecs import load_codec

        return load_codec(self._named, self.levels, self.device)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: self._codes(song, model))

    @property
    def _named(self) -> str:
        return named_model("codes", self.model, KINDS)

    def _info(self) -> "CodecInfo":
        from autosing.models.codecs import codec_info

        return codec_info(self._named, self.levels)

    def _codes(self, song: Song, codec: Any) -> Row:
        info = codec.info
        counts = tied_frames(song.n_samples, song.sample_rate, info.rates)
        n_periods = int(counts[0] / (info.rates[0] * common_period(info.rates)))
        codes = codec.encode(info.padded(song.mono(self.audio, info.sample_rate), n_periods))
        return {f"codes_{n}": one[:count] for n, (one, count) in enumerate(zip(codes, counts, strict=True))}
