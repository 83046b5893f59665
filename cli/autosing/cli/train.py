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
    list_: Annotated[bool, typer.Option("--list", help="Show the recipes, their columns and settings.")] = False,
) -> None:
    """Train RECIPE on the shards at DATA; leaves a model directory, a report, a log and TensorBoard files in OUT."""
    if list_:
        _list()
        return
    if recipe is None or not data or out is None:
        raise UsageError("train needs RECIPE, --data and --out; `autosing train --list` shows the recipes")
    if stream and (workers or address):
        raise UsageError("--stream is for processes on this machine: leave out --workers and --address")
    if workers is None and not address:
        from autosing.training.recipes import train as run

        result = run(recipe, data, out, set_ or [], resume, StepLines(), weight or [], stream or [])
    else:
        from autosing.training.on_ray import train_on_ray

        result = train_on_ray(
            *(recipe, data, out, set_ or [], resume, StepLines(), weight or []),
            workers=workers or 1,
            gpus_per_worker=gpus_per_worker,
            cpus_per_worker=cpus_per_worker,
            address=address,
        )
    if result.report:
        _tell(result)


def _tell(result: "RunResult") -> None:
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
    state = "finished" if result.finished else "stopped; go on with --resume"
    print(f"{state} at step {result.step}  {metrics}")
    print(f"model: {result.model or 'none yet'}")
    print(f"report: {result.report}")


class StepLines:
    """Prints each new line of the log on stderr."""

    def __init__(self) -> None:
        self._last: Mapping[str, float] = {}

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        if values is not self._last and values:
            told = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            print(f"step {step}  {told}", file=sys.stderr, flush=True)
        self._last = values


def _list() -> None:
    from autosing.training.recipes import describe_recipes

    for info in describe_recipes():
        print(f"{info.name}: {info.summary}\n  columns: {', '.join(info.columns)}")
        for name, (kind, value) in info.settings.items():
            print(f"    {name} ({kind}) = {value}")
