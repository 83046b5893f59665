"""`autosing resynthesize`: columns back to sound, with a page to compare by ear."""

from pathlib import Path
from typing import Annotated

import typer

from autosing.cli.options import Config, DatasetName
from autosing.pipeline.threads import one_thread


def resynthesize(
    dataset: DatasetName,
    out: Annotated[Path, typer.Option(help="A folder for the sounds, the page and the figures.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="A vocoder or codec, or griffin-lim; several are heard side by side. Default: griffin-lim."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Where a column that a model needs is, if its short name is not enough: NAME=ADDRESS, "
            "e.g. codes_0=codes.snac.codes_0."
        ),
    ] = None,
    songs: Annotated[int, typer.Option(min=1, help="How many songs, evenly over the set.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.1, help="At most so much of each song is on the page.")] = 12.0,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    config: Config = None,
) -> None:
    """Make sound of the columns of DATASET, and a page with it beside the recording: mels, units, tokens or codes."""
    one_thread()
    from autosing.cli.options import open_dataset
    from autosing.evaluation.resynthesis import Request, resynthesise

    opened, _ = open_dataset(dataset, config, None)
    request = Request(tuple(model or ("griffin-lim",)), tuple(column or ()), songs, seconds, seed)
    result = resynthesise(opened, request, out)
    for line in result.lines:
        print(line)
    print(f"open {result.page}")
