"""`autosing train`: shards become a model."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autosing.signal.errors import UsageError

if TYPE_CHECKING:
    from autosing.training.loop import RunResult


def train(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A recipe; --list shows them. Your own: MODULE:FUNCTION.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="The folder or URL that `build` wrote; several are mixed.")
    ] = None,
    weight: Annotated[
        list[float] | None, typer.Option(help="For each --data: how often its samples are taken per epoch, e.g. 0.5.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the run, new unless --resume.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: FIELD=VALUE, e.g. steps=400.")
    ] = None,
    begin_from: Annotated[
        str | None, typer.Option("--from", help="Fine-tune: begin with the weights of this model directory or hub id.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last state in OUT.")] = False,
    workers: Annotated[
        int | None, typer.Option(help="Train with N processes on Ray. Without it, in this process or torchrun's.")
    ] = None,
    gpus_per_worker: Annotated[float, typer.Option(help="GPUs of each Ray worker.")] = 0,
    cpus_per_worker: Annotated[float, typer.Option(help="CPUs of each Ray worker.")] = 1,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster, e.g. ray://head:10001.")] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(help="Read training samples from a WebDataset URL, e.g. 'pipe:COMMAND', instead of DATA's tars."),
    ] = None,
    list_: Annotated[
        bool,
        typer.Option("--list", help="Show the recipes with their columns and settings; of RECIPE, what each means."),
    ] = False,
) -> None:
    """Train RECIPE on the shards at DATA; leaves a model directory, a report, a log and TensorBoard files in OUT."""
    if list_:
        _list(recipe)
        return
    if recipe is None or not data or out is None:
        raise UsageError("train needs RECIPE, --data and --out; `autosing train --list` shows the recipes")
    from autosing.training.run import Job, run

    settings = (*([f"begin_from={begin_from}"] if begin_from else []), *(set_ or ()))
    job = Job(recipe, tuple(data), out, settings, resume, tuple(weight or ()), tuple(stream or ()))
    if workers is None and not address:
        if gpus_per_worker:
            raise UsageError("--gpus-per-worker is for workers on Ray: give --workers N, or use torchrun")
        result = run(job, tell)
    else:
        from autosing.training.on_ray import run_on_ray

        share = {"gpus_per_worker": gpus_per_worker, "cpus_per_worker": cpus_per_worker}
        result = run_on_ray(job, tell, workers=workers or 1, address=address, **share)
    if result.report:
        _tell(result)


def _tell(result: "RunResult") -> None:
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
    state = "finished" if result.finished else "stopped; go on with --resume"
    print(f"{state} at step {result.step}  {metrics}")
    print(f"model: {result.model or 'none yet'}")
    print(f"report: {result.report}")


def tell(step: int, values: Mapping[str, float]) -> None:
    """Prints a line of the log on stderr, where there is one."""
    if values:
        told = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"step {step}  {told}", file=sys.stderr, flush=True)


def _list(recipe: str | None) -> None:
    from autosing.training.recipes import describe_recipes

    for info in describe_recipes([recipe] if recipe else []):
        print(f"{info.name}: {info.summary}\n  columns: {', '.join(info.columns)}")
        for name, (kind, value, meaning) in info.settings.items():
            shown = str(value).lower() if isinstance(value, bool) else value
            print(f"    {name} = {shown}  ({kind}){f': {meaning}' if recipe and meaning else ''}")
