"""Lyrics as tokens: what each letter is, line breaks, and when each token is."""

import numpy as np
import pytest

from autosing.models.language_blocks import NOBODY, NOTHING
from autosing.models.lyric_tokens import PACES, Letters, LyricSpeller, SungWord, Times, pace_row, words_of

WORDS = [SungWord("la", 0, 1.0, 2.0), SungWord("so", 0, 2.5, 3.5), SungWord("mi", 1, 6.0, 8.0)]


def test_bytes_spell_any_script_and_keep_the_lines() -> None:
    found = LyricSpeller.of("bytes", "even").spell(words_of("la só\n日本"), 4.0)
    assert found.tokens[0] == NOTHING
    assert bytes((found.tokens[1:] - 1).astype(np.uint8)).decode() == "la só\n日 本"
    assert "".join(found.texts[:7]) == "la sc3b3"


@pytest.mark.parametrize("letters", ["bytes", "classes", "letters"])
def test_every_token_is_in_the_table_and_none_but_the_first_is_nothing(letters: Letters) -> None:
    speller = LyricSpeller.of(letters, "even")
    tokens = speller.spell(words_of("Hello, wörld 99\nñandú (x2) Ωmega 日本"), 4.0).tokens
    assert tokens[1:].min() > 0 and tokens.max() < speller.n_tokens


def test_an_alphabet_spells_sounds_with_breaks_and_tells_what_it_cannot_spell() -> None:
    found = LyricSpeller.of("letters", "even").spell(words_of("La 99\nso"), 4.0)
    assert list(found.texts) == ["", "l", "a", " ", "?", "\n", "s", "o"]
    english, german = (LyricSpeller.of("classes", "even").spell(words_of("die"), 1.0, code) for code in ("en", "de"))
    assert english.tokens.tolist() != german.tokens.tolist()


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ("even", [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]),
        # Of the first line, from 1 to 3.5 s, there are six tokens with the break.
        ("lines", [*(1 + 2.5 * (n + 0.5) / 6 for n in range(6)), 6.5, 7.5]),
        ("words", [1 + 1 / 6, 1.5, 2 - 1 / 6, 2.5 + 1 / 6, 3, 3.5 - 1 / 6, 6.5, 7.5]),
    ],
)
def test_tokens_are_spread_over_what_is_known_of_their_times(times: Times, expected: list[float]) -> None:
    found = LyricSpeller.of("bytes", times).spell(WORDS, 8.0)
    assert found.times_s[0] == 0
    assert found.times_s[1:] == pytest.approx(np.array(expected))


def test_times_that_are_wanted_and_not_known_are_an_error() -> None:
    with pytest.raises(ValueError, match="the word 'la' has no time"):
        LyricSpeller.of("bytes", "lines").spell(words_of("la so"), 8.0)


@pytest.mark.parametrize("times", ["even", "lines", "words"])
def test_no_words_are_nothing(times: Times) -> None:
    found = LyricSpeller.of("bytes", times).spell([], 8.0)
    assert (found.tokens.tolist(), found.times_s.tolist(), found.texts) == ([NOTHING], [0.0], [""])


def test_paces_are_told_apart_and_have_an_end() -> None:
    """AutoSing's pace is 1 for every song."""
    rows = [pace_row(words_of("a" * n), 2.0) for n in (0, 1, 10, 12, 39, 1000)]
    assert rows[0] == NOBODY and rows[1] == 1
    assert sorted(rows) == rows and len(set(rows[:5])) == 5
    assert rows[-1] == rows[-2] == PACES
