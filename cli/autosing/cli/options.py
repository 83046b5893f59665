"""Options that several commands share, and how a data set is named."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.graph import Graph

Config = Annotated[
    str | None, typer.Option("--config", help="Settings file; without it ./datasets.yaml, where there is one.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting: INSTANCE.FIELD=VALUE, e.g. f0.method=praat.")
]
DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="A name in datasets.yaml, a path or a URL.")]


def open_dataset(name: str, config: str | None, overrides: list[str] | None) -> "tuple[Dataset, Graph]":
    """Returns a data set and its stage instances."""
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.settings import load_project

    project = load_project(config)
    entry = project.dataset(name)
    return Dataset(entry.path), project.graph(entry, overrides or ())
