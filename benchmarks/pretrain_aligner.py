"""Trains the aligner that the package ships, from nothing but the synthetic singer, and puts it into the package.

    python benchmarks/pretrain_aligner.py            the shipped one: about an hour and a half on one core
    python benchmarks/pretrain_aligner.py --out F    elsewhere

Two runs: with the true times of the phones until the nets hear anything, and CTC with the times as a reminder. Samples
are trimmed at random, so that no net learns where in its window a line begins. Everything is seeded, so the same
versions on the same kind of machine give the same weights.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from autosing.aligner.shipped import FOLDER
from autosing.models.directory import load_model, save_model
from autosing.training.record import MODEL

# Name, steps and settings of each run; it begins from the model of the one before. Nothing is learned from text alone
# before the times have shown what to hear, and a net that is never reminded of them is sure where it is wrong.
STAGES = (
    ("timed", 400, ("schedule=constant", "timing_weight=4")),
    ("reminded", 2600, ("timing_weight=0.25",)),
)
SEED = 1
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
    parser.add_argument("--songs", type=int, default=440)
    parser.add_argument("--share", type=float, default=1.0, help="of the steps, to try it")
    parser.add_argument("--work", type=Path, help="keep songs and runs here; what is there already is used again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        _pretrain(arguments.work or Path(temporary), arguments)


def _pretrain(work: Path, arguments: argparse.Namespace) -> None:
    work.mkdir(parents=True, exist_ok=True)
    project, songs, shards = work / "datasets.yaml", work / "songs", work / "shards"
    project.write_text(PROJECT)
    if not (shards / "manifest.json").exists():
        _run("ingest", f"synthetic:{arguments.songs}x40@7+studio", songs, "--partition-mb", 64)
        _run("process", songs, "cuts.lines", "lyric_mel", "--config", project, "--executor", "local")
        _run("build", songs, shards, "--spec", "aligner", "--config", project)
    model = ""
    for name, steps, settings in STAGES:
        begin = [f"begin_from={model}"] if model else []
        told = [
            f"steps={max(round(steps * arguments.share), 1)}",
            "validate_every=250",
            f"seed={SEED}",
            *settings,
            *begin,
        ]
        options = [word for setting in told for word in ("--set", setting)]
        _run("train", "aligner_synthetic", "--data", shards, "--out", work / name, "--resume", *options)
        model = str(work / name / MODEL)
    loaded = load_model(model)
    save_model(arguments.out, loaded.model.half(), loaded.contract, {"metrics": (loaded.training or {})["metrics"]})


def _run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "autosing.cli.main", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
