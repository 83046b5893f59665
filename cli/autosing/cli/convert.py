"""`autosing convert`: recordings sung by another singer."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from autosing.cli.options import Config, Device, loudness_of, separator_of, show_singers
from autosing.pipeline.threads import one_thread
from autosing.signal.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autosing.conversion.inputs import Input
    from autosing.conversion.job import Job
    from autosing.conversion.text import Outcome
    from autosing.synthesis.convert import Converter


def convert(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="What `train svc` or `train svc_student` made.")],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IN... OUT",
            help="Sound files, folders or JSON manifests, and last OUT: a folder, or a .wav or .flac file for one IN.",
        ),
    ] = None,
    singer: Annotated[
        str | None,
        typer.Option(
            help="NAME; several at once, ada:0.7,ben:0.3; one after the other with seconds, 0:ada,12.5:ben; or, of a "
            "model that knows voices by recordings, the path of one."
        ),
    ] = None,
    list_singers: Annotated[bool, typer.Option("--list-singers", help="Show the model's singers.")] = False,
    vocoder: Annotated[
        str | None, typer.Option(help="What `train vocoder` made. Without it griffin-lim, which needs no weights.")
    ] = None,
    key: Annotated[
        float | None, typer.Option(help="Semitones, e.g. +3. Without it the pitch of the source goes to the singer's.")
    ] = None,
    round_key: Annotated[
        bool, typer.Option("--round-key/--no-round-key", help="Whether a key that is found is whole semitones.")
    ] = True,
    formant: Annotated[float, typer.Option(help="Semitones that formants are moved by.")] = 0.0,
    loudness: Annotated[str, typer.Option(help="source, none, or a number in LUFS.")] = "source",
    steps: Annotated[
        int | None, typer.Option(help="Of the solver, 18 without it; calls of a student, 1 without it.")
    ] = None,
    solver: Annotated[Literal["heun", "euler"], typer.Option(help="Of a teacher.")] = "heun",
    guidance: Annotated[float, typer.Option(help="How far towards the singer; 1 is the model's own.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the noise; the same seed gives the same sound.")] = 0,
    stems: Annotated[
        bool, typer.Option("--stems", help="IN are mixes: separate them, convert the voice and mix it back.")
    ] = False,
    backing: Annotated[Path | None, typer.Option(help="Mix the converted voice with this file.")] = None,
    format: Annotated[Literal["wav", "flac"] | None, typer.Option(help="Of the outputs; wav without it.")] = None,
    bits: Annotated[int, typer.Option(help="16 or 24.")] = 16,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make outputs again that are there.")] = False,
    device: Annotated[Device, typer.Option(help="auto, cpu or cuda.")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Where the models of stages are: INSTANCE.FIELD=PATH, e.g. content.model=runs/units/model."
        ),
    ] = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Sing the recordings IN by another singer; leaves sounds in OUT, and beside each a JSON of how it was made."""
    one_thread()
    if list_singers:
        _show_singers(model, as_json)
        return
    if singer is None or not paths or len(paths) < 2:
        raise UsageError("convert needs MODEL, --singer, at least one IN and, last, OUT; --list-singers shows singers")
    from autosing.conversion.inputs import find_inputs
    from autosing.conversion.job import Job, exit_code
    from autosing.sounds.outputs import Outputs
    from autosing.synthesis.convert import Wanted

    if stems and backing is not None:
        raise UsageError("--stems makes the backing of each mix itself; leave out one of --stems and --backing")
    inputs = find_inputs(paths[:-1], paths[-1])
    outputs = Outputs.of(paths[-1], format, bits, len(inputs))
    wanted = Wanted(singer, key, round_key, formant, loudness_of(loudness), steps, solver, guidance, seed)
    converter, made_with = _converter(model, vocoder, set_ or [], device)
    separator = separator_of(config, set_, device) if stems else None
    job = Job(converter, wanted, outputs, separator, backing, overwrite, made_with)
    outcomes = _run(job, inputs)
    _show(outcomes, as_json)
    raise typer.Exit(exit_code(outcomes))


def _converter(
    model: str, vocoder: str | None, overrides: list[str], device: Device
) -> "tuple[Converter, dict[str, object]]":
    """Returns the converter, and the facts that are the same for all recordings."""
    from autosing.models.directory import directory_digest, load_model
    from autosing.models.hub import model_folder
    from autosing.pipeline.contract_columns import ContractColumns
    from autosing.signal.ssl_encoder import torch_device
    from autosing.sounds.reading import reference_of
    from autosing.synthesis.convert import Converter, svc_of
    from autosing.synthesis.resynthesize import GRIFFIN_LIM, way_of
    from autosing.training.provenance import provenance

    if vocoder is None:
        print("no --vocoder: griffin-lim, which needs no weights and sounds rough", file=sys.stderr)
    named = vocoder or GRIFFIN_LIM
    loaded = load_model(model)
    svc_of(loaded)
    features = ContractColumns(f"the model {model}", loaded.contract, overrides, device)
    converter = Converter(loaded, way_of(named, device=device), features, reference_of)
    converter.model.to(torch_device(device, "convert"))
    digest = None if named == GRIFFIN_LIM else directory_digest(model_folder(named))
    return converter, {"model_path": model, "vocoder": {"path": named, "digest": digest}, **provenance()}


def _show_singers(model: str, as_json: bool) -> None:
    from autosing.models.hub import model_folder
    from autosing.signal.checkpoint import Checkpoint
    from autosing.signal.errors import CheckpointError

    config = Checkpoint(str(model_folder(model))).config
    if config.get("class") != "svc":
        raise CheckpointError(f"{model} is no conversion model but a {config.get('class')!r}; give one of `train svc`")
    singers = list(config["contract"].get("singers", ()))
    by_recording = "the model sings like any recording: give the path of one as --singer"
    hears = bool(config["fields"].get("embedding_dim"))
    show_singers(singers, by_recording if hears else "the model was trained without singers", as_json)


def _run(job: "Job", inputs: "Sequence[Input]") -> "list[Outcome]":
    from autosing.conversion.text import Progress

    found = []
    with Progress(len(inputs)) as progress:
        for outcome in job.run(inputs, progress):
            progress.ended(outcome)
            found.append(outcome)
    return found


def _show(outcomes: "Sequence[Outcome]", as_json: bool) -> None:
    import json

    from autosing.conversion.text import lines_of, plain_data

    print(json.dumps(plain_data(outcomes)) if as_json else "\n".join(lines_of(outcomes)))
