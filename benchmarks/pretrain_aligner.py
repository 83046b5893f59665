"""Trains the aligner that the package ships, from nothing but the synthetic singer, and puts it into the package.

    python benchmarks/pretrain_aligner.py            the shipped one: about an hour on one core
    python benchmarks/pretrain_aligner.py --out F    elsewhere

Three runs, in which the true times of the phones count less and less beside CTC. Samples are trimmed at random, so that
no net learns where in its window a line begins. Everything is seeded, so the same versions on the same kind of machine
give the same weights.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from autosing.aligner.shipped import FOLDER
from autosing.models.directory import load_model, save_model
from autosing.training.record import MODEL

SONGS = ("synthetic:200x40@8+studio", "synthetic:200x40@9+studio")
# Name, steps and settings of each run; it begins from the model of the one before. CTC alone teaches a net nothing at
# first, and later what words there are rather than how they sound: such nets are sure where they are wrong, and learn
# little from recordings.
STAGES = (
    ("timed", 500, ("schedule=constant", "timing_weight=5")),
    ("both", 500, ("schedule=constant", "timing_weight=1.5")),
    ("reminded", 700, ("timing_weight=0.3",)),
)
PROJECT = """
stages:
  lyric_mel: {keep: true}
  align.rate: {method: rate}
  cuts.lines: {method: lines, words: align.rate, before_s: 0.6, after_s: 1.2}
samples:
  aligner:
    columns: {lyric_mel: lyric_mel.lyric_mel, phones: reference.ref_phones}
    cuts: cuts.lines
    valid_share: 0.05
"""


def main() -> None:
    """Makes the songs, trains, and saves in half precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--share", type=float, default=1.0, help="of the steps, to try it")
    parser.add_argument("--work", type=Path, help="keep songs and runs here; what is there already is used again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        _pretrain(arguments.work or Path(temporary), arguments)


def _pretrain(work: Path, arguments: argparse.Namespace) -> None:
    work.mkdir(parents=True, exist_ok=True)
    project, shards = work / "datasets.yaml", work / "shards"
    project.write_text(PROJECT)
    if not (shards / "manifest.json").exists():
        songs = [work / f"s{number + 1}" for number in range(len(SONGS))]
        for source, folder in zip(SONGS, songs, strict=True):
            _run("ingest", source, folder, "--partition-mb", 64)
            _run("process", folder, "cuts.lines", "lyric_mel", "--config", project, "--executor", "local")
        _run("build", *songs, shards, "--spec", "aligner", "--config", project)
    model = ""
    for name, steps, settings in STAGES:
        begin = [f"begin_from={model}"] if model else []
        told = [f"steps={max(round(steps * arguments.share), 1)}", "validate_every=250", *settings, *begin]
        options = [word for setting in told for word in ("--set", setting)]
        _run("train", "aligner_synthetic", "--data", shards, "--out", work / name, "--resume", *options)
        model = str(work / name / MODEL)
    loaded = load_model(model)
    save_model(arguments.out, loaded.model.half(), loaded.contract, {"metrics": (loaded.training or {})["metrics"]})


def _run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "autosing.cli.main", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
