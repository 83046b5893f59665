"""`autosing eval`: computed columns beside reference columns, song by song."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from autosing.cli.options import Config, DatasetName
from autosing.pipeline.threads import one_thread

Instances = Annotated[
    list[str] | None,
    typer.Option("--instance", help="An instance to compare; may be given again. Without it all that are stored."),
]
Worst = Annotated[int | None, typer.Option(min=0, help="List only so many of the worst songs; the means are of all.")]
Out = Annotated[Path | None, typer.Option(help="A folder in which to leave a page with pictures, and the JSON.")]
Drawn = Annotated[int, typer.Option("--pictures", min=0, help="How many of the worst songs the page draws.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]

app = typer.Typer(
    help="Compare computed columns with the reference columns of DATASET, song by song, the worst first.",
    no_args_is_help=True,
)


@app.command("align")
def align(
    dataset: DatasetName,
    instance: Instances = None,
    worst: Worst = None,
    out: Out = None,
    pictures: Drawn = 6,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Word times beside ref_words (and phones beside ref_phones): how far off, how many lost, is derailment told."""
    _evaluate("align", dataset, instance, worst, out, pictures, as_json, config)


@app.command("f0")
def f0(
    dataset: DatasetName,
    instance: Instances = None,
    worst: Worst = None,
    out: Out = None,
    pictures: Drawn = 6,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """F0 and voicing beside ref_f0_hz and ref_voiced, and beside the notes of ref_notes."""
    _evaluate("f0", dataset, instance, worst, out, pictures, as_json, config)


@app.command("activity")
def activity(
    dataset: DatasetName,
    instance: Instances = None,
    worst: Worst = None,
    out: Out = None,
    pictures: Drawn = 6,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Voice activity beside the times of ref_words, and beside an energy threshold."""
    _evaluate("activity", dataset, instance, worst, out, pictures, as_json, config)


@app.command("notes")
def notes(
    dataset: DatasetName,
    instance: Instances = None,
    worst: Worst = None,
    out: Out = None,
    pictures: Drawn = 6,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Notes transcribed from F0 beside ref_notes: onsets, pitches, ends."""
    _evaluate("notes", dataset, instance, worst, out, pictures, as_json, config)


def _evaluate(
    task: str,
    dataset: str,
    instances: list[str] | None,
    worst: int | None,
    out: Path | None,
    n_pictures: int,
    as_json: bool,
    config: str | None,
) -> None:
    one_thread()
    import json

    from autosing.evaluation.tasks import evaluate
    from autosing.evaluation.text import plain_data, table_text
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.settings import load_project

    opened = Dataset(load_project(config).dataset(dataset).path)
    comparison = evaluate(task, opened, instances or ())
    print(json.dumps(plain_data(comparison)) if as_json else table_text(comparison, worst))
    if out is not None:
        from autosing.evaluation.tasks import write_results

        page = write_results(out, opened, comparison, n_pictures)
        print(f"open {page}", file=sys.stderr if as_json else sys.stdout)
