"""Which estimated word is which true one: repeats, gaps, other spellings, other songs."""

import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosing.evaluation.matching import matched, plain

VERSE, CHORUS = ["one", "two", "three", "four", "five"], ["la", "la", "la", "hey"]


def test_equal_words_are_matched_one_by_one_whatever_their_case_and_punctuation() -> None:
    ours, theirs = ["Don't", "STOP,", "Ｎow"], ["dont", "stop", "now!"]
    assert matched([*map(plain, ours)], [*map(plain, theirs)]) == [(0, 0), (1, 1), (2, 2)]
    assert plain("Straße") == plain("STRASSE") and plain("— …") == ""


def test_a_chorus_that_is_missing_shifts_what_follows() -> None:
    true = [*CHORUS, *VERSE, *CHORUS, "bye"]
    assert matched([*CHORUS, *VERSE, "bye"], true) == [*((i, i) for i in range(9)), (9, 13)]
    assert matched([*VERSE, *CHORUS, "bye"], true) == [(i, i + 4) for i in range(10)]
    assert matched([*CHORUS, *CHORUS, *VERSE], [*CHORUS, *VERSE]) == [
        *((i, i) for i in range(4)),
        *((i + 8, i + 4) for i in range(5)),
    ]


def test_words_written_together_match_where_both_begin() -> None:
    ours, theirs = ["eat", "icecream", "now", "then"], ["eat", "ice", "cream", "nowthen"]
    assert matched(ours, theirs) == [(0, 0), (1, 1), (2, 3)]


def test_other_spellings_are_matched_and_other_words_are_not() -> None:
    assert matched(["keep", "walkin", "on"], ["keep", "walking", "on"]) == [(0, 0), (1, 1), (2, 2)]
    assert matched(["keep", "running", "on"], ["keep", "silence", "on"]) == [(0, 0), (2, 2)]
    assert matched(["a", "x", "b"], ["a", "y", "b"], alike=0) == [(0, 0), (1, 1), (2, 2)]


def test_another_song_and_nothing_at_all_match_hardly_or_not() -> None:
    assert len(matched(VERSE, CHORUS)) == 0
    assert matched([], VERSE) == matched(VERSE, []) == matched([], []) == []


WORDS = st.lists(st.sampled_from([*VERSE, *CHORUS, "uno", "onetwo"]), max_size=30)


@given(WORDS, WORDS)
def test_pairs_rise_on_both_sides(ours: list[str], theirs: list[str]) -> None:
    pairs = matched(ours, theirs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(pairs))
    assert all(0 <= i < len(ours) and 0 <= j < len(theirs) for i, j in pairs)
    assert {(i, i) for i in range(len(ours))} == {*matched(ours, ours)}


@given(st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)))
def test_whatever_is_left_out_on_either_side_the_rest_finds_its_partner(ours: set[int], theirs: set[int]) -> None:
    a, b = ([f"w{i}x{i}" for i in range(60) if i not in gone] for gone in (ours, theirs))
    found = {(a[i], b[j]) for i, j in matched(a, b, alike=2)}
    assert found >= {(w, w) for w in {*a} & {*b}} and all(x == y for x, y in found)


@pytest.mark.timeout(20)
def test_ten_thousand_equal_words_are_matched_at_once() -> None:
    start = time.perf_counter()
    assert len(matched(["la"] * 10_000, ["la"] * 9_000)) == 9_000
    rng = random.Random(0)
    song = [rng.choice(VERSE + CHORUS) for _ in range(1500)]
    assert len(matched(song, [w for i, w in enumerate(song) if i % 50])) >= 1450
    assert time.perf_counter() - start < 5
