"""`singer_embedding`: whose voice it is, as one vector per song."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Resources, Row, Stage, per_song
from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import CheckpointError, RowError, UsageError
from autosing.signal.mfcc import RATE, mfcc
from autosing.signal.ssl import HOP, SAMPLE_RATE
from autosing.signal.ssl_encoder import Device, torch_device
from autosing.signal.voice_statistics import DIM, LEAST_S, voice_statistics
from autosing.signal.wave_heads import VoiceEncoder, embedding_dim, load_voice_encoder

STATISTICS = "statistics"
SINGER = "singer"
# Of the settings of `mel` and `ssl` the one that says which sound of a song it is, not what a frame means.
WHICH_SOUND = "audio"

Heard = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SingerEmbedding(Stage):
    """Hears the stretches in which somebody sings.

    Args:
        model: `statistics`, which needs no weights; what `autosing train singer` made; or the hub id or path of a
            Hugging Face x-vector model, as of WavLM.
        source: of what `train singer` made: the `mel` or `ssl` instance that it hears; "" takes the one that has no
            label.
        audio: which audio is heard by the others.
        activity: the `voice_activity` instance that says where somebody sings.
        piece_s: how much a model hears at once; a song's vector is the mean of those of its pieces, of length 1.
        most_pieces: more pieces than that are not heard, but as many, evenly over the song.
        device: of a model: auto, cpu or cuda.
        gpus: GPUs that a worker occupies.

    Raises:
        UsageError: a piece is shorter than half a second, or there are none.
    """

    model: str = field(default=STATISTICS, metadata=NOT_IN_DEFINITION)
    source: str = ""
    audio: AudioName = "voice"
    activity: str = "voice_activity"
    piece_s: float = 8
    most_pieces: int = 12
    device: Device = field(default="auto", metadata=NOT_IN_DEFINITION)
    gpus: float = field(default=0, metadata=NOT_IN_DEFINITION)

    def __post_init__(self) -> None:
        if self.piece_s < LEAST_S or self.most_pieces < 1:
            raise UsageError(
                f"singer_embedding: piece_s {self.piece_s:g}, most_pieces {self.most_pieces}: give at least "
                f"{float(LEAST_S):g} s and 1"
            )

    def columns(self) -> tuple[Column, ...]:
        meaning = "the voice as a vector; null where nobody is heard singing for half a second"
        if self.model == STATISTICS:
            dim = DIM
        else:
            dim = self._fields["embedding_dim"] if self._fields else embedding_dim(self.model)
        return (Column("singer_embedding", pa.list_(pa.float32(), dim), meaning=meaning, nullable=True),)

    def reads(self) -> tuple[str, ...]:
        activity = f"{self.activity}.voice_activity"
        fields = self._fields
        return (activity, f"{self._instance}.{fields['features']}") if fields else (activity,)

    def audio_read(self) -> AudioName | None:
        return None if self._fields else self.audio

    def learned_from(self) -> Mapping[str, Mapping[str, Any]]:
        """Returns what a frame means that `train singer` learned from, whichever sound of a song it was."""
        if not self._fields:
            return {}
        contract = Checkpoint(self.model).config.get("contract", {})
        instance = "".join(contract.get("columns", {}).values()).rpartition(".")[0]
        settings = contract.get("instances", {}).get(instance)
        if settings is None:
            raise CheckpointError(
                f"singer_embedding: {self.model} does not tell how the frames were made that it learned from; train it "
                "by `autosing train singer` on a set that `autosing build` wrote"
            )
        then = {**settings, **contract.get("artefacts", {}).get(instance, {})}
        return {self._instance: {name: value for name, value in then.items() if name != WHICH_SOUND}}

    def models(self) -> dict[str, str]:
        return {} if self.model == STATISTICS else {"model": self.model}

    def resources(self) -> Resources:
        return Resources(gpus=self.gpus)

    def setup(self) -> Any:
        if self.model == STATISTICS:
            return None
        if not self._fields:
            return load_voice_encoder(self.model, self.device)
        from autosing.models.directory import load_model

        return load_model(self.model).model.to(torch_device(self.device, "singer_embedding"))

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: {"singer_embedding": self._embed(song, model)})

    @property
    def _fields(self) -> Mapping[str, Any]:
        """The fields of a model that hears frames; empty for any other."""
        config = {} if self.model == STATISTICS else Checkpoint(self.model).config
        return config["fields"] if config.get("class") == SINGER else {}

    @property
    def _instance(self) -> str:
        return self.source or str(self._fields["features"])

    def _embed(self, song: Song, model: Any) -> list[float] | None:
        sung = np.asarray(song[f"{self.activity}.voice_activity"], np.bool_)
        if model is None:
            cepstra = mfcc(song.mono(self.audio, SAMPLE_RATE), SAMPLE_RATE, len(sung))
            found: Heard | None = voice_statistics(cepstra, sung)
        elif isinstance(model, VoiceEncoder):
            wave, is_sung = song.mono(self.audio, SAMPLE_RATE), np.repeat(sung, HOP)
            heard = wave[: len(is_sung)][is_sung[: len(wave)]]
            found = self._mean_of_pieces(heard, Fraction(SAMPLE_RATE), model.embed)
        else:
            features = model.fields.features
            found = self._of_frames(song[f"{self.source or features}.{features}"], sung, model)
        return None if found is None else found.tolist()

    def _of_frames(self, frames: Heard, sung: npt.NDArray[np.bool_], model: Any) -> Heard | None:
        from autosing.models.singer import embedding_of, sung_frames

        rate = Fraction(model.fields.rate)
        return self._mean_of_pieces(sung_frames(frames, rate, sung, RATE), rate, partial(embedding_of, model))

    def _mean_of_pieces(self, heard: Heard, rate: Fraction, embed: Callable[[Any], Heard]) -> Heard | None:
        """Returns the mean over pieces of what is sung, put together; a silent piece says nothing."""
        size, least = round(self.piece_s * rate), math.ceil(LEAST_S * rate)
        count = max(round(len(heard) / size), 1)
        chosen = np.unique(np.linspace(0, count - 1, min(count, self.most_pieces)).round().astype(int))
        pieces = [piece for n, piece in enumerate(np.array_split(heard, count)) if n in chosen]
        found = [embed(piece) for piece in pieces if len(piece) >= least and (piece != piece[0]).any()]
        if not found:
            return None
        mean: Heard = np.mean(found, axis=0)
        return mean / np.linalg.norm(mean)
