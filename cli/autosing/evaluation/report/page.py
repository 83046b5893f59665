"""What the page of an evaluation holds, and its file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from autosing.evaluation.comparison import Comparison, Measure, Total
from autosing.evaluation.report.charts import (
    MOST_BARS_SONGS,
    colour,
    outside_pct,
    signed_chart,
    song_bars,
    within_chart,
)
from autosing.evaluation.report.picture import Picture
from autosing.evaluation.text import shown
from autosing.page.numerals import whole
from autosing.page.render import render_page
from autosing.pipeline.store import Store

FOLDER = Path(__file__).parent
MOST_SONGS, MOST_IDS = 500, 50


def write_page(path: Path, comparison: Comparison, pictures: Mapping[str, Sequence[Picture]]) -> None:
    """Writes the page of an evaluation; it appears when it is complete and loads nothing.

    Args:
        path: the HTML file.
        comparison: what is told.
        pictures: what is drawn of the worst songs, by id.
    """
    with Store(str(path.parent)).writing(path.name) as draft:
        draft.write_text(render_page(FOLDER, _content(comparison, pictures)), encoding="utf-8")


def _content(comparison: Comparison, pictures: Mapping[str, Sequence[Picture]]) -> dict[str, Any]:
    songs = list(comparison.by_song.items())
    measures = comparison.shown
    return {
        "name": comparison.url.rstrip("/").rsplit("/", 1)[-1],
        "url": comparison.url,
        "task": comparison.task,
        "head": _head(comparison),
        "notes": comparison.notes,
        "groups": _groups(measures),
        "measures": measures,
        "means": [_mean(comparison, total, "all") for total in comparison.totals],
        "shared": [_mean(comparison, total, "shared") for total in comparison.common_totals],
        "summary_measures": comparison.summary_shown,
        "summary": [(name, _cells(comparison.summary_shown, values)) for name, values in comparison.summary.items()],
        "settings": comparison.settings,
        "legend": [(name, colour(comparison.instances, name)) for name in comparison.instances],
        "charts": _charts(comparison),
        "worst": comparison.worst,
        "bars": song_bars(comparison),
        "n_bars": min(MOST_BARS_SONGS, len(songs)),
        "songs": [(id, [(r.instance, _cells(measures, r.values)) for r in rows]) for id, rows in songs[:MOST_SONGS]],
        "n_songs": len(songs),
        "reasons": comparison.reasons(),
        "most_ids": MOST_IDS,
        "pictures": pictures,
    }


def _head(comparison: Comparison) -> list[tuple[str, str]]:
    """Returns the figures at the head of the page: value and name."""
    worst = comparison.worst
    unit = f" {worst.unit}" if worst.unit else ""
    return [
        (whole(len(comparison.by_song)), "songs compared"),
        (whole(len({a.id for a in comparison.absent})), "songs with something missing"),
        *((f"{shown(worst, t.values[worst.key])}{unit}", f"{worst.title}, {t.instance}") for t in comparison.totals),
    ]


def _groups(measures: Sequence[Measure]) -> list[tuple[str, int]]:
    """Returns the names of groups of measures that stand side by side, and how many are in each."""
    groups: list[tuple[str, int]] = []
    for measure in measures:
        if groups and groups[-1][0] == measure.group:
            groups[-1] = measure.group, groups[-1][1] + 1
        else:
            groups.append((measure.group, 1))
    return groups


def _cells(measures: Sequence[Measure], values: Mapping[str, float]) -> list[str]:
    return [shown(m, values[m.key]) for m in measures]


def _mean(comparison: Comparison, total: Total, which: str) -> tuple[str, str, int, str, list[tuple[str, bool]]]:
    """Returns instance, colour, number of songs, which songs, and each value with whether no other is better."""
    beside = comparison.totals if which == "all" else comparison.common_totals
    cells = [(shown(m, total.values[m.key]), _is_best(m, total, beside)) for m in comparison.shown]
    return total.instance, colour(comparison.instances, total.instance), total.songs, which, cells


def _is_best(measure: Measure, total: Total, beside: Sequence[Total]) -> bool:
    values = [t.values[measure.key] for t in beside]
    if len(beside) < 2 or not measure.better or len({shown(measure, v) for v in values}) < 2:
        return False
    known = [v for v in values if v == v]
    return total.values[measure.key] == (min(known) if measure.better == "low" else max(known))


def _charts(comparison: Comparison) -> list[tuple[str, Markup, str]]:
    """Returns title, picture and caption of the curves over all songs."""
    axis = comparison.axis
    within = within_chart(comparison, axis) if axis else None
    signed = signed_chart(comparison, axis) if axis else None
    if axis is None or within is None or signed is None:
        return []
    outside = ", ".join(f"{name} {outside_pct(comparison, name):.1f} %" for name in comparison.instances)
    return [
        (f"{axis.what}: share that is at most so far off", within, "Every song weighs the same."),
        (
            f"{axis.what}: too {axis.sides[0]} (left) and too {axis.sides[1]} (right)",
            signed,
            f"Further off than shown: {outside}.",
        ),
    ]
