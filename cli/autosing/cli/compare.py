"""`autosing compare`: models of one kind beside each other, on the same songs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from autosing.cli.options import Config, DatasetName
from autosing.pipeline.threads import one_thread


def compare(
    kind: Annotated[Literal["tokens"], typer.Argument(metavar="KIND", help="tokens: tokenizers, by their columns.")],
    dataset: DatasetName,
    instance: Annotated[
        list[str],
        typer.Option(help="An instance that gives tokens: units, tokens, codes, or another of them; give several."),
    ],
    as_ids: Annotated[
        list[str] | None,
        typer.Option(help="One of them whose ids are also resampled as numbers, as SingOMD's released code does."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for a page to listen to, the sounds and the JSON.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps that each decoder learns.")] = 400,
    songs: Annotated[int, typer.Option(min=2, help="Songs that are read, evenly over the set.")] = 128,
    seconds: Annotated[float, typer.Option(min=1, help="From the middle of each song, at most.")] = 20.0,
    held_out: Annotated[int, typer.Option(min=1, help="Songs that are not learned from and give the figures.")] = 12,
    f0: Annotated[str, typer.Option(help="The instance whose pitch is learned.")] = "f0",
    seed: Annotated[int, typer.Option(help="Of the decoders.")] = 0,
    config: Config = None,
) -> None:
    """Compare what the tokens of DATASET keep: one light decoder learns from each tokenizer on the same songs."""
    one_thread()
    import torch

    from autosing.cli.options import open_dataset
    from autosing.evaluation.tokenizers.compare import Request, compare_tokens

    torch.set_num_threads(1)
    opened, _ = open_dataset(dataset, config, None)
    which = (tuple(instance), tuple(as_ids or ()))
    request = Request(*which, f0, songs, seconds, held_out, steps=steps, seed=seed)
    result = compare_tokens(opened, request, out)
    print("\n".join(result.lines))
    if result.page:
        print(f"open {result.page}")
