"""`token_file`: tokens that others computed, from a Kaldi-style text file (SingOMD's `pseudo_labels_km1024_*`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Row, Stage, per_song
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import fit_length, frames
from autosing.signal.token_text import Tokens, read_token_text, utterance_name

# Encoders without padding leave out the last frame, and windows round.
MOST_MISSING = 3


@dataclass(frozen=True)
class TokenFile(Stage):
    """Takes up a stream of tokens by the names of the songs.

    Args:
        file: the text file: a line for each utterance, its name and its tokens.
        resolution_ms: length of a token in milliseconds.

    Raises:
        UsageError: the resolution is below 1 ms.
    """

    by_default: ClassVar[bool] = False

    file: str = field(default="", metadata=NOT_IN_DEFINITION)
    resolution_ms: int = 20

    def __post_init__(self) -> None:
        if self.resolution_ms < 1:
            raise UsageError(f"token_file: resolution_ms is {self.resolution_ms}; give whole milliseconds from 1 up")

    @property
    def rate(self) -> Fraction:
        """Tokens per second."""
        return Fraction(1000, self.resolution_ms)

    def columns(self) -> tuple[Column, ...]:
        return (Column("tokens", pa.uint16(), self.rate, meaning=f"token of {self.resolution_ms} ms, from a file"),)

    def models(self) -> dict[str, str]:
        if not self.file:
            raise UsageError("token_file: file is missing; give the text file: --set token_file.file=PATH")
        return {"file": self.file}

    def setup(self) -> Mapping[str, Tokens]:
        return read_token_text(Path(self.file))

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: {"tokens": self._tokens(song, model)})

    def _tokens(self, song: Song, streams: Mapping[str, Tokens]) -> Tokens:
        name = utterance_name(song.id)
        if name not in streams:
            raise RowError(f"the token file has no utterance {name}")
        tokens, wanted = streams[name], frames(song.n_samples, song.sample_rate, self.rate)
        if abs(len(tokens) - wanted) > MOST_MISSING or not len(tokens):
            raise RowError(f"{name} has {len(tokens)} tokens in the file, and the song lasts {wanted}")
        return np.asarray(fit_length(tokens, wanted), np.uint16)
