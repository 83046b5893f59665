"""What the loop costs over a bare PyTorch loop, and on a GPU how much of it a decoder uses.

    python benchmarks/loop.py [--device cpu] [--models acoustic,tiny] [--steps 220]
    python benchmarks/loop.py --device cuda --models 124m,350m --compile

The loop reads its batches from shards, logs to file and TensorBoard, guards against NaN and keeps an average of the
weights, as in a real run; neither validation nor saving is timed. The bare loop has the same batches in memory and does
no more than forward, backward, clipping, a fused AdamW step with a cosine schedule and the average. Both go on in turn
in one process, eleven steps each, so that whatever else the machine does meets both; the ratio is the median of those
of neighbouring stretches, its quartiles beside it. With `--device cuda` the loop then runs by itself and its own
figures are printed: tokens/s, MFU by 6 N + 12 L D T against the data sheet's bf16 peak, and the share of time spent
waiting for data.

The shards are synthesised: units that follow each other by a fixed random table, or mels that follow units.
Exits with 1 where a target is missed.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from machine import machine

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "training")]

from toy_shards import ToySample, toy_sample, write_set  # noqa: E402

from autosing.training.loop import Loop, OnStep  # noqa: E402
from autosing.training.order import START  # noqa: E402
from autosing.training.ranks import joined  # noqa: E402
from autosing.training.recipes import RECIPES  # noqa: E402
from autosing.training.shards import Data  # noqa: E402
from autosing.training.step import tensors  # noqa: E402
from autosing.training.task import RunConfig  # noqa: E402

OVERHEAD_TARGET, WAIT_TARGET = 1.03, 0.02
MFU_TARGETS = {"124m": 0.35, "350m": 0.40}
# Steps that are timed together, and steps at the start that are not.
STRETCH, WARM_UP = 11, 22
UNITS_PER_S = 50
EMA = 0.999


def config_of(model: str, steps: int, device: str, compiled: bool) -> RunConfig:
    """Returns the settings of a model's run: no validation and no state before the last step."""
    often = dict.fromkeys(("validate_every", "save_every"), steps)
    common = {"steps": steps, "warmup_steps": 10, "ema_decay": EMA, "log_every": 10, "device": device, **often}
    common |= {"compile": compiled, "validate_samples": 1}
    if model == "acoustic":
        return RECIPES["acoustic"](size="tiny", seconds_per_batch=12.0, crop_s=1.5, **common)
    from decoder import SIZES, recipe

    length, batch = SIZES[model].length, {"tiny": 8, "124m": 32, "350m": 12}[model]  # type: ignore[index]
    seconds = length / UNITS_PER_S
    return recipe(size=model, seconds_per_batch=batch * seconds, crop_s=seconds, **common)


def write_shards(folder: Path, model: str, n: int) -> Path:
    """Writes a set whose samples are a little longer than the model's crops."""
    if model == "acoustic":
        samples = [toy_sample(number, 2.0 + 0.1 * (number % 5)) for number in range(n)]
    else:
        samples = [_tokens(number, model) for number in range(n)]
    per_tar = 256
    tars = [samples[i : i + per_tar] for i in range(0, n, per_tar)]
    return write_set(folder, {"train": tars})


def _tokens(number: int, model: str) -> ToySample:
    from decoder import SIZES, VOCABULARY

    rng = np.random.default_rng([5, number])
    table = np.random.default_rng(0).integers(0, VOCABULARY, (VOCABULARY, 4))
    length = SIZES[model].length + 50  # type: ignore[index]
    units = np.empty(length, np.uint16)
    units[0] = rng.integers(VOCABULARY)
    choices = rng.integers(0, 4, length)
    for i in range(1, length):
        units[i] = table[units[i - 1], choices[i]]
    return ToySample(f"{number:016x}_0", length / UNITS_PER_S, None, {"units": units})


