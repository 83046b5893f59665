"""LRC texts as they are found in the wild, and the words in their lines."""

import csv
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosing.signal.lyrics import LrcLine, LrcWord, parse_lrc, split_words


@pytest.mark.parametrize(
    ("stamp", "start_s"),
    [
        ("[01:02]", 62.0),
        ("[1:2.5]", 62.5),
        ("[01:02.50]", 62.5),
        ("[01:02.500]", 62.5),
        ("[01:02:50]", 62.5),
        ("[01:02,05]", 62.05),
        ("[01:01:02.50]", 3662.5),
        ("[100:00.00]", 6000.0),
        (" [ 01:02.50 ] ", 62.5),
    ],
)
def test_every_form_of_stamp_is_read(stamp: str, start_s: float) -> None:
    assert parse_lrc(f"{stamp}la la").lines == (LrcLine(start_s, "la la"),)


def test_a_row_with_several_stamps_gives_a_line_for_each() -> None:
    lines = parse_lrc("[00:20.00][00:05.00]again\n[00:10.00]once").lines
    assert [(line.start_s, line.text) for line in lines] == [(5.0, "again"), (10.0, "once"), (20.0, "again")]


def test_equal_stamps_keep_their_order() -> None:
    lines = parse_lrc("[00:09.00]late\n[00:05.00]first\n[00:05.00]second").lines
    assert [line.text for line in lines] == ["first", "second", "late"]


def test_a_positive_offset_makes_lyrics_earlier_but_not_before_zero() -> None:
    lrc = parse_lrc("[offset:+1500]\n[00:01.00]a\n[00:10.00]<00:10.00>b <00:11.00>c")
    assert lrc.offset_s == 1.5
    assert [line.start_s for line in lrc.lines] == [0.0, 8.5]
    assert lrc.lines[1].words == (LrcWord(8.5, "b"), LrcWord(9.5, "c"))
    assert parse_lrc("[offset: -250]\n[00:01.00]a").lines[0].start_s == 1.25


def test_an_offset_that_is_no_number_is_kept_as_a_tag_and_moves_nothing() -> None:
    lrc = parse_lrc("[offset:soon]\n[00:01.00]a")
    assert (lrc.offset_s, lrc.tags["offset"], lrc.lines[0].start_s) == (0.0, "soon", 1.0)


def test_tags_byte_order_mark_line_ends_and_blank_rows_are_understood() -> None:
    lrc = parse_lrc("\ufeff[ti: A Song ]\r\n[AR:Someone: the Band]\r\n\r\n[00:01.00]la\r\n")
    assert lrc.tags == {"ti": "A Song", "ar": "Someone: the Band"}
    assert [line.text for line in lrc.lines] == ["la"]
    assert lrc.ignored_rows == 0


def test_an_empty_stamped_line_stays_as_an_end_marker() -> None:
    assert parse_lrc("[00:01.00]la\n[00:03.00]  \n[00:09.00]lo").lines[1] == LrcLine(3.0, "")


def test_rows_without_stamps_are_kept_out_and_counted() -> None:
    lrc = parse_lrc("some text\n[00:01.00]la\n[00:0x.00]lo\n[-1:00.00]lu")
    assert [line.text for line in lrc.lines] == ["la"]
    assert lrc.ignored_rows == 3
    assert parse_lrc("no time stamps\nat all").lines == ()


def test_word_stamps_are_read_and_an_empty_one_ends_the_word_before() -> None:
    line = parse_lrc("[00:01.00] <00:01.10> Hello <00:01.50> big world <00:02.50>").lines[0]
    assert line.text == "Hello big world"
    assert line.words == (LrcWord(1.1, "Hello"), LrcWord(1.5, "big world"), LrcWord(2.5, ""))


def test_syllables_with_stamps_of_their_own_are_joined_but_ideograms_are_not() -> None:
    line = parse_lrc("[00:01.00]Hel<00:01.50>lo <00:02.00>world").lines[0]
    assert line.words == (LrcWord(1.0, "Hello"), LrcWord(2.0, "world"))
    line = parse_lrc("[00:01.00]<00:01.00>你<00:02.00>好").lines[0]
    assert line.words == (LrcWord(1.0, "你"), LrcWord(2.0, "好"))


def test_word_stamps_may_be_in_square_brackets_and_never_go_back() -> None:
    line = parse_lrc("[00:05.00]one [00:04.00]two [00:06.00]three").lines[0]
    assert line.words == (LrcWord(5.0, "one"), LrcWord(5.0, "two"), LrcWord(6.0, "three"))


def test_the_word_stamps_of_a_repeated_line_move_with_it() -> None:
    first, second = parse_lrc("[00:01.00][00:11.00]<00:01.00>la <00:01.50>lo").lines
    assert first.words == (LrcWord(1.0, "la"), LrcWord(1.5, "lo"))
    assert second.words == (LrcWord(11.0, "la"), LrcWord(11.5, "lo"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Hello, world - again!", ["Hello", "world", "again"]),
        ("'Cause I don\u2019t, runnin'", ["'Cause", "I", "don't", "runnin'"]),
        ("wait...what\u2014now", ["wait", "what", "now"]),
        ("la-la (x2) ooh \u00d72 3x", ["la-la", "ooh"]),
        ("[Chorus] (we sing) \u266a\u266a", ["we", "sing"]),
        ("你好，世界 ok", ["你", "好", "世", "界", "ok"]),
        ("カラ オケ", ["カ", "ラ", "オ", "ケ"]),
        ("ｶﾞ", ["ガ"]),
        ("사랑해 너를", ["사랑해", "너를"]),
        ("สวัสดี ครับ", ["สวัสดี", "ครับ"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("¿Qué? cafe\u0301", ["Qué", "café"]),
        ("", []),
        ("--- ... '", []),
    ],
)
def test_words_are_split_as_they_are_sung(line: str, words: list[str]) -> None:
    assert split_words(line) == words


LRC_LIKE = st.lists(
    st.sampled_from(["[", "]", "<", ">", ":", ".", "0", "59", "99", "[00:01.00]", "[offset:+", "\n", "é", " "])
)


@given(st.text() | LRC_LIKE.map("".join))
def test_any_text_parses_to_ordered_finite_times(text: str) -> None:
    lines = parse_lrc(text).lines
    starts = [line.start_s for line in lines]
    words = [word.start_s for line in lines for word in line.words or ()]
    assert all(math.isfinite(time_s) and time_s >= 0 for time_s in starts + words)
    assert starts == sorted(starts)


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_splits_into_words_with_letters_or_digits(text: str) -> None:
    assert all(any(c.isalnum() for c in word) for word in split_words(text))


def test_the_words_of_real_lrc_files_are_those_of_their_annotations(shared_data: Path) -> None:
    for path in sorted(shared_data.glob("**/lyrics.lrc")):
        lrc = parse_lrc(path.read_text())
        with (path.parent / "words.csv").open() as file:
            words = [row["word"] for row in csv.DictReader(file)]
        assert [w for line in lrc.lines for w in split_words(line.text)] == [
            w for word in words for w in split_words(word)
        ]
        assert all(len(split_words(word)) == 1 for word in words)
        assert lrc.ignored_rows == 0
