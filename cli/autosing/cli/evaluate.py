"""`autosing eval`: computed columns beside reference columns, song by song; and conversion models on songs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from autosing.cli.options import Config, DatasetName
from autosing.pipeline.threads import one_thread

app = typer.Typer(
    help="Compare columns with the truth, conversion models with each other, or judge songs that were sung.",
    no_args_is_help=True,
)

OF_COLUMNS = {
    "align": "Word times beside ref_words, and phones beside ref_phones.",
    "f0": "Pitch and voicing beside ref_f0_hz and ref_voiced, and beside the notes of ref_notes.",
    "activity": "Voice activity beside the times of ref_words.",
    "notes": "Notes transcribed from F0 beside ref_notes.",
}


def _of_columns(task: str) -> Callable[..., None]:
    """Returns the command of a task, which compares instances of a data set with its reference columns."""

    def evaluate(
        dataset: DatasetName,
        instances: Annotated[
            list[str] | None,
            typer.Option(
                "--instance", help="An instance to compare; may be given again. Without it all that are stored."
            ),
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

    return evaluate


for _task, _help in OF_COLUMNS.items():
    app.command(_task, help=_help)(_of_columns(_task))


@app.command("svc")
def svc(
    dataset: DatasetName,
    model: Annotated[
        list[str],
        typer.Option(help="A teacher or student that `autosing train svc` or svc_student made; may be given again."),
    ],
    vocoder: Annotated[str, typer.Option(help="A vocoder's directory, or griffin-lim.")] = "griffin-lim",
    singer: Annotated[
        list[str] | None,
        typer.Option(help="Who is to sing; may be given again. Without it all of the model's in turns."),
    ] = None,
    parallel: Annotated[
        bool, typer.Option(help="Take songs that the set has by another singer under the same title, and compare.")
    ] = False,
    voices: Annotated[
        str | None, typer.Option(help="A data set whose recordings teach the probe who is who, in place of DATASET.")
    ] = None,
    songs: Annotated[int, typer.Option(min=1, help="How many, evenly over the set.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Of teachers.")] = 18,
    guidance: Annotated[float, typer.Option(min=0, help="How far towards the singer; 1 is the models' own.")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="A folder for a page to listen to, the sounds and the JSON.")] = None,
    shown: Annotated[int, typer.Option(min=1, help="Songs on the page.")] = 4,
    seconds: Annotated[float, typer.Option(min=1, help="Of each song on the page.")] = 12.0,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    config: Config = None,
) -> None:
    """Conversion models on the songs of DATASET: whom they sound like, what stays of the pitch, how fast they are."""
    one_thread()
    import json

    import torch

    from autosing.cli.options import open_dataset
    from autosing.evaluation.conversion.compare import Request, compare_conversions
    from autosing.evaluation.conversion.songs import Choice

    torch.set_num_threads(1)
    opened, _ = open_dataset(dataset, config, None)
    choice = Choice(songs, tuple(singer or ()), parallel)
    known = open_dataset(voices, config, None)[0] if voices else None
    request = Request(tuple(model), vocoder, choice, steps, shown, seconds, seed, known, guidance)
    result = compare_conversions(opened, request, out)
    print(json.dumps(result.figures) if as_json else "\n".join(result.lines))
    if result.page:
        print(f"open {result.page}", file=sys.stderr if as_json else sys.stdout)


@app.command("sing")
def sing(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="That `autosing sing` left songs in.")],
    aligner: Annotated[str, typer.Option(help="Hears the lyrics: shipped, or what `train aligner` made.")] = "shipped",
    singer_model: Annotated[
        str | None,
        typer.Option(help="Compares voices by this model, which `train singer` made; without it by statistics."),
    ] = None,
    references: Annotated[
        bool, typer.Option("--references/--no-references", help="Whether references are taken apart for their voices.")
    ] = True,
    out: Annotated[Path | None, typer.Option(help="A folder for a page to listen to, the sounds and the JSON.")] = None,
    shown: Annotated[int, typer.Option(min=1, help="Songs on the page.")] = 8,
    seconds: Annotated[float, typer.Option(min=1, help="Of each song on the page.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of `stems`, or of what the singer model hears."),
    ] = None,
    config: Config = None,
) -> None:
    """Songs that were sung: which lines and words are heard, pitch, voice, loudness and speed."""
    one_thread()
    import json

    from autosing.evaluation.singing.compare import Request, evaluate_singing
    from autosing.evaluation.singing.singers import SingerEar
    from autosing.pipeline.settings import load_project
    from autosing.sounds.mixes import Separator

    project = load_project(config)
    separator = Separator(project, set_ or []) if references else None
    ear = SingerEar(singer_model, project, set_ or []) if singer_model else None
    result = evaluate_singing(Request(folder, aligner, separator, ear, shown, seconds), out)
    told = {"songs": result.songs, "means": result.means}
    print(json.dumps(told) if as_json else "\n".join(result.lines))
    if result.page:
        print(f"open {result.page}", file=sys.stderr if as_json else sys.stdout)
