"""`autosing status`, `explain` and `errors`: what is there, what is left, and why."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from autosing.cli.options import Config, DatasetName, Set, open_dataset

if TYPE_CHECKING:
    import polars as pl

    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.events import RunSeen
    from autosing.pipeline.graph import Graph

AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def status(
    dataset: DatasetName,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again and again, with what runs tell, until all is done.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks of --watch.")] = 10.0,
    set_: Set = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Show for each stage how many partitions are fresh, due, waiting for an input or blocked by a fit."""
    opened, graph = open_dataset(dataset, config, set_)
    if watch:
        _watch(opened, graph, every, as_json)
        return
    table = _overview(opened, graph)
    if as_json:
        print(json.dumps(table.to_dicts()))
    else:
        _show(opened, table)


def _overview(opened: "Dataset", graph: "Graph") -> "pl.DataFrame":
    from autosing.pipeline.schedule import targets_or_all
    from autosing.pipeline.status import overview, plans

    return overview(plans(opened, graph, targets_or_all(graph, ())), graph)


def _show(opened: "Dataset", table: "pl.DataFrame") -> None:
    print(f"{opened.url}: {len(opened.partitions)} partitions")
    print(f"{'stage':16}{'fresh':>7}{'due':>7}{'waits':>7}{'blocked':>9}{'errors':>8}  note")
    for name, fresh, due, waits, blocked, errors_, note in table.rows():
        print(f"{name:16}{fresh:>7}{due:>7}{waits:>7}{blocked:>9}{errors_:>8}  {note}")


def _watch(opened: "Dataset", graph: "Graph", every_s: float, as_json: bool) -> None:
    """Shows the state until all is fresh and nobody works, or the runs that were seen at work have ended."""
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.events import runs_seen

    were_at_work: set[str] = set()
    while True:
        table, runs = _overview(Dataset(opened.url), graph), runs_seen(opened.store)
        _show_look(opened, table, runs, as_json)
        at_work = {run.name for run in runs if run.is_at_work}
        all_fresh = not table["due"].sum() + table["waits"].sum() + table["blocked"].sum()
        if not at_work and (all_fresh or were_at_work):
            return
        were_at_work |= at_work
        time.sleep(every_s)


def _show_look(opened: "Dataset", table: "pl.DataFrame", runs: "list[RunSeen]", as_json: bool) -> None:
    if as_json:
        print(json.dumps({"stages": table.to_dicts(), "runs": [{"name": r.name, **r.last} for r in runs]}), flush=True)
        return
    if sys.stdout.isatty():
        typer.clear()
    _show(opened, table)
    print("\n".join(map(str, runs)), flush=True)


def explain(
    dataset: DatasetName,
    partition: Annotated[int, typer.Argument(metavar="PARTITION", help="Number of the partition.")],
    instance: Annotated[str, typer.Argument(metavar="STAGE", help="The stage.")],
    set_: Set = None,
    config: Config = None,
) -> None:
    """Say why STAGE of PARTITION is fresh or stale, and what it was computed from."""
    from autosing.pipeline.status import explain as explain_instance

    opened, graph = open_dataset(dataset, config, set_)
    print("\n".join(explain_instance(opened, graph, partition, instance)))


def errors(
    dataset: DatasetName,
    stages: Annotated[list[str] | None, typer.Argument(metavar="STAGE", help="Stages; none: all.")] = None,
    inherited: Annotated[bool, typer.Option("--inherited", help="Also the errors that come from an input.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the songs that have an error, with the reason."""
    from autosing.pipeline.status import errors_of

    opened, graph = open_dataset(dataset, config, None)
    table = errors_of(opened, stages or graph.names, inherited)
    if as_json:
        print(json.dumps(table.to_dicts()))
        return
    for number, id, instance, error in table.rows():
        print(f"{number}\t{id}\t{instance}\t{error}")
