"""Lyrics to lines, lines to times, times to windows: each by itself, without a model."""

import json
import time
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from autosing.models.lyric_tokens import SungWord
from autosing.signal.errors import UsageError
from autosing.synthesis.singing.engine import lines_of
from autosing.synthesis.singing.lyrics import Lyrics, json_lyrics, lrc_lyrics, plain_lyrics
from autosing.synthesis.singing.places import place, song_length_ms
from autosing.synthesis.singing.plan import Limits, Window, plan
from autosing.synthesis.singing.takes import line_borders

PERIOD_S = Fraction(64, 375)
LYRICS = "ada sings a line\nand another one\n\n[Chorus]\nla la la (x2)\nda da"


def windows_of(words: tuple[SungWord, ...], seconds: float, **changes: object) -> list[Window]:
    given = {"window_s": 8.0, "context_s": 2.0, "by_line": False, **changes}
    return plan(words, int(np.ceil(seconds / PERIOD_S)), Limits(PERIOD_S, **given))  # type: ignore[arg-type]


def test_marks_and_blank_lines_are_not_sung() -> None:
    lyrics = plain_lyrics(LYRICS)
    assert [line.text for line in lyrics.lines] == ["ada sings a line", "and another one", "la la la (x2)", "da da"]
    assert lyrics.n_characters == 13 + 13 + 6 + 4 and not lyrics.has_times


def test_stamps_are_times_and_a_stamp_without_text_is_an_end() -> None:
    lyrics = lrc_lyrics("[ti:x]\n[00:01.50]one two\n[00:03]\n[00:05.0][00:09.0]three")
    assert [(line.text, line.start_s, line.end_s) for line in lyrics.lines] == [
        ("one two", 1.5, 3.0), ("three", 5.0, None), ("three", 9.0, None),
    ]  # fmt: skip
    words = place(lyrics, 12.0).words
    assert [word.text for word in words] == ["one", "two", "three", "three"]
    assert words[0].start_s == 1.5 and words[1].end_s is not None and words[1].end_s <= 3.0
    assert (words[2].start_s, words[3].start_s) == (5.0, 9.0)


def test_stamps_that_go_backwards_are_sung_in_order_and_said_to() -> None:
    lyrics = lrc_lyrics("[00:05]b\n[00:01]a")
    assert [line.text for line in lyrics.lines] == ["a", "b"]
    assert "the stamps go backwards" in lyrics.warnings[0]
    assert lrc_lyrics("[00:01][00:09]a\n[00:05]b").warnings == ()
    assert "no stamps: it is taken for plain text" in lrc_lyrics("la la").warnings[0]


def test_nobody_sings_a_short_line_through_a_long_pause() -> None:
    words = place(lrc_lyrics("[00:01]la la\n[00:40]la"), 60.0).words
    assert words[1].end_s is not None and 1.5 < words[1].end_s < 4 and 41 < words[2].end_s < 42


def test_stamps_of_words_are_times_of_words() -> None:
    words = place(lrc_lyrics("[00:01]<00:01>one <00:02.5>two"), 6.0).words
    assert (words[0].start_s, words[0].end_s, words[1].start_s) == (1.0, 2.5, 2.5)


def test_lines_in_json_may_have_times_or_not() -> None:
    lyrics = json_lyrics('["one", {"text": "two", "start_s": 4, "end_s": 5.5}, {"text": "three"}]')
    words = place(lyrics, 10.0).words
    assert words[0].start_s == 0 and words[1].start_s == 4 and words[1].end_s is not None and words[1].end_s <= 5.5
    assert words[2].start_s is not None and 5.5 <= words[2].start_s < 10


def test_an_end_in_json_is_where_the_next_line_begins_that_has_no_time() -> None:
    lyrics = json_lyrics('[{"text": "one", "start_s": 1, "end_s": 3}, "two", "two", {"text": "four", "start_s": 9}]')
    words = place(lyrics, 12.0).words
    assert [word.start_s for word in words] == [1, 3, 6, 9]
    assert song_length_ms(json_lyrics('[{"text": "one", "start_s": 1, "end_s": 3}, "aaaaaaa"]'), None) == 4_500
    # One that is later than the next line says nothing.
    late = json_lyrics('[{"text": "one", "start_s": 1, "end_s": 20}, "two", {"text": "four", "start_s": 9}]')
    assert [word.start_s for word in place(late, 12.0).words] == [1, 5, 9]


def test_lines_of_one_stamp_are_sung_one_after_the_other_and_said_to() -> None:
    placed = place(lrc_lyrics("[00:01]la la\n[00:01]da da\n[00:05]la la\n[00:05]<00:05>da <00:06>da"), 9.0)
    assert [word.start_s for word in placed.words if word.start_s][::2] == [1, 3, 5, 7]
    assert placed.warnings == ("lines with the time of the one before them are sung behind it: 2",)
    # Without any other time they are plain lyrics.
    unsynced = lrc_lyrics("[00:00.00]some words that are sung\n" * 60)
    length_ms = song_length_ms(unsynced, None)
    assert length_ms == song_length_ms(plain_lyrics("some words that are sung\n" * 60), None)
    starts_s = [word.start_s or 0.0 for word in place(unsynced, length_ms / 1000).words]
    assert max(b - a for a, b in pairwise(starts_s)) < 3


