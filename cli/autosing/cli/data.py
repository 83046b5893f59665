"""`autosing status`, `explain` and `errors`: what is there, what is left, and why."""

import json
import time
from typing import Annotated

import typer

from autosing.cli.options import Config, DatasetName, Set, open_dataset
from autosing.cli.watch import overview_of, show, watch_runs

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
        watch_runs(opened, graph, lambda: time.sleep(every), as_json)
        return
    table = overview_of(opened, graph)
    if as_json:
        print(json.dumps(table.to_dicts()))
    else:
        show(opened, table)


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
