"""Cuts by singing: the best ones by exhaustive search, no word split, every second kept or told why not."""

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosing.signal.dropped import (
    LEFT_OVER,
    LONG_LINE,
    LONG_WORD,
    NO_PAUSE,
    NOT_SUNG,
    NOT_TRUSTED,
    REASONS,
    TOO_LITTLE,
    TOO_SHORT,
    Cause,
    Dropped,
    tiled,
)
from autosing.signal.errors import UsageError
from autosing.signal.intervals import Floats, Interval, Singing, active, gaps, union
from autosing.signal.sung_cuts import (
    COST_OF_A_CUT_S,
    COST_OF_AN_EDGE_S,
    COST_OF_SILENCE,
    NEAR_S,
    VOICE_RATE_HZ,
    Borders,
    Rule,
    Sung,
    best_cuts,
    border_points,
    sung_cuts,
)

NONE = np.empty((0, 2))
SHORT = Rule(min_s=1.0, max_s=4.0)


def table(*intervals: Interval) -> Floats:
    return np.array(intervals, np.float64).reshape(-1, 2)


def song(
    duration_s: float, voice: Floats, words: Floats = NONE, lines: Floats = NONE, distrusted: Floats = NONE
) -> Sung:
    return Sung(duration_s, voice, words, lines, distrusted)


def told(dropped: Sequence[Dropped]) -> list[tuple[str, float, float]]:
    return [(reason, round(start_s, 3), round(end_s, 3)) for reason, start_s, end_s in dropped]


def assert_tiles(cuts: Sequence[Interval], dropped: Sequence[Dropped], duration_s: float) -> None:
    pieces = sorted([*cuts, *((d.start_s, d.end_s) for d in dropped)])
    edges = [0.0, *(end for _, end in pieces)]
    assert [start for start, _ in pieces] == edges[:-1] and edges[-1] == duration_s
    assert all(end > start for start, end in pieces)
    assert all(d.reason in REASONS for d in dropped)
    assert all((a.reason, a.end_s) != (b.reason, b.start_s) for a, b in pairwise(dropped))


def overlap_s(a: Interval, spans: Floats) -> float:
    """Returns how much of an interval lies in disjoint spans, one after the other."""
    return float(sum(max(min(a[1], end) - max(a[0], start), 0.0) for start, end in spans))


def worth(cut: Interval, voice: Floats) -> float:
    """Returns what a cut is worth, from the definition alone."""
    sung, length = overlap_s(cut, voice), cut[1] - cut[0]
    edges = sum(overlap_s((t - NEAR_S, t + NEAR_S), voice) / (2 * NEAR_S) for t in cut)
    return sung - COST_OF_SILENCE * (length - sung) - COST_OF_AN_EDGE_S * edges - COST_OF_A_CUT_S


def is_allowed(cut: Interval, voice: Floats, distrusted: Floats, rule: Rule) -> bool:
    length = cut[1] - cut[0]
    enough = overlap_s(cut, voice) >= rule.least_sung * length - 1e-6
    fits = rule.min_s - 1e-6 <= length <= rule.max_s + 1e-6
    return fits and enough and overlap_s(cut, distrusted) == 0


def every_set(points: Sequence[float]) -> Iterator[list[Interval]]:
    """Yields every set of cuts between points that do not overlap."""
    yield []
    for i, start in enumerate(points):
        for j in range(i + 1, len(points)):
            yield from ([(start, points[j]), *rest] for rest in every_set(points[j:]))


@st.composite
def runs(draw: st.DrawFn, duration_s: float, longest_s: float) -> Floats:
    """Draws disjoint stretches on a grid of 20 ms, some of which touch."""
    lengths = draw(st.lists(st.tuples(st.integers(0, 75), st.integers(1, int(50 * longest_s))), max_size=12))
    edges = np.cumsum(np.array(lengths, np.int64).ravel()).reshape(-1, 2) / 50
    return edges[edges[:, 1] <= duration_s]


