"""How far words, lines and phones are off, by hand."""

import math
from typing import Any

import numpy as np
import pytest
from hand_made import words

from autosing.evaluation.words import line_errors, match_words, phone_measures, word_measures, words_back
from autosing.signal.errors import RowError

TRUTH = words("one two three / four five / six")


def moved(*errors_s: float) -> list[dict[str, Any]]:
    """Returns the true words, each moved by its error."""
    return [{**word, "start_s": word["start_s"] + e} for word, e in zip(TRUTH, errors_s, strict=True)]


def test_errors_are_estimated_minus_true_and_the_first_words_of_lines_are_known() -> None:
    found = match_words(moved(0, 0.18, -0.08, 0, 3, 0), TRUTH)
    assert found.errors_s == pytest.approx([0, 0.18, -0.08, 0, 3, 0])
    assert found.is_first.tolist() == [True, False, False, True, False, True]
    measures = word_measures(found.errors_s[[1, 2, 4]], found.target_s[[1, 2, 4]])
    assert measures["aae_s"] == pytest.approx(3.26 / 3) and measures["median_s"] == pytest.approx(0.18)
    assert measures["pco_100ms_pct"] == pytest.approx(100 / 3) and measures["pco_200ms_pct"] == pytest.approx(200 / 3)
    assert measures["over_1s_pct"] == pytest.approx(100 / 3) and measures["over_5s_pct"] == 0


def test_words_that_are_not_there_are_counted_and_the_rest_is_compared() -> None:
    found = match_words([w for w in moved(*[0.5] * 6) if w["text"] != "three"], TRUTH)
    assert found.n_true == 6 and found.errors_s == pytest.approx([0.5] * 5)
    assert found.target_s.tolist() == [1, 2, 4, 5, 6] and found.estimated.tolist() == [0, 1, 2, 3, 4]


def test_truth_that_is_not_in_time_and_tokens_without_letters_do_no_harm() -> None:
    found = match_words(
        moved(*[0.1] * 6), [*TRUTH[3:], *TRUTH[:3], {"text": "~", "start_s": 2.5, "end_s": 2.6, "line": 0}]
    )
    assert found.n_true == 6 and found.errors_s == pytest.approx([0.1] * 6)


@pytest.mark.parametrize("estimated", [[], words("uno dos tres cuatro cinco seis"), TRUTH[:2]])
def test_lyrics_of_another_song_are_refused_with_the_numbers(estimated: list[dict[str, Any]]) -> None:
    with pytest.raises(RowError, match=rf"\d of 6 true words are among the {len(estimated)} estimated ones"):
        match_words(estimated, TRUTH)


def test_words_that_go_back_in_time_are_counted_and_their_errors_told() -> None:
    found = match_words(moved(0, 0, 0, -2, 0, 0), TRUTH)
    measures = word_measures(found.errors_s, found.target_s)
    assert words_back(found) == 1 and measures["aae_s"] == pytest.approx(2 / 6) and math.isnan(measures["perceptual"])
    assert words_back(match_words(TRUTH, TRUTH)) == 0
    assert all(map(math.isnan, word_measures(np.empty(0), np.empty(0)).values()))


def test_words_before_the_recording_are_refused() -> None:
    found = match_words(moved(-2, 0, 0, 0, 0, 0), TRUTH)
    with pytest.raises(RowError, match=r"can't be compared: Estimated timestamps can not be below 0"):
        word_measures(found.errors_s, found.target_s)


def test_a_line_is_off_by_the_median_of_its_words_and_has_its_own_confidence() -> None:
    estimated = moved(0, 2, 2, 6, 6, 0)
    lines = [{"confidence": c} for c in (0.5, 0.1, 0.9)]
    found = line_errors(match_words(estimated, TRUTH), estimated, lines)
    assert found.off_s.tolist() == [2, 6, 0] and found.confidence == pytest.approx([0.5, 0.1, 0.9])
    assert np.isnan(line_errors(match_words(estimated, TRUTH), estimated, None).confidence).all()
    assert np.isnan(line_errors(match_words(estimated, TRUTH), estimated, lines[:2]).confidence).all()


def test_line_numbers_with_gaps_are_those_of_the_lines_in_order() -> None:
    numbers = {0: 4, 1: 7, 2: 9}
    estimated = [{**w, "line": numbers[w["line"]]} for w in moved(0, 2, 2, 6, 6, 0)]
    lines = [{"confidence": c} for c in (0.5, None, 0.9)]
    found = line_errors(match_words(estimated, TRUTH), estimated, lines)
    assert found.confidence == pytest.approx([0.5, math.nan, 0.9], nan_ok=True)


def test_phones_are_matched_in_order_without_pauses_and_stress() -> None:
    def phones(text: str, shift_s: float) -> list[dict[str, Any]]:
        return [{"text": p, "start_s": i + shift_s, "end_s": i + 1} for i, p in enumerate(text.split())]

    found = phone_measures(phones("SIL AH0 b K ae1 sp", 0.02), phones("sil ah B k eh pau", 0))
    assert found == pytest.approx({"phone_aae_s": 0.02, "phone_pco_50ms_pct": 100, "phones_missing": 0})
    found = phone_measures(phones("ah k", 0), phones("ah b k", 0))
    assert found["phones_missing"] == 1 and found["phone_aae_s"] == pytest.approx(0.5)
    assert math.isnan(phone_measures([], phones("ah", 0))["phone_aae_s"])


def test_phones_of_an_aligner_that_spells_with_classes_are_compared_by_class() -> None:
    def phones(text: str, shift_s: float) -> list[dict[str, Any]]:
        return [{"text": t, "start_s": n + shift_s, "end_s": n + 1.0} for n, t in enumerate(text.split())]

    found = phone_measures(phones("N A S I", 0.03), phones("n aa1 sh iy", 0))
    assert found == pytest.approx({"phone_aae_s": 0.03, "phone_pco_50ms_pct": 100, "phones_missing": 0})
    assert phone_measures(phones("P A", 0), phones("k ae aa pau", 0))["phones_missing"] == 0
