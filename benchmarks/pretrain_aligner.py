"""Trains the aligner that the package ships, from nothing but the synthetic singer, and puts it into the package.

    python benchmarks/pretrain_aligner.py            the shipped one: half an hour on one core
    python benchmarks/pretrain_aligner.py --out F    elsewhere

The recipe `aligner_synthetic` as it is: what the true times of the phones count beside CTC fades, and samples are
trimmed at random, so that no net learns where in its window a line begins. Everything is seeded, so the same versions
on the same kind of machine give the same weights.
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
    parser.add_argument("--set", dest="settings", action="append", default=[], help="of the recipe, to try others")
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
    options = [word for setting in ("validate_every=250", *arguments.settings) for word in ("--set", setting)]
    _run("train", "aligner_synthetic", "--data", shards, "--out", work / "run", "--resume", *options)
    loaded = load_model(str(work / "run" / MODEL))
    save_model(arguments.out, loaded.model.half(), loaded.contract, {"metrics": (loaded.training or {})["metrics"]})


def _run(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "autosing.cli.main", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