class Bare:
    """The loop that a person would write for one model, with its batches in memory."""

    def __init__(self, config: RunConfig, data: Path, device: torch.device) -> None:
        opened = Data.open(data)
        task = config.task(opened.manifest)
        self._config, self._task, self._device = config, task, device
        torch.manual_seed(config.seed)
        self._model = task.build().to(device).train()
        self._average = [p.detach().clone() for p in self._model.parameters()]
        matrices = [p for p in self._model.parameters() if p.ndim >= 2]
        vectors = [p for p in self._model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self._optimiser = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99), fused=True)
        self._losses = torch.compile(task.losses, dynamic=False) if config.compile else task.losses
        self._batches = list(islice(_batches(config, opened, task), config.steps))

    def steps(self) -> Iterator[None]:
        """Takes a step each time it is asked for one."""
        config = self._config
        cast = torch.autocast("cuda", torch.bfloat16) if self._device.type == "cuda" else nullcontext()
        (phase,) = self._task.phases()
        for step, batch in enumerate(self._batches):
            done = max(step - config.warmup_steps, 0) / (config.steps - config.warmup_steps)
            lr = config.lr * min((step + 1) / config.warmup_steps, 0.5 * (1 + math.cos(math.pi * done)))
            for group in self._optimiser.param_groups:
                group["lr"] = lr
            with cast:
                losses = self._losses(self._model, tensors(batch, self._device), phase.name)
                loss = torch.stack([total / batch.counts[name] for name, total in losses.items()]).sum()
            loss.backward()
            nn.utils.clip_grad_norm_(self._model.parameters(), config.clip_norm)
            self._optimiser.step()
            self._optimiser.zero_grad(set_to_none=True)
            with torch.no_grad():
                torch._foreach_lerp_(self._average, list(self._model.parameters()), 1 - EMA)
            yield


def _batches(config: RunConfig, data: Data, task: Any) -> Iterator[Any]:
    from functools import partial

    from autosing.training.loader import Reading

    collate = partial(task.collate, training=True)
    reading = Reading(
        data.split("train"), config.columns, collate, config.seed, config.seconds_per_batch, 1, config.crop_s
    )
    with reading.open(START) as loader:
        yield from (delivery.batch for delivery in loader)


class Stretches:
    """Lets the bare loop go on after each stretch of the loop's steps, and times the stretches of both."""

    def __init__(self, bare: Bare, device: torch.device) -> None:
        self._bare, self._device = bare.steps(), device
        self._begun = 0.0
        self.ratios: list[float] = []
        self.bare_s: list[float] = []

    def __call__(self, step: int, line: Mapping[str, float]) -> None:
        """Is told of each step of the loop."""
        if step % STRETCH:
            return
        now = self._now()
        for _ in islice(self._bare, STRETCH):
            pass
        after = self._now()
        if step > WARM_UP:
            self.bare_s.append((after - now) / STRETCH)
            self.ratios.append((now - self._begun) / (after - now))
        self._begun = after

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def run_loop(config: RunConfig, data: Path, folder: Path, on_step: OnStep) -> None:
    """Runs the loop as `train` does."""
    with joined(config.device) as ranks:
        opened = Data.open(data)
        Loop(config.task(opened.manifest), opened, folder, ranks).run(on_step)


def measure(model: str, arguments: argparse.Namespace, device: torch.device) -> bool:
    """Prints the row of one model; says whether its targets are met."""
    # The last step of the loop validates and saves, so one more than is timed.
    config = config_of(model, arguments.steps + 1, arguments.device, arguments.compile)
    with tempfile.TemporaryDirectory() as scratch:
        data = write_shards(Path(scratch) / "set", model, 512)
        stretches = Stretches(Bare(config, data, device), device)
        run_loop(config, data, Path(scratch) / "paired", stretches)
        ratio, bare_ms = statistics.median(stretches.ratios), 1000 * statistics.median(stretches.bare_s)
        low, _, high = statistics.quantiles(stretches.ratios, n=4)
        print(f"| {model} | {bare_ms:.1f} ms | {ratio:.3f} ({low:.3f} to {high:.3f}) | {OVERHEAD_TARGET} |", flush=True)
        met = ratio <= OVERHEAD_TARGET
        return met & use_of_device(model, config, data, Path(scratch) / "alone") if device.type == "cuda" else met


def use_of_device(model: str, config: RunConfig, data: Path, folder: Path) -> bool:
    """Runs the loop by itself and prints what it logged last; says whether the targets are met."""
    lines: list[Mapping[str, float]] = []
    run_loop(config, data, folder, lambda step, line: lines.append(line) if line and step < config.steps else None)
    line, target = lines[-1], MFU_TARGETS.get(model, 0.0)
    mfu, wait = line.get("train/mfu", float("nan")), line["train/data_wait"]
    rates = "  ".join(
        f"{name} {line[f'train/{name}']:.0f}" for name in ("tokens_per_s", "samples_per_s", "audio_s_per_s")
    )
    print(f"  {rates}  MFU {mfu:.1%} (target {target:.0%})  waits {wait:.1%} (below {WAIT_TARGET:.0%})", flush=True)
    return mfu >= target and wait < WAIT_TARGET


def main() -> int:
    """Prints the table; returns 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--models", default="acoustic,tiny")
    parser.add_argument("--steps", type=int, default=220)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    print(machine(("numpy", "torch")))
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu, one thread"
    print(f"{name}; {arguments.steps} steps of each")
    print("| model | bare step | loop / bare (quartiles) | target |\n|---|---|---|---|")
    met = [measure(model, arguments, device) for model in arguments.models.split(",")]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
