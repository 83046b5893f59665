"""The `lyric_language` stage."""

from typing import Any

import pytest

from autosing.pipeline.song import Song
from autosing.pipeline.stages.lyric_language import LyricLanguage

LYRICS = {
    "en": "I was walking down the street\nthinking of the days we had",
    "de": "Ich ging heute durch die Straßen\nund dachte an die alte Zeit",
    "fr": "Je marchais dans la rue\nen pensant aux jours passés",
    "es": "Caminaba por la calle\npensando en los días que vivimos",
    "ja": "きょうも みちを あるいて\nむかしの ことを おもいだす",
    "ru": "Я шёл сегодня по улице\nи думал о прошедших днях",
}


def told(lrc: str | None, raw: str | None = None) -> Any:
    stage = LyricLanguage()
    values = {"index.lrc_lyrics": lrc, "index.raw_lyrics": raw}
    (row,) = stage.process([Song("a", values, {})], stage.setup())
    assert isinstance(row, dict)
    return row.get("lyric_language")


@pytest.mark.parametrize("code", LYRICS)
def test_the_language_is_told_from_either_kind_of_lyrics(code: str) -> None:
    lrc = "[ti:Une chanson française pour vous]\n[00:01.00]" + LYRICS[code].replace("\n", "\n[00:05.00]")
    assert told(None, LYRICS[code]) == told(lrc) == told(LYRICS[code]) == code


@pytest.mark.parametrize("text", [None, "", "[instrumental]", "[00:01.00]\n[00:02.00]", "(x2) ..."])
def test_no_lyrics_have_no_language(text: str | None) -> None:
    assert told(text) is None and told(None, text) is None
