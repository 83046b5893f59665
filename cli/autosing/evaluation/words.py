"""How far the words, lines and phones of one song are off."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.evaluation.matching import matched, plain
from autosing.signal.alphabet import CLASSES, class_of_phone
from autosing.signal.errors import RowError
from autosing.training.metrics import alignment_scores, derailment_rate

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Span = Mapping[str, Any]

TOLERANCES_S = (0.1, 0.2, 0.3)
LOST_S = (1.0, 5.0)
"""So far off, a singer is at another word, and at another line."""
LEAST_MATCHED = 0.5
"""Share of the true words below which two texts are not of one song."""
_PAUSES = ("", "sil", "sp", "pau", "spn", "br", "ap")
_STRESS = re.compile(r"[0-9]+$")


@dataclass(frozen=True)
class Matched:
    """The true words of a song that an aligner has placed, in order of time.

    errors_s: (N,) estimated minus true onset.
    target_s: (N,) true onsets.
    is_first: (N,) whether the word begins a line: its time may have been given.
    estimated: (N,) indices of the estimated words.
    n_true: how many true words there are.
    """

    errors_s: Doubles
    target_s: Doubles
    is_first: Flags
    estimated: npt.NDArray[np.int64]
    n_true: int


def match_words(words: Sequence[Span], truth: Sequence[Span]) -> Matched:
    """Returns the words of an estimate at the true words that they are.

    Raises:
        RowError: fewer than half of the true words are found, or there is none.
    """
    in_time = sorted((word for word in truth if plain(word["text"])), key=lambda word: word["start_s"])
    pairs = matched([plain(w["text"]) for w in words], [plain(w["text"]) for w in in_time])
    if not pairs or len(pairs) < LEAST_MATCHED * len(in_time):
        raise RowError(f"{len(pairs)} of {len(in_time)} true words are among the {len(words)} estimated ones")
    ours, theirs = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    target_s = np.array([w["start_s"] for w in in_time])[theirs]
    return Matched(
        np.array([w["start_s"] for w in words])[ours] - target_s,
        target_s,
        _begins_line(in_time)[theirs],
        ours,
        len(in_time),
    )


def words_back(found: Matched) -> int:
    """Returns how many estimated words begin before the one before them."""
    return int(np.count_nonzero(np.diff(found.target_s + found.errors_s) < 0))


def _begins_line(words: Sequence[Span]) -> Flags:
    lines = [word.get("line") for word in words]
    return np.array([i == 0 or line != lines[i - 1] for i, line in enumerate(lines)])


def word_measures(errors_s: Doubles, target_s: Doubles) -> dict[str, float]:
    """Returns the measures of onsets (N,) in seconds and percent; NaN where there is none.

    Raises:
        RowError: an estimated word begins before 0.
    """
    if not len(errors_s):
        return dict.fromkeys(_KEYS, math.nan)
    predicted_s = target_s + errors_s
    try:
        scores = alignment_scores(predicted_s, target_s, tolerances_s=TOLERANCES_S)
    except ValueError as error:
        raise RowError(f"its word times can't be compared: {error}") from error
    lost = [100 * derailment_rate(predicted_s, target_s, threshold_s) for threshold_s in LOST_S]
    within = [100 * share for share in scores.pco.values()]
    return dict(zip(_KEYS, (scores.aae_s, scores.median_ae_s, *within, *lost, scores.perceptual), strict=True))


_KEYS = (
    "aae_s",
    "median_s",
    "pco_100ms_pct",
    "pco_200ms_pct",
    "pco_300ms_pct",
    "over_1s_pct",
    "over_5s_pct",
    "perceptual",
)


@dataclass(frozen=True)
class LineErrors:
    """The lines of one song that have a matched word.

    off_s: (L,) median absolute error of a line's words.
    confidence: (L,) of the aligner; NaN where it tells none.
    """

    off_s: Doubles
    confidence: Doubles


NO_LINES = LineErrors(np.empty(0), np.empty(0))


def line_errors(found: Matched, words: Sequence[Span], lines: Sequence[Span] | None) -> LineErrors:
    """Returns how far each estimated line is off, beside how sure of it the aligner was."""
    numbers = [word.get("line") for word in words]
    order = {number: i for i, number in enumerate(dict.fromkeys(numbers))}
    line_of = np.array([order[number] for number in numbers], np.int64)[found.estimated]
    present = np.unique(line_of)
    off_s = np.array([np.median(np.abs(found.errors_s[line_of == line])) for line in present])
    told = [math.nan if (c := line.get("confidence")) is None else float(c) for line in lines or ()]
    # `lines` has an entry for each line with words; one that has not is of another aligner.
    fits = len(told) == len(order)
    return LineErrors(off_s, np.array(told)[present] if fits else np.full(len(present), math.nan))


def phone_measures(phones: Sequence[Span], truth: Sequence[Span]) -> dict[str, float]:
    """Returns how far the onsets of phones are off, pauses and stress marks ignored, and how many are not found."""
    ours, theirs = _sounding(phones), _sounding(truth)
    if all(phone["text"] in CLASSES for phone in ours):
        theirs = _as_classes(theirs)
    # Runs of as many phones are matched whatever they are called: the aligner's lexicon need not be the truth's.
    pairs = matched([_symbol(p) for p in ours], [_symbol(p) for p in theirs], alike=0)
    errors_s = [abs(ours[i]["start_s"] - theirs[j]["start_s"]) for i, j in pairs]
    return {
        "phone_aae_s": float(np.mean(errors_s)) if errors_s else math.nan,
        "phone_pco_50ms_pct": 100 * float(np.mean(np.array(errors_s) <= 0.05)) if errors_s else math.nan,
        "phones_missing": float(len(theirs) - len(pairs)),
    }


def _as_classes(phones: Sequence[Span]) -> list[Span]:
    """Returns phones under the names of the broad classes that an aligner without a lexicon spells with.

    The same class twice in a row is one sound, and what has no class is none.
    """
    named = [{**phone, "text": class_of_phone(_symbol(phone))} for phone in phones]
    heard = [phone for phone in named if phone["text"]]
    return [phone for n, phone in enumerate(heard) if not n or heard[n - 1]["text"] != phone["text"]]


def _sounding(phones: Sequence[Span]) -> list[Span]:
    return [p for p in phones if _symbol(p) not in _PAUSES]


def _symbol(phone: Span) -> str:
    return _STRESS.sub("", phone["text"].strip().lower())
