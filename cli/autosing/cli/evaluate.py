"""`autosing eval`: computed columns beside reference columns, song by song."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from autosing.cli.options import Config, DatasetName
from autosing.pipeline.threads import one_thread

TaskName = Literal["align", "f0", "activity", "notes"]


def evaluate(
    task: Annotated[
        TaskName,
        typer.Argument(
            metavar="TASK",
            help="align: word times beside ref_words, and phones beside ref_phones. f0: pitch and voicing beside "
            "ref_f0_hz and ref_voiced, and beside the notes of ref_notes. activity: voice activity beside the times "
            "of ref_words. notes: notes transcribed from F0 beside ref_notes.",
        ),
    ],
    dataset: DatasetName,
    instances: Annotated[
        list[str] | None,
        typer.Option("--instance", help="An instance to compare; may be given again. Without it all that are stored."),
    ] = None,
    worst: Annotated[
        int | None, typer.Option(min=0, help="List only so many of the worst songs; the means are of all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder in which to leave a page with pictures, and the JSON.")
    ] = None,
    n_pictures: Annotated[
        int, typer.Option("--pictures", min=0, help="How many of the worst songs the page draws.")
    ] = 6,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    config: Config = None,
) -> None:
    """Compare computed columns with the reference columns of DATASET, song by song, the worst first."""
    one_thread()
    import json

    from autosing.evaluation.tasks import evaluate as evaluate_task
    from autosing.evaluation.text import plain_data, table_text
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.settings import load_project

    opened = Dataset(load_project(config).dataset(dataset).path)
    comparison = evaluate_task(task, opened, instances or ())
    print(json.dumps(plain_data(comparison)) if as_json else table_text(comparison, worst))
    if out is not None:
        from autosing.evaluation.tasks import write_results

        page = write_results(out, opened, comparison, n_pictures)
        print(f"open {page}", file=sys.stderr if as_json else sys.stdout)
