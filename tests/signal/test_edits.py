"""The edit distance by hand, against every way of writing, and by what it must obey."""

from functools import cache

import numpy as np
import pytest

from autosing.signal.edits import edit_distance


@pytest.mark.parametrize(
    ("found", "true", "distance"),
    [("", "", 0), ("abc", "", 3), ("", "abc", 3), ("kitten", "sitting", 3), ("abc", "abc", 0), ("ab", "ba", 2)],
)
def test_it_is_counted_as_by_hand(found: str, true: str, distance: int) -> None:
    assert edit_distance([ord(c) for c in found], [ord(c) for c in true]) == distance


def test_it_is_the_cheapest_of_all_ways() -> None:
    @cache
    def cheapest(a: tuple[int, ...], b: tuple[int, ...]) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(cheapest(a[1:], b) + 1, cheapest(a, b[1:]) + 1, cheapest(a[1:], b[1:]) + (a[0] != b[0]))

    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = (tuple(rng.integers(0, 3, rng.integers(0, 9)).tolist()) for _ in range(2))
        assert edit_distance(a, b) == cheapest(a, b) == edit_distance(b, a)


@pytest.mark.parametrize(
    ("found", "true", "distance"),
    [
        ("forty", "*", 0),
        ("", "*", 1),
        ("aforty", "a*", 0),
        ("afortyb", "a*b", 0),
        ("ab", "a*b", 1),
        ("xfortyb", "a*b", 1),
    ],
)
def test_a_symbol_may_stand_for_any_others(found: str, true: str, distance: int) -> None:
    assert edit_distance([ord(c) for c in found], [ord(c) for c in true], ord("*")) == distance
