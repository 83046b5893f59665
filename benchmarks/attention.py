"""What makes T2S attend to the lyrics: its switches one by one, on synthetic songs.

    python benchmarks/attention.py SHARDS [--steps N] [--picture FILE.png]

SHARDS is a set of `semantic` tokens with word times, such as `whole` of `benchmarks/gates/lyrics.py --keep FOLDER`.
Each arm changes one thing of the first. Diagonality is the share of the best head's attention that is within about half
a second of what is sung; an arm is aligned from the first validation on at which others' lyrics make its perplexity 1.3
times as high. After DC-TTS (Tachibana et al., 2018), whose guided attention is among the switches.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autosing.pipeline.threads import one_thread

one_thread()

import torch  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from autosing.training.run import train  # noqa: E402

USUAL = ["size=tiny", "lr=3e-3", "warmup_steps=20", "seconds_per_batch=40", "validate_samples=999", "guided_width=0.04"]
ARMS: Mapping[str, Sequence[str]] = {
    "the recipe": (),
    "guided attention": ("guided_weight=1",),
    "not near in time first": ("near_first=false",),
    "the same, guided attention": ("near_first=false", "guided_weight=1"),
    "times of lines": ("text_times=lines",),
    "no times": ("text_times=even",),
    "no times, guided attention": ("text_times=even", "guided_weight=1", "guided_width=0.2"),
    "letters of the aligner": ("letters=letters",),
    "AdamW": ("optimiser=adamw",),
}
ALIGNED_GAP = 1.3
FIGURES = ("perplexity", "lyrics_gap", "diagonality")


def main() -> None:
    """Prints the table, and draws the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=list(ARMS))
    parser.add_argument("--keep", type=Path, help="a folder for the runs")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| arm | perplexity | lyrics gap | diagonality | aligned after | CPU s |")
    print("|---" * 6 + "|")
    curves: dict[str, list[Mapping[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, settings) in enumerate(ARMS.items()):
            if options.only and name not in options.only:
                continue
            run = (options.keep or Path(scratch)) / f"{number}-{options.seed}"
            curves[name] = learned(options, run, name, settings)
    if options.picture:
        drawn(curves).savefig(options.picture)


def learned(options: argparse.Namespace, run: Path, name: str, settings: Sequence[str]) -> list[Mapping[str, Any]]:
    """Trains an arm unless it is there, and prints its row; returns its validations."""
    started = time.process_time()
    of_run = [f"steps={options.steps}", f"validate_every={options.every}", f"save_every={options.steps}"]
    if not (run / "model").exists():
        train("t2s", options.shards, run, [*USUAL, *of_run, f"seed={options.seed}", *settings])
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    told = [row for row in rows if "valid/perplexity" in row]
    aligned = next((row["step"] for row in told if row["valid/lyrics_gap"] >= ALIGNED_GAP), None)
    figures = " | ".join(f"{told[-1][f'valid/{figure}']:.2f}" for figure in FIGURES)
    steps = f"{aligned} steps" if aligned else "not"
    print(f"| {name} | {figures} | {steps} | {time.process_time() - started:.0f} |", flush=True)
    return told


def drawn(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Returns the curves of all arms."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(FIGURES)), FIGURES, strict=True):
        for arm, rows in curves.items():
            axes.plot([row["step"] for row in rows], [row[f"valid/{name}"] for row in rows], marker=".", label=arm)
        axes.set(title=name.replace("_", " "), xlabel="step")
        if name != "diagonality":
            axes.set_yscale("log", base=2)
            axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=math.ceil(len(curves) / 2))
    return figure


if __name__ == "__main__":
    main()
