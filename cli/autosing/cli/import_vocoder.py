"""`autosing import-vocoder`: a published vocoder becomes a model directory, without trust in it."""

from pathlib import Path
from typing import Annotated

import typer


def import_vocoder(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="The folder of config and weights, or the file of the weights.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The model directory to make.")],
    max_gib: Annotated[float, typer.Option(help="Refuse more than this.")] = 8,
    timeout_s: Annotated[float, typer.Option(help="Give up after this many seconds.")] = 600,
) -> None:
    """Make a model directory of a published BigVGAN, HiFi-GAN, NSF-HiFiGAN or Vocos; code in it never runs."""
    from autosing.models.published.importing import import_vocoder as make

    made = make(checkpoint, folder, int(max_gib * 2**30), timeout_s)
    columns = "mel, f0_hz and voiced" if made.use_f0 else "mel"
    print(f"{folder}: {made.kind} at {made.spec.sample_rate} Hz, of the columns {columns}")
    print(" ".join(["its mel: autosing process DATASET mel", *(f"--set {setting}" for setting in made.settings)]))
