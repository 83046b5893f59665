"""`autosing verify`: what is there is looked at."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from autosing.cli.options import Config
from autosing.pipeline.threads import one_thread

if TYPE_CHECKING:
    from autosing.pipeline.upkeep.findings import Checked

Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="A data set by name, path or URL, or the folder of a built set.")
]
Age = Annotated[float, typer.Option(min=0, help="Leftovers of killed runs must be so many hours old to be told.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def verify(
    target: Target,
    quick: Annotated[bool, typer.Option("--quick", help="Read no values: footers, ids, errors, indexes.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    older_than_h: Age = 24.0,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Derive again what TARGET says of itself. Says nothing where all is well; else a line per finding, and exit 1."""
    one_thread()
    from autosing.pipeline.settings import load_project
    from autosing.pipeline.upkeep.verify import verify as verify_target

    url = load_project(config).dataset(target).path
    found = verify_target(url, quick, workers, older_than_h, None if as_json else _tell)
    if as_json:
        print(json.dumps(asdict(found)))
    raise typer.Exit(1 if found.findings else 0)


def _tell(found: "Checked") -> None:
    for finding in found.findings:
        print(finding, flush=True)
