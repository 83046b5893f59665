"""The rate rule: what it promises on any lyrics, and how near it comes on real songs."""

import csv
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosing.signal.lyrics import LrcLine, LrcWord, parse_lrc
from autosing.signal.word_times import Word, characters_proportional, lines_beyond, place_words, syllables

Placement = Callable[[Sequence[LrcLine], float], list[Word]]


def test_a_song_of_equal_lines_follows_the_formula() -> None:
    # One word: 2 characters, 1 syllable, last of its line: w = .268 + 2.25 + .49 + 2.3; two of them: W = w + (w - 2.3).
    lines = [LrcLine(0.0, "la"), LrcLine(10.0, "la la"), LrcLine(20.0, "la")]
    single, double = 5.308, 5.308 + 3.008
    rate = np.percentile([10 / single, 10 / double, 10 / single], 14)
    words = place_words(lines, 30.0)
    assert words[0].end_s == pytest.approx(min(9.5, rate * single + 0.34))
    length_s = min(9.5, rate * double + 0.34)
    assert words[1].end_s == words[2].start_s == pytest.approx(10 + length_s * 3.008 / double)
    assert words[2].end_s == pytest.approx(10 + length_s)
    assert [word.line for word in words] == [0, 1, 1, 2]
    assert not any(word.timed for word in words)


def test_a_long_pause_does_not_stretch_the_line_before_it() -> None:
    lines = [LrcLine(float(start_s), "la la la") for start_s in (0, 3, 6, 9, 60)]
    words = place_words(lines, 63.0)
    assert 9 < words[11].end_s < 12.5
    assert characters_proportional(lines, 63.0)[11].end_s == 60.0


def test_word_stamps_win_and_the_rule_ends_the_last_word() -> None:
    lines = [
        LrcLine(0.0, "la la la"),
        LrcLine(3.0, "a b c", (LrcWord(3.5, "a"), LrcWord(5.0, "b c"))),
        LrcLine(30.0, ""),
    ]
    a, b, c = place_words(lines, 60.0)[3:]
    assert (a.start_s, a.end_s, a.timed) == (3.5, 5.0, True)
    assert (b.start_s, b.timed, c.timed) == (5.0, True, False)
    assert 5.0 < c.start_s < c.end_s < 10.0


def test_end_markers_of_lines_and_words_end_them() -> None:
    assert place_words([LrcLine(1.0, "la"), LrcLine(1.1, "")], 9.0)[0].end_s < 1.1
    stamped = LrcLine(1.0, "la", (LrcWord(1.0, "la"), LrcWord(1.5, "")))
    assert place_words([stamped, LrcLine(8.0, "la")], 9.0)[0].end_s == 1.5


def test_lines_beyond_the_audio_have_no_words_and_are_counted() -> None:
    lines = [LrcLine(1.0, "in"), LrcLine(5.0, "out"), LrcLine(6.0, "")]
    assert [word.text for word in place_words(lines, 5.0)] == ["in"]
    assert lines_beyond(lines, 5.0) == 1


def test_lines_at_one_time_and_no_lines_at_all_are_harmless() -> None:
    first, second = place_words([LrcLine(2.0, "la"), LrcLine(2.0, "lo")], 9.0)
    assert first.start_s == first.end_s == second.start_s < second.end_s
    assert place_words([], 9.0) == place_words([LrcLine(0.0, "...")], 9.0) == []


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("la", 1), ("where", 1), ("the", 1), ("people", 2), ("Veränderung", 4), ("rhythm", 1), ("hm", 1),
        ("привет", 2), ("καλημέρα", 4), ("你", 1), ("カ", 1), ("사랑해", 3), ("สวัสดี", 2), ("99", 2),
    ],
)  # fmt: skip
def test_syllables_are_counted_by_script(word: str, count: int) -> None:
    assert syllables(word) == count


WORD_STAMPS = st.lists(st.builds(LrcWord, st.floats(0, 99), st.sampled_from(["la", "la lo", ""])), min_size=1)


@st.composite
def line(draw: st.DrawFn) -> LrcLine:
    """Draws a line whose word stamps, if any, are in order and not before it, as `parse_lrc` gives them."""
    start_s = draw(st.floats(0, 120))
    words = sorted(draw(WORD_STAMPS), key=lambda word: word.start_s)
    later = tuple(replace(word, start_s=start_s + word.start_s) for word in words)
    return LrcLine(start_s, draw(st.text(max_size=20) | st.just("la la lo")), draw(st.sampled_from([None, later])))


@given(st.lists(line()), st.floats(0, 100))
def test_words_stay_in_order_and_inside_the_audio(lines: list[LrcLine], duration_s: float) -> None:
    lines.sort(key=lambda line: line.start_s)
    for place in (place_words, characters_proportional):
        words = place(lines, duration_s)
        assert all(0 <= word.start_s <= word.end_s <= duration_s for word in words)
        assert all(a.start_s <= b.start_s for a, b in itertools.pairwise(words))


def _errors_s(song: Path, place: Placement) -> npt.NDArray[np.float64]:
    """Returns the distances (W,) in seconds of a real song's placed word starts from its annotated ones."""
    soundfile = pytest.importorskip("soundfile")
    duration_s = soundfile.info(next(song.glob("audio.*"))).duration
    with (song / "words.csv").open() as file:
        truth = [float(row["word_start"]) for row in csv.DictReader(file)]
    words = place(parse_lrc((song / "lyrics.lrc").read_text()).lines, duration_s)
    return np.abs(np.array([word.start_s for word in words]) - truth)


def _measures(songs: list[Path], place: Placement) -> tuple[float, float, float]:
    """Returns the average absolute error in s, its median and the percentage within .3 s, each the mean over songs."""
    errors = [_errors_s(song, place) for song in songs]
    aae_s, median_s, within = np.mean([(e.mean(), np.median(e), 100 * (e <= 0.3).mean()) for e in errors], axis=0)
    return float(aae_s), float(median_s), float(within)


@pytest.mark.parametrize(
    ("folders", "largest_aae_s", "largest_median_s", "least_within"),
    [(["nc/ultrastar/*", "ultrastar/*"], 0.18, 0.11, 85.0), (["nc/jamendolyrics/*"], 0.3, 0.14, 73.0)],
)
def test_the_rate_rule_is_near_the_annotations_of_real_songs_and_beats_the_baseline(
    shared_data: Path, folders: list[str], largest_aae_s: float, largest_median_s: float, least_within: float
) -> None:
    songs = [path for folder in folders for path in sorted(shared_data.glob(folder)) if path.is_dir()]
    aae_s, median_s, within = _measures(songs, place_words)
    assert aae_s <= largest_aae_s
    assert median_s <= largest_median_s
    assert within >= least_within
    assert _measures(songs, characters_proportional)[0] > 2 * aae_s
