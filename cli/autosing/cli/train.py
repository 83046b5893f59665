"""`autosing train`: shards become a model."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from autosing.signal.errors import UsageError


def train(
    recipe: Annotated[str | None, typer.Argument(metavar="RECIPE", help="A recipe; --list shows them.")] = None,
    data: Annotated[Path | None, typer.Option(help="The folder that `build` wrote.")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the run, new unless --resume.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: FIELD=VALUE, e.g. steps=400.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last state in OUT.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Show the recipes, their columns and settings.")] = False,
) -> None:
    """Train RECIPE on the shards at DATA; leaves a model directory, a log and TensorBoard files in OUT."""
    if list_:
        _list()
        return
    if recipe is None or data is None or out is None:
        raise UsageError("train needs RECIPE, --data and --out; `autosing train --list` shows the recipes")
    from autosing.training.recipes import train as run

    result = run(recipe, data, out, set_ or [], resume, on_step=StepLines())
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
    state = "finished" if result.finished else "stopped; go on with --resume"
    print(f"{state} at step {result.step}  {metrics}")
    print(f"model: {result.model or 'none yet'}")


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
