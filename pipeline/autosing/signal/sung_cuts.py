"""Cuts that hold the most singing: a dynamic programme over voice activity that splits no word.

AutoSing's is the model (fixed chunks on whole seconds, `autosing/processing.py`); this one has a finer grid, a
shortest and a longest length, begins at second 0, ends at the last sample, and knows words, lines and pauses.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from autosing.signal.dropped import (
    LEFT_OVER,
    LONG_LINE,
    LONG_WORD,
    NO_PAUSE,
    NOT_TRUSTED,
    Cause,
    Dropped,
    causes_of_silence,
    tiled,
)
from autosing.signal.errors import UsageError
from autosing.signal.intervals import Floats, Interval, Singing, are_inside, clipped, gaps, union

Places = npt.NDArray[np.int64]
Borders = Literal["free", "line", "phrase"]

VOICE_RATE_HZ = 50.0
STEP_S = 0.1
NEAR_S = 0.1
COST_OF_AN_EDGE_S = 0.25
"""Seconds of singing that are given up for an edge in silence (`NEAR_S` to both sides) in place of one in singing."""
COST_OF_A_CUT_S = 0.05
COST_OF_SILENCE = 0.02
"""Seconds of singing that a second without is worth: of equal cuts, the one with less silence at its ends is taken."""
CLOSE_S = 1e-6

LONG: dict[Borders, str] = {"free": LONG_WORD, "line": LONG_LINE, "phrase": NO_PAUSE}


@dataclass(frozen=True)
class Rule:
    """What a cut may be.

    Args:
        min_s: shortest cut.
        max_s: longest cut.
        least_sung: lowest share of a cut that is sung.
        borders: where cuts begin and end: `free`, between lines of lyrics, or in pauses between phrases.
        pause_s: shortest pause between phrases: without words, or without voice.

    Raises:
        UsageError: a value is out of its range.
    """

    min_s: float = 3.0
    max_s: float = 12.0
    least_sung: float = 0.8
    borders: Borders = "free"
    pause_s: float = 0.3

    def __post_init__(self) -> None:
        for wrong, what in (
            (not 0 < self.min_s <= self.max_s, f"min_s {self.min_s}, max_s {self.max_s}: need 0 < min_s <= max_s"),
            (not 0 < self.least_sung <= 1, f"least_sung is {self.least_sung}; give a share above 0, at most 1"),
            (not self.pause_s > 0, f"pause_s is {self.pause_s}; give seconds above 0"),
        ):
            if wrong:
                raise UsageError(f"cuts: {what}")


@dataclass(frozen=True)
class Sung:
    """What of a song is sung when, in seconds.

    Args:
        duration_s: length of the song.
        voice: stretches with voice (N, 2).
        words: start and end of each word (N, 2).
        lines: start and end of each line of lyrics (N, 2).
        distrusted: lines whose times are not trusted (N, 2).
    """

    duration_s: float
    voice: Floats
    words: Floats
    lines: Floats
    distrusted: Floats


def sung_cuts(song: Sung, rule: Rule) -> tuple[list[Interval], list[Dropped]]:
    """Returns the cuts of a song in order, and what lies in none of them with the reason.

    Cuts do not overlap, split no word, touch no distrusted line, have `min_s` to `max_s`, and at least `least_sung` of
    each is sung. Of all such sets they have the most seconds of singing, less `COST_OF_AN_EDGE_S` for an edge in it.
    """
    points = border_points(song, rule)
    singing = Singing.of(clipped(song.voice, song.duration_s))
    distrusted = union(clipped(song.distrusted, song.duration_s))
    cuts = best_cuts(points, singing, distrusted, rule)
    steps = np.stack([points[:-1], points[1:]], axis=1)
    long = steps[steps[:, 1] - steps[:, 0] > rule.max_s + CLOSE_S]
    kept = np.asarray(cuts, np.float64).reshape(-1, 2)
    left = gaps(np.concatenate([kept, long, distrusted]), song.duration_s)
    causes = causes_of_silence(left, singing, rule.min_s, rule.least_sung)
    causes += [Cause(LONG[rule.borders], long), Cause(NOT_TRUSTED, distrusted)]
    return cuts, tiled(song.duration_s, kept, causes, LEFT_OVER)


def border_points(song: Sung, rule: Rule) -> Floats:
    """Returns the times (P,) at which a cut may begin or end, in order: a grid and all borders, none inside a word."""
    duration_s = song.duration_s
    whole = [song.words, song.lines] if rule.borders == "line" else [song.words]
    whole = [clipped(intervals, duration_s) for intervals in whole]
    grid = np.arange(0.0, duration_s, STEP_S)
    pauses = _pauses(song, rule.pause_s) if rule.borders == "phrase" else np.empty((0, 2))
    borders = [intervals.ravel() for intervals in (*whole, clipped(song.distrusted, duration_s), pauses)]
    points = np.unique(np.concatenate([grid, [0.0, duration_s], *borders]))
    points = points[~are_inside(points, union(np.concatenate(whole)))]
    if rule.borders == "phrase":
        closed = pauses + np.array([-CLOSE_S, CLOSE_S])
        points = points[are_inside(points, union(closed)) | (points == 0) | (points == duration_s)]
    return points


def _pauses(song: Sung, pause_s: float) -> Floats:
    """Returns the stretches (N, 2) of at least `pause_s` without words, where there are any, or without voice."""
    silent = [gaps(song.voice, song.duration_s), *([gaps(song.words, song.duration_s)] if len(song.words) else [])]
    found = np.concatenate(silent)
    return found[found[:, 1] - found[:, 0] >= pause_s - CLOSE_S]


def best_cuts(points: Floats, singing: Singing, distrusted: Floats, rule: Rule) -> list[Interval]:
    """Returns the cuts between `points` (P,) that are worth most together, in order.

    A cut is worth its seconds of singing, less `COST_OF_A_CUT_S`, `COST_OF_SILENCE` for each second without, and
    `COST_OF_AN_EDGE_S` times the sung share around each of its ends: a term of its start plus a term of its end.
    Whether enough of it is sung is the order of one number at both. So each end looks once over the starts that its
    length allows.
    """
    sung = singing.until(points)
    gain = (1 + COST_OF_SILENCE) * sung - COST_OF_SILENCE * points
    edge = COST_OF_AN_EDGE_S * share_around(points, singing)
    surplus = sung - rule.least_sung * points
    first, last = _reach(points, distrusted, rule)
    offer, best, came_from = np.empty(len(points)), 0.0, np.full(len(points), -1)
    leave, arrive = (-gain - edge - COST_OF_A_CUT_S).tolist(), (gain - edge).tolist()
    needed, lows, highs = (surplus + CLOSE_S).tolist(), first.tolist(), last.tolist()
    for j, low, high in zip(range(len(points)), lows, highs, strict=True):
        if low < high:
            offers = np.where(surplus[low:high] <= needed[j], offer[low:high], -np.inf)
            i = int(offers.argmax())
            if offers[i] + arrive[j] > best:
                best, came_from[j] = float(offers[i] + arrive[j]), low + i
        offer[j] = best + leave[j]
    return _traced(points, came_from)


def _reach(points: Floats, distrusted: Floats, rule: Rule) -> tuple[Places, Places]:
    """Returns for every end the first start that it may have and the one after the last."""
    over = np.append(-np.inf, distrusted[:, 1])[np.searchsorted(distrusted[:, 0], points - CLOSE_S, "left")]
    # A distrusted line that is not over bars all starts: its end lies behind them.
    first = np.searchsorted(points, np.maximum(points - rule.max_s, over) - CLOSE_S)
    return first, np.searchsorted(points, points - rule.min_s + CLOSE_S, "right")


def _traced(points: Floats, came_from: Places) -> list[Interval]:
    cuts, j = [], len(points) - 1
    while j >= 0:
        i = int(came_from[j])
        if i < 0:
            j -= 1
            continue
        cuts.append((float(points[i]), float(points[j])))
        j = i
    return cuts[::-1]


def share_around(times_s: Floats, singing: Singing) -> Floats:
    """Returns which share of `NEAR_S` to both sides of each time is sung."""
    return (singing.until(times_s + NEAR_S) - singing.until(times_s - NEAR_S)) / (2 * NEAR_S)
