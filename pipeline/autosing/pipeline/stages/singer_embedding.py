"""`singer_embedding`: whose voice it is, as one vector per song."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Resources, Row, Stage, per_song
from autosing.signal.errors import RowError, UsageError
from autosing.signal.mfcc import RATE, mfcc
from autosing.signal.ssl import HOP, SAMPLE_RATE
from autosing.signal.ssl_encoder import Device
from autosing.signal.voice_statistics import DIM, LEAST_FRAMES, voice_statistics
from autosing.signal.wave_heads import VoiceEncoder, embedding_dim, load_voice_encoder

STATISTICS = "statistics"


@dataclass(frozen=True)
class SingerEmbedding(Stage):
    """Hears the stretches in which somebody sings.

    Args:
        model: `statistics`, which needs no weights, or the hub id or path of a Hugging Face x-vector model, as of
            WavLM.
        audio: which audio is heard.
        activity: the `voice_activity` instance that says where somebody sings.
        piece_s: how much a model hears at once; a song's vector is the mean of those of its pieces, of length 1.
        most_pieces: more pieces than that are not heard, but as many, evenly over the song.
        device: of a model: auto, cpu or cuda.
        gpus: GPUs that a worker occupies.

    Raises:
        UsageError: a piece is shorter than half a second, or there are none.
    """

    model: str = STATISTICS
    audio: AudioName = "voice"
    activity: str = "voice_activity"
    piece_s: float = 8
    most_pieces: int = 12
    device: Device = field(default="auto", metadata=NOT_IN_DEFINITION)
    gpus: float = field(default=0, metadata=NOT_IN_DEFINITION)

    def __post_init__(self) -> None:
        if self.piece_s * RATE < LEAST_FRAMES or self.most_pieces < 1:
            raise UsageError(
                f"singer_embedding: piece_s {self.piece_s:g}, most_pieces {self.most_pieces}: give at least "
                f"{float(LEAST_FRAMES / RATE):g} s and 1"
            )

    def columns(self) -> tuple[Column, ...]:
        meaning = "the voice as a vector; null where nobody is heard singing for half a second"
        dim = DIM if self.model == STATISTICS else embedding_dim(self.model)
        return (Column("singer_embedding", pa.list_(pa.float32(), dim), meaning=meaning, nullable=True),)

    def reads(self) -> tuple[str, ...]:
        return (f"{self.activity}.voice_activity",)

    def models(self) -> dict[str, str]:
        return {} if self.model == STATISTICS else {"model": self.model}

    def resources(self) -> Resources:
        return Resources(gpus=self.gpus)

    def setup(self) -> VoiceEncoder | None:
        return None if self.model == STATISTICS else load_voice_encoder(self.model, self.device)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: {"singer_embedding": self._embed(song, model)})

    def _embed(self, song: Song, model: VoiceEncoder | None) -> list[float] | None:
        sung = np.asarray(song[f"{self.activity}.voice_activity"], np.bool_)
        wave = song.mono(self.audio, SAMPLE_RATE)
        if model is None:
            found = voice_statistics(mfcc(wave, SAMPLE_RATE, len(sung)), sung)
        else:
            found = self._mean_of_pieces(wave, sung, model)
        return None if found is None else found.tolist()

    def _mean_of_pieces(
        self, wave: npt.NDArray[np.float32], sung: npt.NDArray[np.bool_], model: VoiceEncoder
    ) -> npt.NDArray[Any] | None:
        """Returns the mean over pieces of what is sung, put together; a silent piece says nothing."""
        is_sung = np.repeat(sung, HOP)[: len(wave)]
        heard = wave[: len(is_sung)][is_sung]
        size = round(self.piece_s * SAMPLE_RATE)
        count = max(round(len(heard) / size), 1)
        chosen = np.unique(np.linspace(0, count - 1, min(count, self.most_pieces)).round().astype(int))
        pieces = [piece for n, piece in enumerate(np.array_split(heard, count)) if n in chosen]
        found = [model.embed(piece) for piece in pieces if len(piece) >= LEAST_FRAMES * HOP and piece.any()]
        if not found:
            return None
        mean: npt.NDArray[Any] = np.mean(found, axis=0)
        mean /= np.linalg.norm(mean)
        return mean