@st.composite
def songs(draw: st.DrawFn) -> Sung:
    duration_s = draw(st.integers(0, 2000)) / 100
    voice, words = draw(runs(duration_s, 3.0)), draw(runs(duration_s + 5, 6.0))
    groups = np.array_split(words, max(len(words) // 3, 1))
    lines = table(*((group[0, 0], group[-1, 1]) for group in groups if len(group)))
    chosen = draw(st.lists(st.booleans(), min_size=len(lines), max_size=len(lines)))
    return Sung(duration_s, voice, words, lines, lines[np.array(chosen, bool)])


rules = st.builds(
    lambda shortest, more, share, borders: Rule(shortest, shortest + more, share, borders),
    *(st.sampled_from([0.2, 1.0, 3.0]), st.sampled_from([0.0, 1.0, 5.5]), st.sampled_from([0.3, 0.8, 1.0])),
    st.sampled_from(["free", "line", "phrase"]),
)


@settings(max_examples=150, deadline=None)
@given(songs(), rules)
def test_cuts_and_dropped_tile_the_song_and_keep_every_promise(song: Sung, rule: Rule) -> None:
    cuts, dropped = sung_cuts(song, rule)
    assert_tiles(cuts, dropped, song.duration_s)
    for cut in cuts:
        assert is_allowed(cut, song.voice, union(song.distrusted), rule)
        for time_s in cut:
            assert not any(start < time_s < end for start, end in np.minimum(song.words, song.duration_s))
            if rule.borders == "line":
                assert not any(start < time_s < end for start, end in np.minimum(song.lines, song.duration_s))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=0, max_size=6, unique=True), runs(6.0, 2.0), runs(6.0, 0.3), rules)
def test_no_other_cuts_between_the_same_points_are_worth_more(
    tenths: list[int], voice: Floats, distrusted: Floats, rule: Rule
) -> None:
    points = [t / 10 for t in sorted(tenths)]
    rule = Rule(min(rule.min_s, 1.0), rule.max_s, rule.least_sung)
    found = best_cuts(np.array(points), Singing.of(voice), union(distrusted), rule)
    allowed = (s for s in every_set(points) if all(is_allowed(cut, voice, distrusted, rule) for cut in s))
    best = max(sum(worth(cut, voice) for cut in cuts) for cuts in allowed)
    assert sum(worth(cut, voice) for cut in found) == pytest.approx(best, abs=1e-6)
    assert all(is_allowed(cut, voice, distrusted, rule) for cut in found)


def autosings_cuts(voiced: Sequence[bool], length: int, share: float) -> list[Interval]:
    """Returns the fixed chunks on whole seconds that AutoSing's programme finds (`while i > chunk_length`)."""
    most, taken = [0] * (len(voiced) + 1), [False] * (len(voiced) + 1)
    for i in range(1, len(voiced) + 1):
        most[i] = most[i - 1]
        if i >= length and most[i - length] + (np.mean(voiced[i - length : i]) >= share) > most[i]:
            most[i], taken[i] = most[i - length] + 1, True
    found, i = [], len(voiced)
    while i > length:
        if taken[i]:
            found.append((float(i - length), float(i)))
        i -= length if taken[i] else 1
    return found[::-1]


def test_the_piece_at_second_0_is_kept_which_autosing_loses() -> None:
    voice = table((0.0, 31.0))
    assert autosings_cuts([True] * 31, 31, 0.8) == []
    assert sung_cuts(song(31.0, voice), Rule(31.0, 31.0))[0] == [(0.0, 31.0)]


def test_more_singing_is_kept_than_by_autosings_fixed_pieces_on_whole_seconds() -> None:
    rng = np.random.default_rng(0)
    voiced = np.repeat(rng.random(60) < 0.7, rng.integers(1, 12, 60))
    voice = active(voiced, 1.0, len(voiced))
    cuts, _ = sung_cuts(song(float(len(voiced)), voice), Rule(3.0, 31.0))
    kept_s, theirs_s = (sum(overlap_s(c, voice) for c in found) for found in (cuts, autosings_cuts(voiced, 31, 0.8)))
    assert kept_s > 0.9 * voiced.sum() > theirs_s