@pytest.mark.parametrize(
    ("lyrics", "message"),
    [
        (
            lrc_lyrics("[00:00.00]la la la la la\n" * 60),
            r"line 1 \(la la la la la\) at 0 s: 60 lines of 600 characters",
        ),
        (
            json_lyrics(json.dumps([{"text": "la", "start_s": 3}, *["la la"] * 5000])),
            "line 1 .* 5001 lines .* have 12 s",
        ),
        (lrc_lyrics(f"[00:02]la\n[00:04]{'la ' * 150}\n[00:05]la"), r"line 2 .* at 4 s: 1 lines .* give each line its"),
    ],
)
def test_times_that_nobody_can_sing_in_are_refused(lyrics: Lyrics, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        place(lyrics, 15.0)


def test_a_line_that_is_a_little_too_quick_is_sung_and_said_to_be() -> None:
    told = "lyrics have less time than it takes to sing them in 1 places: line 1 (la la la la la la) at 1 s"
    assert place(lrc_lyrics("[00:01]la la la la la la\n[00:01.2]la\n[00:30]" + "la " * 99), 12.0).warnings[1:] == (
        told,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("{}", "is no list of lines"),
        ("[3]", "line 1 is 3; give a list of lines"),
        ('[{"txt": "a"}]', "txt: unknown; known: end_s, start_s, text"),
        ('[{"text": "a", "start_s": 3}, {"text": "b", "start_s": 1}]', "line 2 begins at 1 s, before one that stands"),
        ('[{"text": "a", "start_s": 3, "end_s": 3}]', "the end last"),
        ('[{"text": "a", "start_s": -1}]', "seconds from 0 on"),
        ('[{"text": "a", "end_s": 1}]', "an end and no start"),
        ("[]", "no word to sing"),
    ],
)
def test_json_of_another_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        json_lyrics(text)


@pytest.mark.parametrize("text", ["", " \n\n", "[Chorus]\n...", "?!"])
def test_lyrics_without_a_word_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no word to sing"):
        plain_lyrics(text)


def test_a_song_is_as_long_as_is_wanted_or_given_or_as_lyrics_take() -> None:
    plain, stamped = plain_lyrics("x" * 70), lrc_lyrics("[00:20]xxxxxxx")
    assert song_length_ms(plain, 15.0, 99.0) == 15_000
    assert song_length_ms(plain, None, 99.0) == 99_000
    assert song_length_ms(plain, None) == 10_500 and song_length_ms(plain, None, pace=14) == 5_500
    assert song_length_ms(stamped, None) == 21_500
    assert song_length_ms(json_lyrics('["a", {"text": "b", "start_s": 2, "end_s": 7}]'), None) == 7_500


