"""Words of one song: how far each is off, and its worst stretch with true and estimated words."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from autosing.evaluation import align
from autosing.evaluation.report.charts import colour
from autosing.evaluation.report.picture import STRETCH_S, Picture, named, worst_stretch
from autosing.evaluation.songs import Case
from autosing.evaluation.words import Matched, match_words
from autosing.page.svg import Scale, curve, grid_line, label, tag
from autosing.pipeline.report.figures import words_lane
from autosing.pipeline.report.lanes import LEFT, Lane, Span, inside, stack, time_scale
from autosing.signal.errors import RowError

ERRORS, MARGIN = 124.0, 8.0
LEVELS_S = (-30.0, -3.0, -0.3, 0.0, 0.3, 3.0, 30.0)
KNEE_S = 0.1
"""Errors well below this are drawn in proportion, those above by their logarithm."""
LINKS = 16.0
OFF_S = 0.3
PAUSE_S = 3.0


def word_pictures(case: Case, instances: Sequence[str]) -> list[Picture]:
    """Returns the errors of all words of a song, and its worst 20 s with true and estimated words."""
    found = {name: f for name in instances if (f := _found(case, name)) is not None}
    if not found:
        return []
    first = next(iter(found.values()))[0]
    x = time_scale(*worst_stretch(first.target_s, np.minimum(np.abs(first.errors_s), STRETCH_S)))
    words = sorted(case.truth("ref_words"), key=lambda word: word["start_s"])
    lanes = [words_lane(inside(words, x), x, "true words", "true-word")]
    lanes += [_linked_lane(*pair, x, name) for name, pair in found.items()]
    whole = time_scale(0.0, max(float(word["end_s"]) for word in words))
    errors = [_error_lane({name: f for name, (f, _) in found.items()}, instances, whole)]
    title = f"words from {x.low:.0f} to {x.high:.0f} s, where {next(iter(found))} is furthest off"
    return [
        Picture(
            "error of each word's onset, in seconds, late above", stack(errors, whole, (), f"errors, {case.row.id}")
        ),
        Picture(title, stack(lanes, x, (), f"words, {case.row.id}")),
    ]


def _found(case: Case, instance: str) -> tuple[Matched, Sequence[Span]] | None:
    if not case.truth("ref_words"):
        return None
    words = align.baseline(case)["words"] if instance == align.BASELINE else case.value(instance, "words")
    try:
        return (match_words(words, case.truth("ref_words")), words) if words else None
    except RowError:
        return None


def _error_lane(found: Mapping[str, Matched], instances: Sequence[str], x: Scale) -> Lane:
    """Returns the error at each true onset: lines in the colour of each instance, broken where nobody sings."""
    worst = max(float(np.abs(f.errors_s).max()) for f in found.values())
    top = _bent(max(worst, LEVELS_S[4]))
    y = Scale(-top, top, ERRORS - MARGIN, MARGIN)
    levels = [level for level in LEVELS_S if abs(_bent(level)) <= top]
    content = [grid_line(LEFT, x.end, y(_bent(level))) for level in levels]
    content += [
        label(f"{level:+g}".replace("-", "−") if level else "0", LEFT - 6, y(_bent(level)) + 4, "end")
        for level in levels
    ]
    for name, f in reversed(list(found.items())):
        for part in np.split(np.arange(len(f.target_s)), np.flatnonzero(np.diff(f.target_s) > PAUSE_S) + 1):
            points = [(x(float(f.target_s[i])), y(_bent(float(f.errors_s[i])))) for i in part]
            content.append(tag("path", d=curve(points), class_=f"series thin {colour(instances, name)}"))
    return Lane("", ERRORS, content)


def _bent(seconds: float) -> float:
    return math.asinh(seconds / KNEE_S)


def _linked_lane(found: Matched, words: Sequence[Span], x: Scale, name: str) -> Lane:
    """Returns estimated words, and above each a line from where it truly begins to where it was put."""
    content = []
    for target_s, error_s, i in zip(found.target_s, found.errors_s, found.estimated, strict=True):
        start_s = float(target_s + error_s)
        if x.low <= target_s <= x.high and x.low <= start_s <= x.high:
            told = tag("title", f"{words[int(i)]['text']}: {error_s:+.2f} s")
            class_ = "link off" if abs(error_s) > OFF_S else "link"
            content.append(tag("line", told, x1=x(float(target_s)), x2=x(start_s), y1=0, y2=LINKS, class_=class_))
    lane = words_lane(inside(words, x), x, "")
    content.append(tag("g", *lane.content, transform=f"translate(0 {LINKS:.0f})"))
    return named(Lane("", lane.height + LINKS, content), name)
