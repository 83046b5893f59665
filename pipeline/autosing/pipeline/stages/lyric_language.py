"""`lyric_language`: the language of a song's lyrics, by their text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row, Stage, per_song
from autosing.signal.errors import RowError
from autosing.signal.language import language, load_identifier
from autosing.signal.lyrics import plain_lines

LRC, RAW = "index.lrc_lyrics", "index.raw_lyrics"


@dataclass(frozen=True)
class LyricLanguage(Stage):
    """Reads the lyrics; the index's `language` is what their owner says, and stays as it is."""

    version: ClassVar[int] = 2

    def columns(self) -> tuple[Column, ...]:
        return (
            Column("lyric_language", pa.large_string(), meaning="ISO 639-1 code; null without lyrics", nullable=True),
            Column("probability", pa.float32(), meaning="of that language, by the text alone", nullable=True),
        )

    def reads(self) -> tuple[str, ...]:
        return (LRC, RAW)

    def models(self) -> dict[str, str]:
        return {"identifier": "wheel:py3langid"}

    def setup(self) -> Any:
        return load_identifier()

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: _told(song, model))


def _told(song: Song, identifier: Any) -> Row:
    found = language(plain_lines(song[LRC], song[RAW]), identifier)
    return {"lyric_language": found.code, "probability": found.probability} if found else {}