@pytest.mark.parametrize(
    ("lines", "length_s", "message"),
    [
        (5000, 15.0, "more than the 20 that are ever sung; at 7 they take"),
        (5000, None, r"would be 18571.93 s long \(5000 lines\)"),
        (1, 0.2, "from 0.5 to 3600 s"),
        (1, float("nan"), "from 0.5 to 3600 s"),
    ],
)
def test_a_length_that_nobody_can_sing_is_refused(lines: int, length_s: float | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        song_length_ms(plain_lyrics("some words that are sung all day\n" * lines), length_s)


def test_lines_beyond_the_end_are_left_out_and_said_to_and_all_of_them_refused() -> None:
    lyrics = lrc_lyrics("[00:01]a\n[00:20]b\n[00:30]c")
    placed = place(lyrics, 10.0)
    assert [word.text for word in placed.words] == ["a"]
    assert placed.warnings == ("lines that begin after the end of the song (10 s) are left out: 2",)
    with pytest.raises(UsageError, match=r"all lyrics begin after the end of the song \(0.9 s\), the first at 1 s"):
        place(lyrics, 0.9)


def random_lyrics(seed: int) -> tuple[Lyrics, float]:
    """Returns lyrics with stamps or without, of lines of any length, and the length of their song."""
    rng = np.random.default_rng(seed)
    lines = [" ".join("la" * rng.integers(1, 4) for _ in range(rng.integers(1, 30))) for _ in range(rng.integers(1, 9))]
    starts_s = np.cumsum(rng.exponential(6, len(lines)))
    if rng.random() < 0.5:
        return plain_lyrics("\n".join(lines)), float(rng.uniform(1, 90))
    rows = [f"[{int(t // 60):02d}:{t % 60:05.2f}]{line}" for t, line in zip(starts_s, lines, strict=True)]
    return lrc_lyrics("\n".join(rows)), float(starts_s[-1] + rng.uniform(0.5, 40))


def middle_s(word: SungWord) -> float:
    assert word.start_s is not None and word.end_s is not None
    return (word.start_s + word.end_s) / 2


@pytest.mark.parametrize("by_line", [False, True])
def test_windows_cover_a_song_exactly_and_every_word_is_new_once(by_line: bool) -> None:
    for seed in range(60):
        lyrics, length_s = random_lyrics(seed)
        words = place(lyrics, length_s).words
        windows = windows_of(words, length_s, by_line=by_line)
        assert [word for window in windows for word in window.words] == list(words)
        assert windows[0].start == windows[0].context == 0
        assert windows[-1].end == int(np.ceil(length_s / PERIOD_S))
        stretch = 0
        for before, window in pairwise(windows):
            assert window.start == before.end and before.start < before.end
            if before.is_rest or window.is_rest:
                stretch = window.start
            assert window.context == max(window.start - int(2 / PERIOD_S), stretch)
            heard = [*before.before, *before.words]
            assert list(window.before) == heard[len(heard) - len(window.before) :]
        for window in windows:
            assert window.end > window.context
            assert not window.words if window.is_rest else window.end - window.context <= int(8 / PERIOD_S)
            assert all(middle_s(word) >= (window.start - 1) * PERIOD_S for word in window.words)


def test_long_rests_are_windows_of_their_own_and_short_ones_are_not() -> None:
    lyrics = lrc_lyrics("[00:05]one\n[00:06]\n[00:08.2]two\n[00:09]\n[00:30]three\n[00:31]")
    windows = windows_of(place(lyrics, 40.0).words, 40.0)
    assert [[word.text for word in window.words] for window in windows] == [[], ["one", "two"], [], ["three"], []]
    at_s = [round(float(window.start * PERIOD_S), 1) for window in windows]
    assert [window.is_rest for window in windows] == [True, False, True, False, True]
    assert at_s == pytest.approx([0, 4.7, 10.0, 29.7, 32.0], abs=float(PERIOD_S))
    assert all(window.context == window.start and not window.before for window in windows)
    # A song that ends, or begins, near a word has none there.
    near = windows_of(place(lrc_lyrics("[00:01]one\n[00:02]"), 4.0).words, 4.0)
    assert [(window.start, bool(window.words)) for window in near] == [(0, True)]


def test_windows_end_where_lines_begin_where_one_is_in_reach() -> None:
    rows = [f"[00:{3 * n:02d}]la la la la" for n in range(12)]
    windows = windows_of(place(lrc_lyrics("\n".join(rows)), 35.0).words, 35.0)
    assert [len({word.line for word in window.words}) for window in windows] == [2, 2, 2, 2, 2, 2]
    assert [round(float(window.start * PERIOD_S)) for window in windows] == [0, 6, 12, 18, 24, 30]
    alone = windows_of(place(lrc_lyrics("\n".join(rows)), 35.0).words, 35.0, by_line=True)
    assert [round(float(window.start * PERIOD_S)) for window in alone] == [*range(0, 36, 3)]


def test_songs_are_taken_apart_only_where_a_window_begins_with_a_line() -> None:
    words = place(lrc_lyrics("[00:02]one\n[00:14]" + "two " * 30 + "\n[00:40]" + "three " * 20), 50.0).words
    windows = windows_of(words, 50.0)
    borders = line_borders((float(one.start * PERIOD_S), lines_of(one.words)) for one in windows)
    assert [line for _, line in borders] == [0, 1, 2] and len(windows) > 6
    assert [at_s for at_s, _ in borders[1:]] == pytest.approx([13.7, 39.7], abs=0.2)


def test_a_line_is_not_torn_by_the_pause_behind_it() -> None:
    words = place(lrc_lyrics("[00:02]one two three\n[00:05]\n[00:40]four"), 60.0).words
    windows = windows_of(words, 60.0)
    assert [[word.text for word in window.words] for window in windows if window.words] == [
        ["one", "two", "three"], ["four"],
    ]  # fmt: skip


def test_a_line_that_is_longer_than_a_window_is_parted_between_words() -> None:
    words = place(plain_lyrics("la " * 60), 40.0).words
    windows = windows_of(words, 40.0)
    assert len(windows) > 4 and all(window.words for window in windows)
    for window in windows[1:]:
        assert float(window.start * PERIOD_S) == pytest.approx(window.words[0].start_s, abs=float(PERIOD_S))


def test_five_thousand_lines_are_planned_at_once() -> None:
    words = place(plain_lyrics("some words\n" * 5000), 3600.0).words
    started = time.process_time()
    windows = windows_of(words, 3600.0)
    assert sum(len(window.words) for window in windows) == 10_000 and time.process_time() - started < 2


@pytest.mark.parametrize(("window_s", "context_s"), [(8, 5), (1, 0), (8, -1)])
def test_windows_without_room_for_anything_new_are_refused(window_s: float, context_s: float) -> None:
    with pytest.raises(UsageError, match=r"--window is \d+ and --context"):
        Limits(PERIOD_S, window_s, context_s)
