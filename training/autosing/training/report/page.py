"""What the report of a run holds, and its page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autosing.models.folder import write_whole
from autosing.page.numerals import duration, number, whole
from autosing.page.render import render_page
from autosing.signal.errors import UsageError
from autosing.training.record import BOARD, LOG, LOOK, MODEL, RUN
from autosing.training.report.cards import PACE, Best, card_of, kind_of
from autosing.training.report.clock import wall_seconds
from autosing.training.report.facts import RunFacts, kept_step, read_facts
from autosing.training.report.log import TRAIN, VALID, RunLog, Series, read_log
from autosing.training.report.shown import read_look

REPORT = "report.html"
FOLDER = Path(__file__).parent


def write_report(run: Path) -> Path:
    """Writes `report.html` into the folder of a run, from nothing but the files there, and returns its path.

    The page loads nothing. What is missing or damaged in the folder is told on the page; the rest is shown.

    Raises:
        UsageError: there is no such folder.
    """
    if not run.is_dir():
        raise UsageError(f"{run} is no folder; give the folder of a run, the OUT of `autosing train`")
    page = run / REPORT
    write_whole(page, render_page(FOLDER, _content(run)))
    return page


def _content(run: Path) -> dict[str, Any]:
    facts, log, look = read_facts(run / RUN), read_log(run / LOG), read_look(run / LOOK)
    groups = _groups(log)
    best = _best(facts, groups, kept_step(run / MODEL))
    losses = [base for base in groups if not kind_of(base)]
    losses.sort(key=lambda base: best is None or base != best.series.base)  # What chose the weights stands first.
    return {
        "recipe": facts.recipe or "training run",
        "folder": run.resolve().name,
        "steps": facts.steps,
        "last_step": log.last_step,
        "head": _head(facts, log, best, wall_seconds(run / BOARD)),
        "problems": [*facts.problems, *log.problems, *look.problems],
        "losses": [card_of(base, groups[base], log.last_step, best) for base in losses],
        "values": [series for base in losses for series in groups[base]],
        "pace": [card_of(base, group, log.last_step, None) for base, group in groups.items() if kind_of(base)],
        "look": look,
        "settings": facts.settings,
        "is_recipe_known": any(setting.usual is not None for setting in facts.settings),
        "n_changed": sum(setting.is_changed for setting in facts.settings),
        "facts": facts.facts,
    }


def _groups(log: RunLog) -> dict[str, list[Series]]:
    """Returns what shares a chart, by name without `train/` or `valid/`; training before validation."""
    found: dict[str, list[Series]] = {}
    for series in sorted(log.series.values(), key=lambda s: s.name.startswith(VALID)):
        found.setdefault(series.base, []).append(series)
    order = [*PACE]
    return dict(sorted(found.items(), key=lambda entry: order.index(kind_of(entry[0])) if kind_of(entry[0]) else -1))


def _best(facts: RunFacts, groups: Mapping[str, Sequence[Series]], kept: int | None) -> Best | None:
    """Returns what `run.json` calls the metric, else the first validated loss, at the kept step, else at its lowest."""
    valid = [s for group in groups.values() for s in group if s.name.startswith(VALID)]
    named = [s for s in valid if s.base == facts.metric]
    shared = [s for s in valid if len(groups[s.base]) > 1]
    series = next(iter([*named, *shared, *valid]), None)
    if series is None:
        return None
    at = dict(zip(series.steps.tolist(), series.values.tolist(), strict=True))
    return Best(series, kept, at[kept]) if kept is not None and kept in at else Best(series, *series.lowest)


def _head(facts: RunFacts, log: RunLog, best: Best | None, seconds: float | None) -> list[tuple[str, str]]:
    """Returns the figures at the head of the page: value and name."""
    head = [(whole(log.last_step), f"of {whole(facts.steps)} steps" if facts.steps else "steps")]
    if best:
        head.append((number(best.value), f"best {best.series.name}, at step {whole(best.step)}"))
    if seconds is not None:
        head.append((duration(seconds), "wall time"))
    audio, wait = (log.series.get(f"{TRAIN}{name}") for name in ("audio_s_per_s", "data_wait"))
    if audio and (audio.values > 0).any():
        # Lines hold about equally much audio, so the mean that tells audio over time is the harmonic one.
        rate = 1 / np.mean(1 / audio.values[audio.values > 0])
        head.append((number(float(rate)), "hours of audio per hour"))
    if wait:
        head.append((number(100 * float(wait.values.mean()), "%", 2), "of the time waiting for data"))
    return head
