"""Options that several commands share, and how a data set is named."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.graph import Graph
    from autosing.sounds.mixes import Separator
    from autosing.synthesis.conversion.levels import Loudness

Config = Annotated[
    str | None, typer.Option("--config", help="Settings file; without it ./datasets.yaml, where there is one.")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting: INSTANCE.FIELD=VALUE, e.g. f0.method=praat.")
]
Device = Literal["auto", "cpu", "cuda"]
DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="A name in datasets.yaml, a path or a URL.")]


def open_dataset(name: str, config: str | None, overrides: list[str] | None) -> "tuple[Dataset, Graph]":
    """Returns a data set and its stage instances."""
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.settings import load_project

    project = load_project(config)
    entry = project.dataset(name)
    return Dataset(entry.path), project.graph(entry, overrides or ())


def loudness_of(text: str) -> "Loudness":
    """Returns a number where it is one; what is made says what else it may be."""
    try:
        return float(text)
    except ValueError:
        return text  # type: ignore[return-value]


def separator_of(config: str | None, overrides: list[str] | None, device: Device) -> "Separator":
    """Returns what takes mixes apart."""
    from autosing.pipeline.settings import load_project
    from autosing.sounds.mixes import Separator

    return Separator(load_project(config), overrides or [], device)


def show_singers(singers: Sequence[str] | None, otherwise: str, as_json: bool) -> None:
    """Prints whom models know, and something else where that is nobody."""
    if as_json:
        print(json.dumps(singers))
    else:
        print("\n".join(singers) if singers else otherwise)
