"""`autosing status`, `explain` and `errors`: what is there, what is left, and why."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from autosing.cli.options import Config, DatasetName, Set, open_dataset

if TYPE_CHECKING:
    from autosing.pipeline.graph import Graph

AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def status(
    dataset: DatasetName,
    set_: Set = None,
    config: Config = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until nothing is left to do.")] = False,
    every_s: Annotated[float, typer.Option(min=0.1, help="Seconds between looks of --watch.")] = 10.0,
) -> None:
    """Show for each stage how many partitions are fresh, due, waiting for an input or blocked by a fit."""
    import time

    opened, graph = open_dataset(dataset, config, set_)
    while show_status(opened.url, graph, as_json) and watch:
        time.sleep(every_s)


def show_status(url: str, graph: "Graph", as_json: bool) -> bool:
    """Prints what is there now, by listings and commit records alone, and returns whether something is left to do."""
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.events import last_run
    from autosing.pipeline.schedule import targets_or_all
    from autosing.pipeline.status import overview, plans

    opened = Dataset(url)
    graph.forget_definitions()
    found = plans(opened, graph, targets_or_all(graph, ()))
    table = overview(found, graph)
    if as_json:
        print(json.dumps(table.to_dicts()), flush=True)
    else:
        print(f"{url}: {len(found)} partitions")
        print(f"{'stage':16}{'fresh':>7}{'due':>7}{'waits':>7}{'blocked':>9}{'errors':>8}  note")
        for name, fresh, due, waits, blocked, errors_, note in table.rows():
            print(f"{name:16}{fresh:>7}{due:>7}{waits:>7}{blocked:>9}{errors_:>8}  {note}")
        if run := last_run(opened.store):
            print(f"last run: {run}", flush=True)
    return bool(table.select("due", "waits", "blocked").sum_horizontal().sum())


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
