"""How `autosing status` shows a data set, once or until its runs have ended."""

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import polars as pl

    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.events import RunSeen
    from autosing.pipeline.graph import Graph


def overview_of(opened: "Dataset", graph: "Graph") -> "pl.DataFrame":
    """Returns the states of all default stages, with what they need."""
    from autosing.pipeline.schedule import targets_or_all
    from autosing.pipeline.status import overview, plans

    return overview(plans(opened, graph, targets_or_all(graph, ())), graph)


def show(opened: "Dataset", table: "pl.DataFrame") -> None:
    """Prints the states of stages."""
    print(f"{opened.url}: {len(opened.partitions)} partitions")
    print(f"{'stage':16}{'fresh':>7}{'due':>7}{'waits':>7}{'blocked':>9}{'errors':>8}  note")
    for name, fresh, due, waits, blocked, errors, note in table.rows():
        print(f"{name:16}{fresh:>7}{due:>7}{waits:>7}{blocked:>9}{errors:>8}  {note}")


def watch_runs(opened: "Dataset", graph: "Graph", pause: Callable[[], None], as_json: bool = False) -> None:
    """Shows states and runs until all is fresh and nobody works, or the runs that were seen at work have ended."""
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.events import runs_seen

    was_at_work = False
    while True:
        table, runs = overview_of(Dataset(opened.url), graph), runs_seen(opened.store)
        _show_look(opened, table, runs, as_json)
        is_at_work = any(run.is_at_work for run in runs)
        is_all_fresh = table["due"].sum() + table["waits"].sum() + table["blocked"].sum() == 0
        if not is_at_work and (is_all_fresh or was_at_work):
            return
        was_at_work |= is_at_work
        pause()


def _show_look(opened: "Dataset", table: "pl.DataFrame", runs: "list[RunSeen]", as_json: bool) -> None:
    if as_json:
        told = [{"name": run.name, "at_work": run.is_at_work, **run.last} for run in runs]
        print(json.dumps({"stages": table.to_dicts(), "runs": told}), flush=True)
        return
    if sys.stdout.isatty():
        typer.clear()
    show(opened, table)
    print("\n".join(map(str, runs)), flush=True)
