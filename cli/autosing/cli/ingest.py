"""`autosing ingest`: songs become partitions."""

from typing import TYPE_CHECKING, Annotated

import typer

from autosing.cli.options import Config, DatasetName

if TYPE_CHECKING:
    from autosing.pipeline.ingest.partitions import IngestResult

SHOWN_PROBLEMS = 20
FORMATS = (
    "auto (what datasets.yaml says, else found out), folder, parquet, synthetic, m4singer, opencpop, opencpop-songs, "
    "opensinger, vctk, ljspeech, jamendolyrics, gtsinger, pjs, svcc, ultrastar, lhotse, jsonl or hts."
)


def ingest(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of audio or of a known corpus, a manifest (JSON lines, metadata.csv, lhotse cuts), a "
            "Parquet file or tree, or synthetic:40x20@1 (40 songs of 20 s with seed 1).",
        ),
    ],
    dataset: DatasetName,
    format: Annotated[str, typer.Option(help=FORMATS)] = "auto",
    prefix: Annotated[str, typer.Option(help="Put before every id.")] = "",
    include: Annotated[list[str] | None, typer.Option(help="Glob of files to take; may be given again.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Glob of files to leave out; may be given again.")] = None,
    artist: Annotated[str | None, typer.Option(help="Artist of songs that name none.")] = None,
    audio_root: Annotated[
        str | None, typer.Option(help="A further folder in which the files that a manifest names may lie.")
    ] = None,
    partition_mb: Annotated[float, typer.Option(help="Size at which a partition is full.")] = 256,
    config: Config = None,
) -> None:
    """Append the songs of SOURCE to DATASET as numbered partitions. Songs that are there already are skipped."""
    from autosing.pipeline.ingest.sources import IngestOptions
    from autosing.pipeline.ingest.sources import ingest as ingest_source
    from autosing.pipeline.settings import load_project

    entry = load_project(config).dataset(dataset)
    layout = entry.format if format == "auto" else format
    options = IngestOptions(
        layout, prefix, tuple(include or ()), tuple(exclude or ()), artist, partition_mb, audio_root
    )
    result = ingest_source(source, entry.path, options)
    _tell_problems(result)
    print(
        f"{result.songs} songs ({result.bytes / 1e6:.1f} MB) in {result.partitions} new partitions; "
        f"{result.skipped} were there already"
    )


def _tell_problems(result: "IngestResult") -> None:
    for problem in result.problems[:SHOWN_PROBLEMS]:
        typer.echo(f"not taken as it is: {problem}", err=True)
    if len(result.problems) > SHOWN_PROBLEMS:
        typer.echo(f"... and {len(result.problems) - SHOWN_PROBLEMS} more lines like these", err=True)
    if result.n_problems:
        typer.echo(f"{result.n_problems} things of the source were not taken as they are", err=True)