def test_a_song_sung_to_its_last_sample_is_kept_to_its_last_sample() -> None:
    cuts, dropped = sung_cuts(song(7.0137, table((0.0, 7.02))), Rule())
    assert cuts == [(0.0, 7.0137)] and dropped == []


def test_edges_lie_in_silence_where_that_costs_little() -> None:
    voice = table((0.5, 5.0), (5.4, 10.0))
    cuts, _ = sung_cuts(song(11.0, voice), Rule(1.0, 6.0))
    assert [round(t, 1) for cut in cuts for t in cut] == [0.4, 5.1, 5.3, 10.1]
    assert all(overlap_s((t - NEAR_S, t + NEAR_S), voice) < 1e-6 for cut in cuts for t in cut)


def test_words_that_touch_are_cut_where_they_meet() -> None:
    words = table(*((0.731 * i, 0.731 * (i + 1)) for i in range(20)))
    cuts, dropped = sung_cuts(song(14.62, words, words), SHORT)
    assert {t for cut in cuts for t in cut} <= {float(t) for t in words.ravel()}
    assert cuts[0][0] == 0.0 and dropped == []


def test_cuts_lie_between_lines_or_in_pauses_where_that_is_asked_for() -> None:
    voice = table((0.0, 20.0))
    lines = table((0.0, 4.53), (4.53, 9.0), (9.2, 15.5), (15.5, 20.0))
    cuts, _ = sung_cuts(song(20.0, voice, lines=lines), Rule(3.0, 12.0, borders="line"))
    assert {round(t, 2) for cut in cuts for t in cut} <= {0.0, 4.53, 9.0, 9.1, 9.2, 15.5, 20.0}
    words = table((0.0, 3.0), (3.1, 6.0), (6.5, 9.0), (9.1, 20.0))
    cuts, _ = sung_cuts(song(20.0, voice, words), Rule(3.0, 20.0, 0.8, "phrase", pause_s=0.4))
    assert all(t in (0.0, 20.0) or 6.0 <= t <= 6.5 for cut in cuts for t in cut)


@pytest.mark.parametrize(
    ("borders", "reason"), [("free", LONG_WORD), ("line", LONG_LINE), ("phrase", NO_PAUSE)], ids=str
)
def test_what_is_longer_than_a_cut_is_told_and_the_rest_is_kept(borders: Borders, reason: str) -> None:
    long = table((4.0, 64.0))
    cuts, dropped = sung_cuts(song(68.0, table((0.0, 68.0)), long, long), Rule(3.0, 12.0, borders=borders))
    if borders == "phrase":  # Nothing pauses but around the word.
        assert cuts == [(0.0, 4.0), (64.0, 68.0)]
    assert cuts[0][0] == 0.0 and cuts[-1][1] == 68.0
    assert told(dropped) == [(reason, 4.0, 64.0)]


def test_each_reason_is_told_where_it_applies() -> None:
    voice = table((0.0, 2.0), (20.0, 26.0), (40.0, 41.0), (50.0, 56.0))
    _, dropped = sung_cuts(song(60.0, voice, distrusted=table((49.8, 56.5))), Rule())
    assert [reason for reason, *_ in told(dropped)] == [
        *(TOO_LITTLE, NOT_SUNG, NOT_SUNG, TOO_LITTLE, NOT_SUNG, NOT_TRUSTED, NOT_SUNG)
    ]
    assert (NOT_TRUSTED, 49.8, 56.5) in told(dropped)
    # Two words of 2 s: the shortest cut holds one and a half.
    words = table((0.0, 2.0), (2.0, 4.0))
    _, dropped = sung_cuts(song(4.0, words, words), Rule(2.5, 3.0))
    assert told(dropped) == [(LEFT_OVER, 0.0, 4.0)]


