"""Annotated words are the words of the lyrics, in their order and with their lines, whatever an annotation writes."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_sources import brief, textgrid, write

from autosing.pipeline.ingest.annotation import (
    Lyrics,
    Note,
    Timed,
    TimedLine,
    joined,
    lyrics_of,
    midi_of,
    reference,
    seconds,
    stamped,
)
from autosing.pipeline.ingest.languages import language_tag
from autosing.pipeline.ingest.textgrid import read_textgrid
from autosing.signal.errors import RowError
from autosing.signal.lyrics import parse_lrc, split_words


def line(text: str, *parts: tuple[str, float, float]) -> TimedLine:
    return TimedLine(text, [Timed(*part) for part in parts])


def words(*lines: TimedLine) -> list[tuple[object, ...]]:
    return brief(reference(lyrics_of(lines))["ref_words"])


def test_lines_are_in_order_of_time_and_those_without_words_are_left_out() -> None:
    later = line("b c", ("b", 2, 3), ("c", 3, 4))
    assert words(later, line("♪ [Solo]", ("♪", 1.5, 2)), line("a", ("a", 1, 2))) == [
        *[("a", 1000, 2000, 0), ("b", 2000, 3000, 1), ("c", 3000, 4000, 1)],
    ]
    assert lyrics_of([later]).lrc == "[00:02.000]b c\n"


def test_a_part_that_is_several_words_is_divided_by_letters() -> None:
    assert words(line("rock—paper", ("rock—paper", 0, 0.9))) == [("rock", 0, 400, 0), ("paper", 400, 900, 0)]
    assert words(line("你好 ok", ("你好", 0, 1), ("ok", 1, 2))) == [
        *[("你", 0, 500, 0), ("好", 500, 1000, 0), ("ok", 1000, 2000, 0)],
    ]


def test_parts_that_are_one_word_are_joined() -> None:
    assert words(line("wonderful day", ("won", 0, 1), ("der", 1, 2), ("ful", 3, 4), ("day", 4, 5))) == [
        *[("wonderful", 0, 4000, 0), ("day", 4000, 5000, 0)],
    ]


def test_what_is_not_sung_is_dropped_from_both() -> None:
    assert words(line("Oh, -- (x2) WELL!", ("oh", 0, 1), ("--", 1, 2), ("(x2)", 2, 3), ("well", 3, 4))) == [
        *[("Oh", 0, 1000, 0), ("WELL", 3000, 4000, 0)],
    ]


@pytest.mark.parametrize(
    "parts", [(), (("a", 0, 1),), (("a", 0, 1), ("c", 1, 2)), (("a", 0, 1), ("b", 1, 2), ("c", 2, 3))]
)
def test_a_line_is_never_misaligned(parts: tuple[tuple[str, float, float], ...]) -> None:
    with pytest.raises(RowError, match="the line 'a b' has other letters than its timed parts"):
        lyrics_of([line("a b", *parts)])


def test_a_line_that_looks_like_stamps_is_refused() -> None:
    with pytest.raises(RowError, match="something like an LRC stamp"):
        stamped([line("[00:10.00] a", ("a", 1, 2))])


def test_an_hour_is_sixty_minutes_and_a_negative_time_is_the_start() -> None:
    assert stamped([TimedLine("b", (), 3723.0456), TimedLine("a", (), -1)]) == "[00:00.000]a\n[62:03.046]b\n"


WORD = st.text(st.sampled_from("aéßﬁ½ñ你か'-…!.♪ x2(") | st.characters(codec="utf-8"), max_size=6)


@given(st.lists(st.lists(st.tuples(WORD, st.floats(0, 50), st.floats(0, 9)), max_size=5), max_size=4))
def test_any_words_give_lyrics_that_read_back_as_they_are(drawn: list[list[tuple[str, float, float]]]) -> None:
    timed = [[Timed(t, s, s + d) for t, s, d in parts] for parts in drawn]
    try:
        made = lyrics_of(TimedLine(" ".join(p.text for p in parts), parts) for parts in timed)
    except RowError:
        return
    lines = [split_words(row.text) for row in parse_lrc(made.lrc).lines]
    assert [w for its in lines for w in its] == [word.text for word in made.words]
    assert [n for n, its in enumerate(lines) for _ in its] == made.line_of
    assert all(math.isfinite(w.start_s) and w.start_s <= w.end_s for w in made.words)


def test_phones_and_notes_without_length_are_left_out_and_notes_are_in_order() -> None:
    notes = [Note("b", 2, 3, 61), Note("a", 0, 1, 60), Note("c", 3, 3, 62)]
    known = reference(None, [Timed("p", 1, 1), Timed("a", -1, 2)], notes)
    assert brief(known["ref_phones"]) == [("a", 0, 2000)]
    assert brief(known["ref_notes"]) == [("a", 0, 1000, 60), ("b", 2000, 3000, 61)]


@pytest.mark.parametrize("value", [None, "x", math.nan, math.inf, 1e9, True, []])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(RowError, match="is no time in seconds"):
        seconds(value)
    with pytest.raises(RowError, match="is no time in seconds"):
        reference(Lyrics("", "", [Timed("a", 0, value)], [0]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "midi"),
    [("C4", 60), ("D#4/Eb4", 63), ("F#3", 54), ("Bb5", 82), ("Gb4", 66), ("C-1", 0), ("rest", None), ("", None)],
)
def test_notes_have_numbers(name: str, midi: float | None) -> None:
    assert midi_of(name) == midi


def test_words_are_joined_as_their_script_writes_them() -> None:
    assert joined(["感", "受", "ok", "go", "か", "な"]) == "感受 ok go かな"


@pytest.mark.parametrize(
    ("names", "tags"),
    [("English", "en"), ("Deutsch", "de"), ("zh-TW", "zh-TW"), ("English, French", "en, fr"), ("", None), (None, None)],
)
def test_languages_have_tags(names: str | None, tags: str | None) -> None:
    assert language_tag(names) == tags


def test_a_textgrid_is_read_in_any_of_its_encodings(tmp_path: Path) -> None:
    text = textgrid({"汉字": [(0, 0.5, '感 ""x""'), (0.5, 1.0, "")], "phones": [(0, 1.0, "a")]})
    for encoding in ("utf-8", "utf-16"):
        write(tmp_path, {"ö 感.TextGrid": text.encode(encoding)})
        tiers = read_textgrid(tmp_path / "ö 感.TextGrid", "x")
        assert tiers["汉字"] == [Timed('感 "x"', 0, 0.5), Timed("", 0.5, 1.0)] and list(tiers) == ["汉字", "phones"]


def test_a_sound_is_no_textgrid(tmp_path: Path) -> None:
    other = 'File type = "ooTextFile"\nObject class = "PitchTier"\n\n0\n1\n1\n0.5\n100\n'
    with pytest.raises(RowError, match="x holds other data of Praat, no TextGrid"):
        read_textgrid(write(tmp_path, {"a": other}) / "a", "x")
