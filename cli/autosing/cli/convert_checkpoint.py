"""`autosing convert-checkpoint`: a torch checkpoint becomes safetensors and JSON, without trust in it."""

from pathlib import Path
from typing import Annotated

import typer


def convert_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE.pt", help="A checkpoint that torch.save wrote.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to make.")],
    max_gib: Annotated[float, typer.Option(help="Refuse more than this.")] = 8,
    timeout_s: Annotated[float, typer.Option(help="Give up after this many seconds.")] = 600,
) -> None:
    """Write the tensors and settings of FILE.pt to FOLDER; what can't be kept is listed, code in it never runs."""
    from autosing.models.arrays import WEIGHTS
    from autosing.models.convert import SETTINGS
    from autosing.models.convert import convert_checkpoint as convert

    done = convert(file, folder, int(max_gib * 2**30), timeout_s)
    print(f"{folder}: {len(done.tensors)} tensors in {WEIGHTS}, {len(done.settings)} settings in {SETTINGS}")
    for name, reason in done.skipped.items():
        print(f"skipped {name}: {reason}")