@pytest.mark.parametrize(
    ("voice", "duration_s", "expected"),
    [
        (NONE, 60.0, [(NOT_SUNG, 0.0, 60.0)]),
        (NONE, 0.00625, [(NOT_SUNG, 0.0, 0.006)]),
        (table((0.0, 2.0)), 2.0, [(TOO_SHORT, 0.0, 2.0)]),
        (NONE, 0.0, []),
    ],
    ids=["silence", "a few samples", "shorter than a cut", "nothing"],
)
def test_a_song_without_a_cut_says_why(voice: Floats, duration_s: float, expected: object) -> None:
    cuts, dropped = sung_cuts(song(duration_s, voice), Rule())
    assert cuts == [] and told(dropped) == expected


def test_words_and_voice_beyond_the_end_change_nothing() -> None:
    inside, voice = table((0.0, 3.0), (3.2, 6.0)), table((0.0, 6.0))
    beyond = np.concatenate([inside, table((6.5, 9.0), (100.0, 160.0))])
    assert sung_cuts(song(6.0, table((0.0, 90.0)), beyond), Rule()) == sung_cuts(song(6.0, voice, inside), Rule())
    # A word that the end of the recording cuts off ends with it.
    assert sung_cuts(song(6.0, voice, table((4.0, 70.0))), Rule())[0] == [(0.0, 6.0)]


@pytest.mark.parametrize(
    "values", [(0.0, 12.0), (12.0, 3.0), (3.0, 12.0, 0.0), (3.0, 12.0, 1.1), (3.0, 12.0, 0.8, "free", 0.0)], ids=str
)
def test_a_rule_that_no_cut_can_follow_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match=r"cuts: (min_s|least_sung|pause_s)"):
        Rule(*values)  # type: ignore[arg-type]


def test_two_hours_take_less_than_two_seconds() -> None:
    starts = np.cumsum(np.random.default_rng(0).uniform(0.25, 0.9, 12_000))
    words = np.stack([starts, starts + 0.25], axis=1)
    long = song(7200.0, active(np.arange(360_000) % 977 > 150, VOICE_RATE_HZ, 7200.0), words)
    began = time.process_time()
    cuts, dropped = sung_cuts(long, Rule(3.0, 30.0))
    assert time.process_time() - began < 2
    assert_tiles(cuts, dropped, 7200.0)


def test_the_last_reason_that_applies_is_told_and_equal_neighbours_are_one() -> None:
    causes = [Cause("a", table((0, 5))), Cause("b", table((3, 4), (4, 4.5), (9, 30)))]
    assert tiled(10.0, table((1, 2)), causes, "c") == [
        *(Dropped("a", 0, 1), Dropped("a", 2, 3), Dropped("b", 3, 4.5), Dropped("a", 4.5, 5)),
        *(Dropped("c", 5, 9), Dropped("b", 9, 10)),
    ]


def test_intervals_that_touch_stay_apart_and_overlapping_ones_become_one() -> None:
    spans = table((5, 6), (0, 2), (2, 3), (2.5, 4), (2.6, 2.7))
    assert union(spans).tolist() == [[0, 2], [2, 4], [5, 6]]
    assert union(spans, 1.5).tolist() == [[0, 6]]
    assert gaps(spans, 7.0).tolist() == [[4, 5], [6, 7]] and gaps(NONE, 2.0).tolist() == [[0, 2]]
    assert Singing.of(spans).until(np.array([-1.0, 1, 2, 4.5, 9])).tolist() == [0, 1, 2, 4, 5]


def test_points_are_a_grid_and_the_borders_of_words() -> None:
    points = border_points(song(0.55, NONE, table((0.12, 0.31), (0.31, 0.45))), Rule())
    assert np.round(points, 9).tolist() == [0, 0.1, 0.12, 0.31, 0.45, 0.5, 0.55]
