"""`autosing demo` and `report`: the whole road on one machine, and the page that shows it."""

from pathlib import Path
from typing import Annotated

import typer

from autosing.cli.options import Config, DatasetName, Set, open_dataset
from autosing.pipeline.threads import one_thread


def demo(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    from_: Annotated[Path | None, typer.Option("--from", help="A folder of your own recordings.")] = None,
    songs: Annotated[int, typer.Option(min=4, help="Synthetic songs.")] = 32,
    seconds: Annotated[float, typer.Option(min=6, help="Length of a synthetic song.")] = 15,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 400,
) -> None:
    """Ingest, process, build, train and listen: everything in a few minutes on two cores, without a network."""
    one_thread()
    from autosing.cli.road import Road

    page = Road(out, from_, songs, seconds, steps).walk()
    print(f"open {page}")


def report(
    dataset: DatasetName,
    page: Annotated[Path, typer.Argument(metavar="PAGE", help="The HTML file to write.")],
    songs: Annotated[int, typer.Option(min=0, help="How many songs to show, chosen evenly.")] = 6,
    set_: Set = None,
    config: Config = None,
) -> None:
    """Write one self-contained page about DATASET: its columns, distributions, and songs to look at and listen to."""
    one_thread()
    from autosing.pipeline.report.page import write_report

    opened, graph = open_dataset(dataset, config, set_)
    write_report(page, opened, graph, songs)
    print(f"open {page}")
