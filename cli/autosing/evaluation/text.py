"""An evaluation as a table for a terminal, and as plain data for a script."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from autosing.evaluation.comparison import Comparison, Measure, Total, Values

NAME_WIDTH = 30
IDS_SHOWN = 20
GAP = "  "


def table_text(comparison: Comparison, worst: int | None = None) -> str:
    """Returns the songs, the worst first, the means last, and what was not compared.

    Args:
        comparison: what is told.
        worst: how many songs are listed; None for all. The means are of all in any case.
    """
    songs = list(comparison.by_song.items())[:worst]
    lines = [(name, row.instance, row.values) for name, rows in songs for row in rows]
    totals = [*_named(comparison.totals, "all"), *_named(comparison.common_totals, "shared")]
    measures, instance_width = comparison.shown, max(len("instance"), *map(len, comparison.instances))
    widths = [_width(m, [values for *_, values in [*lines, *totals]]) for m in measures]
    heads = [_groups(measures, widths), GAP.join(m.title.rjust(w) for m, w in zip(measures, widths, strict=True))]
    left = [" " * (NAME_WIDTH + len(GAP) + instance_width), f"{'song':{NAME_WIDTH}}{GAP}{'instance':{instance_width}}"]
    text = [line for a, b in zip(left, heads, strict=True) if (line := f"{a}{GAP}{b}".rstrip())]
    for i, (name, instance, values) in enumerate([*lines, *totals]):
        if i == len(lines):
            text.append("-" * max(map(len, text)))
        told = GAP.join(shown(m, values[m.key]).rjust(w) for m, w in zip(measures, widths, strict=True))
        text.append(f"{shortened(name):{NAME_WIDTH}}{GAP}{instance:{instance_width}}{GAP}{told}".rstrip())
    return "\n".join([*text, *_summary(comparison), *_absent(comparison), *comparison.notes])


def _named(totals: Sequence[Total], which: str) -> list[tuple[str, str, Values]]:
    songs = "songs" if which == "all" else "shared songs"
    return [(f"mean of {t.songs} {songs}", t.instance, t.values) for t in totals]


def shown(measure: Measure, value: float) -> str:
    """Returns a value with its decimals, a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{measure.digits}f}"


def _width(measure: Measure, values: Sequence[Values]) -> int:
    return max(len(measure.title), *(len(shown(measure, v[measure.key])) for v in values))


def _groups(measures: Sequence[Measure], widths: Sequence[int]) -> str:
    """Returns the line that names groups of measures, each over a rule as wide as the group."""
    parts = []
    for name, members in groupby(zip(measures, widths, strict=True), key=lambda member: member[0].group):
        inner = [width for _, width in members]
        width = sum(inner) + len(GAP) * (len(inner) - 1)
        parts.append(f" {name} ".center(width, "-")[:width] if name else " " * width)
    return GAP.join(parts)


def shortened(name: str, width: int = NAME_WIDTH) -> str:
    """Returns a name, its middle left out where it is too long: both ends tell songs apart."""
    if len(name) <= width:
        return name
    tail = (width - 1) * 3 // 5
    return f"{name[: width - 1 - tail]}…{name[-tail:]}"


def _summary(comparison: Comparison) -> list[str]:
    text = []
    for instance in comparison.instances if comparison.summary_measures else ():
        values = comparison.summary[instance]
        told = [f"{m.title} {shown(m, v)}{' %' if m.unit == '%' else ''}" for m in comparison.summary_measures
                if not math.isnan(v := values[m.key])]  # fmt: skip
        text.append(f"{instance}: {', '.join(told)}")
    return text


def _absent(comparison: Comparison) -> list[str]:
    if not comparison.absent:
        return []
    text = [f"not compared: {len(comparison.absent)}"]
    for instance, reason, ids in comparison.reasons():
        more = f" and {len(ids) - IDS_SHOWN} more (--json lists all)" if len(ids) > IDS_SHOWN else ""
        text.append(f"  {len(ids)} x {instance or 'truth'}: {reason}: {', '.join(ids[:IDS_SHOWN])}{more}")
    return text


def plain_data(comparison: Comparison) -> dict[str, Any]:
    """Returns an evaluation as JSON has it; NaN becomes null."""
    return {
        "task": comparison.task,
        "dataset": comparison.url,
        "instances": list(comparison.instances),
        "settings": dict(comparison.settings),
        "measures": {m.key: {"title": m.title, "unit": m.unit, "meaning": m.meaning} for m in comparison.measures},
        "songs": [
            {"id": row.id, "partition": row.partition, "instance": row.instance, **_finite(row.values)}
            for rows in comparison.by_song.values()
            for row in rows
        ],
        "means": [_total(t) for t in comparison.totals],
        "shared": [_total(t) for t in comparison.common_totals],
        "summary": {instance: _finite(values) for instance, values in comparison.summary.items()},
        "absent": [vars(a) for a in comparison.absent],
        "notes": list(comparison.notes),
    }


def _total(total: Total) -> dict[str, Any]:
    return {"instance": total.instance, "songs": total.songs, **_finite(total.values)}


def _finite(values: Values) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in values.items()}
