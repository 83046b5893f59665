"""`content`: soft units, pitch and dynamics that a content encoder hears in the features of an `ssl` instance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Row, Stage, named_model, per_song
from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import RowError, UsageError
from autosing.signal.ssl import RATE

KINDS = "what `autosing train soft_units` or `autosing train pitdyn` made"


@dataclass(frozen=True)
class ContentStage(Stage):
    """Applies a content encoder; columns are of what it hears.

    Args:
        model: what `autosing train soft_units` or `autosing train pitdyn` made.
        source: the `ssl` instance.
    """

    by_default: ClassVar[bool] = False

    model: str = field(default="", metadata=NOT_IN_DEFINITION)
    source: str = "ssl"

    def columns(self) -> tuple[Column, ...]:
        fields = self._fields()
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
        return (f"{self.source}.ssl",)

    def models(self) -> dict[str, str]:
        return {"model": self._named}

    def setup(self) -> Any:
        from autosing.models.directory import load_model

        return load_model(self._named).model

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: self._heard(song, model))

    @property
    def _named(self) -> str:
        return named_model("content", self.model, KINDS)

    def _fields(self) -> Mapping[str, Any]:
        config = Checkpoint(self._named).config
        if config.get("class") != "content":
            raise UsageError(f"content: {self.model} is no content encoder but a {config.get('class')!r}")
        fields: Mapping[str, Any] = config["fields"]
        return fields

    def _heard(self, song: Song, network: Any) -> Row:
        from autosing.models.content import content_of

        heard = content_of(network, song[f"{self.source}.ssl"])
        found: dict[str, Any] = {}
        if heard.soft_units is not None:
            found["soft_units"] = heard.soft_units
        if heard.pitch_bin is not None and heard.f0_hz is not None:
            found |= {"pitch_bin": heard.pitch_bin, "f0_hz": heard.f0_hz, "voiced": heard.pitch_bin > 0}
        if heard.dynamic_bin is not None:
            found["dynamic_bin"] = heard.dynamic_bin
        return found
