"""`semantic`: one token stream of what is sung, that a semantic bottleneck hears in the features of `ssl`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Row, Stage, named_model, per_song
from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import frames
from autosing.signal.ssl import RATE

KIND = "what `autosing train semantic` made"


@dataclass(frozen=True)
class SemanticStage(Stage):
    """Applies a semantic bottleneck.

    Args:
        model: what `autosing train semantic` made.
        source: the `ssl` instance.
    """

    by_default: ClassVar[bool] = False

    model: str = field(default="", metadata=NOT_IN_DEFINITION)
    source: str = "ssl"

    def columns(self) -> tuple[Column, ...]:
        fields = self._fields()
        rate = Fraction(fields["token_rate"])
        return (Column("semantic", pa.uint16(), rate, meaning="what is sung", n_tokens=fields["n_tokens"]),)

    def reads(self) -> tuple[str, ...]:
        return (f"{self.source}.ssl",)

    def models(self) -> dict[str, str]:
        return {"model": self._named}

    def setup(self) -> Any:
        from autosing.models.directory import load_model

        return load_model(self._named).model

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: self._tokens(song, model))

    @property
    def _named(self) -> str:
        return named_model("semantic", self.model, KIND)

    def _fields(self) -> Mapping[str, Any]:
        config = Checkpoint(self._named).config
        if config.get("class") != "semantic":
            raise UsageError(f"semantic: {self.model} is no semantic bottleneck but a {config.get('class')!r}")
        fields: Mapping[str, Any] = config["fields"]
        if Fraction(fields["rate"]) != RATE:
            raise UsageError(
                f"semantic: {self.model} was trained on features at {fields['rate']} Hz, and those of `ssl` are at "
                f"{RATE} Hz; train it on a column of `ssl`"
            )
        return fields

    def _tokens(self, song: Song, network: Any) -> Row:
        from autosing.models.semantic import tokens_of

        n_tokens = frames(song.n_samples, song.sample_rate, Fraction(network.fields.token_rate))
        return {"semantic": tokens_of(network, song[f"{self.source}.ssl"], n_tokens)}
