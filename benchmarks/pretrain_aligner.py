"""Trains the aligner that the package ships, from nothing but the synthetic singer, and puts it into the package.

    python benchmarks/pretrain_aligner.py            the shipped one: about an hour on one core
    python benchmarks/pretrain_aligner.py --out F    elsewhere

Two runs: with the true times of the phones until the nets hear anything, then CTC alone. Everything is seeded, so the
same versions on the same kind of machine give the same weights.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from autosing.aligner.shipped import FOLDER
from autosing.models.directory import load_model, save_model
from autosing.training.record import MODEL

PROJECT = """
stages:
  lyric_mel: {keep: true}
  align.rate: {method: rate}
  cuts.lines: {method: lines, words: align.rate, before_s: 0.6, after_s: 1.0}
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
    parser.add_argument("--songs", type=int, default=400)
    parser.add_argument("--timed-steps", type=int, default=500)
    parser.add_argument("--steps", type=int, default=2500)
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
    every = ["--set", "validate_every=250", "--resume"]
    _run("train", "aligner_synthetic", "--data", shards, "--out", work / "timed",
         "--set", f"steps={arguments.timed_steps}", "--set", "schedule=constant", *every)  # fmt: skip
    _run("train", "aligner_synthetic", "--data", shards, "--out", work / "alone",
         "--set", f"steps={arguments.steps}", "--set", "timing_weight=0",
         "--set", f"begin_from={work / 'timed' / MODEL}", *every)  # fmt: skip
    loaded = load_model(work / "alone" / MODEL)
    save_model(arguments.out, loaded.model.half(), loaded.contract, {"metrics": (loaded.training or {})["metrics"]})


def _run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "autosing.cli.main", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
