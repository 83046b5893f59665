"""`autosing verify`, `gc` and `repartition`: what is there is looked at, freed of leftovers, and divided anew."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from autosing.cli.options import Config
from autosing.pipeline.threads import one_thread
from autosing.signal.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from autosing.pipeline.settings import Project
    from autosing.pipeline.upkeep.findings import Checked

Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="A data set by name, path or URL, or the folder of a built set.")
]
Age = Annotated[float, typer.Option(min=0, help="Leftovers of killed runs must be so many hours old.")]
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


def gc(
    target: Target,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    older_than_h: Age = 24.0,
    unlisted: Annotated[
        bool, typer.Option("--unlisted", help="Also columns of instances that the settings file does not name.")
    ] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Remove what killed runs left in TARGET, and tell its bytes. Files that autosing did not write stay."""
    from autosing.pipeline.settings import load_project
    from autosing.pipeline.upkeep.sweep import sweep

    project = load_project(config)
    url = project.dataset(target).path
    removed, total = [], 0
    for orphan in sweep(url, older_than_h, _listed(project, target) if unlisted else None, dry_run):
        removed.append({"file": f"{url}/{'/'.join(orphan.parts)}", "bytes": orphan.bytes, "why": orphan.problem})
        total += orphan.bytes
        if not as_json:
            print("{file}: {bytes} bytes, {why}".format(**removed[-1]), flush=True)
    if as_json:
        print(json.dumps({"removed": removed, "bytes": total, "dry_run": dry_run}))
    else:
        print(f"{total} bytes {'would be ' if dry_run else ''}freed")


def _listed(project: "Project", target: str) -> "Collection[str]":
    """Returns the instances that the settings name; without a file nobody says which labelled ones are in use."""
    if not project.datasets and not project.stages:
        raise UsageError("--unlisted needs a settings file that says which instances there are; give it with --config")
    return project.graph(project.dataset(target)).instances


def repartition(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A data set by name, path or URL; it stays as it is.")
    ],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A new folder or URL.")],
    partition_mb: Annotated[float, typer.Option(min=0, help="Audio at which a partition is full.")] = 256,
    hours: Annotated[float, typer.Option(min=0, help="Length at which a partition is full.")] = 4.0,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write songs and fresh columns of SOURCE to TARGET, in partitions of a good size. Once stopped, it goes on."""
    one_thread()
    from autosing.pipeline.settings import load_project
    from autosing.pipeline.upkeep.repartition import repartition as divide

    project = load_project(config)
    done = divide(project.dataset(source).path, project.dataset(target).path, partition_mb, hours)
    if as_json:
        print(json.dumps(asdict(done)))
        return
    print(f"{done.songs} songs of {done.before} partitions in {done.after}")
    for why, counts in done.left.items():
        for instance, partitions in counts.items():
            print(f"left behind: {instance} of {partitions} partitions ({why}); autosing process computes it")
