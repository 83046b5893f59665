"""`align`: when each word is sung. The `rate` rule places words inside their LRC lines from the text alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from autosing.pipeline.schema import LINES, WORDS, Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row, Stage, per_song
from autosing.signal.errors import RowError
from autosing.signal.lyrics import parse_lrc
from autosing.signal.word_times import Word, place_words

LYRICS, DURATION = "index.lrc_lyrics", "probe.duration_s"
NOTHING: Row = {"words": None, "lines": None}


@dataclass(frozen=True)
class Align(Stage):
    """Times of words and lines; null where the song has no LRC lyrics."""

    method: Literal["rate"] = "rate"

    def columns(self) -> tuple[Column, ...]:
        return (
            Column("words", WORDS, meaning="each word with its time and the number of its line", nullable=True),
            Column(
                "lines", LINES, meaning="each line from its first word's start to its last word's end", nullable=True
            ),
        )

    def reads(self) -> tuple[str, ...]:
        return (LYRICS, DURATION)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, _align)


def _align(song: Song) -> Row:
    text = song[LYRICS]
    if not text or not text.strip():
        return NOTHING
    lrc = parse_lrc(text)
    if not lrc.lines:
        raise RowError("lrc_lyrics has no time stamps ([mm:ss.xx]); put lyrics without times into raw_lyrics")
    words = place_words(lrc.lines, song[DURATION])
    if not words and any(line.text.strip() for line in lrc.lines):
        raise RowError(f"all lyrics begin after the end of the song ({song[DURATION]:.1f} s): lyrics of another song?")
    return {"words": [_struct(word) for word in words], "lines": _lines(words)}


def _struct(word: Word) -> dict[str, Any]:
    return {"text": word.text, "start_s": word.start_s, "end_s": word.end_s, "line": word.line}


def _lines(words: Sequence[Word]) -> list[dict[str, Any]]:
    groups: dict[int, list[Word]] = {}
    for word in words:
        groups.setdefault(word.line, []).append(word)
    return [
        {"text": " ".join(w.text for w in line), "start_s": line[0].start_s, "end_s": line[-1].end_s}
        for line in groups.values()
    ]
