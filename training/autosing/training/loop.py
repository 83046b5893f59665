"""The one loop of all trainers: steps, log, validation, states; stops and goes on without a trace."""

import math
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autosing.models.directory import save_model
from autosing.models.folder import recover_folder
from autosing.signal.errors import AutosingError, UsageError
from autosing.training.ema import Ema
from autosing.training.loader import Batch, Delivery, Loader, Reading
from autosing.training.pace import Pace
from autosing.training.record import Record
from autosing.training.schedule import lr_factor
from autosing.training.shards import ShardSet
from autosing.training.state import Progress, Trained, load_state, save_state, saved_states
from autosing.training.stop import stop_signals
from autosing.training.task import RunConfig, Task, Tensors

CHECKPOINTS = "checkpoints"
MODEL = "model"
GRAD_NORM = "grad_norm"

OnStep = Callable[[int, Mapping[str, float]], None]


class TrainingDiverged(AutosingError):
    """A loss or a gradient is no longer a number."""


@dataclass(frozen=True)
class RunResult:
    """What a run left.

    Attributes:
        folder: of the run.
        model: the model directory with the best weights; None if the run stopped before the first.
        step: optimiser steps done.
        finished: whether all steps are done; a stopped run goes on with `resume`.
        metrics: of the last validation in this process.
    """

    folder: Path
    model: Path | None
    step: int
    finished: bool
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class _Taken:
    """A step whose losses are still on the device."""

    step: int
    losses: Mapping[str, Tensor]
    keys: tuple[str, ...]


class Loop:
    """A run in memory, at the last state in its folder, or at the start where there is none.

    Args:
        task: what is trained.
        data: a built set; the best weights on its split `valid` are kept, or the last where it has none.
        folder: of the run.

    Raises:
        DataError: the set does not fit or is damaged.
        CheckpointError: the state in the folder is damaged.
    """

    def __init__(self, task: Task[Any], data: Path, folder: Path) -> None:
        self._task, self._config, self._folder = task, task.config, folder
        self._device = _device(self._config)
        train = ShardSet.open(data, "train")
        self._train = self._reading(train, training=True)
        has_valid = train.manifest.has("valid")
        self._valid = self._reading(ShardSet.open(data, "valid"), training=False) if has_valid else None
        self._trained = self._start(train)
        self._progress = self._resumed()
        self._pending: list[_Taken] = []
        self._metrics: Mapping[str, float] = {}

    def run(self, on_step: OnStep | None = None) -> RunResult:
        """Trains to the last step, or until SIGTERM or Ctrl-C, after which the state is saved.

        Args:
            on_step: called after each step with its number and what was logged at it, mostly nothing.

        Raises:
            DataError: a shard is damaged.
            TrainingDiverged: a loss is not finite; names the step and its samples.
        """
        with stop_signals() as stopping, Record(self._folder, self._progress.step) as record:
            self._steps(record, stopping, on_step)
            if stopping.is_set():
                self._save_state()
        model = self._folder / MODEL
        finished = self._progress.step >= self._config.steps
        return RunResult(self._folder, model if model.exists() else None, self._progress.step, finished, self._metrics)

    def _reading(self, shards: ShardSet, training: bool) -> Reading:
        config, collate = self._config, partial(self._task.collate, training=training)
        microbatches = config.microbatches if training else 1
        return Reading(shards, config.columns, collate, config.seed, config.seconds_per_batch, microbatches)

    def _start(self, shards: ShardSet) -> Trained:
        _seed(self._config.seed)
        model = self._task.build()
        if not saved_states(self._folder / CHECKPOINTS):
            self._task.initialise(model, shards)
        model.to(self._device).train()
        ema = Ema(model, self._config.ema_decay) if self._config.ema_decay else None
        return Trained(model, _optimiser(model, self._config), ema)

    def _resumed(self) -> Progress:
        recover_folder(self._folder / MODEL)
        states = saved_states(self._folder / CHECKPOINTS)
        return load_state(states[-1], self._trained) if states else Progress()

    def _steps(self, record: Record, stopping: threading.Event, on_step: OnStep | None) -> None:
        config, progress = self._config, self._progress
        with Loader(self._train, progress.position, config.workers) as loader:
            pace = Pace()
            while progress.step < config.steps and not stopping.is_set():
                deliveries = pace.timed(loader, config.microbatches)
                self._step(deliveries)
                line = self._log(record, pace) if self._due(config.log_every) else {}
                kept = self._due(config.validate_every) or self._due(config.save_every)
                if kept:
                    self._keep(record)
                if line or kept:
                    pace = Pace()
                if on_step:
                    on_step(progress.step, line)

    def _step(self, deliveries: Sequence[Delivery]) -> None:
        """Takes one optimiser step; nothing in it waits for the device."""
        trained, progress, config = self._trained, self._progress, self._config
        losses = self._backward([delivery.batch for delivery in deliveries])
        norm = nn.utils.clip_grad_norm_(trained.model.parameters(), config.clip_norm)
        for group in trained.optimiser.param_groups:
            group["lr"] = self._lr()
        trained.optimiser.step()
        trained.optimiser.zero_grad(set_to_none=True)
        if trained.ema:
            trained.ema.update(progress.step)
        progress.step += 1
        progress.position = deliveries[-1].after
        keys = tuple(key for delivery in deliveries for key in delivery.batch.keys)
        self._pending.append(_Taken(progress.step, {**losses, GRAD_NORM: norm}, keys))

    def _backward(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Adds up the gradients of microbatches; returns each loss per counted element."""
        counts: Counter[str] = Counter()
        for batch in batches:
            counts.update(batch.counts)
        losses: dict[str, Tensor] = {}
        for batch in batches:
            with self._autocast():
                sums = self._task.losses(self._trained.model, self._tensors(batch))
                parts = {name: total / max(counts[name], 1) for name, total in sums.items()}
            torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
            losses = {name: losses.get(name, 0) + part.detach() for name, part in parts.items()}
        return losses

    def _lr(self) -> float:
        config = self._config
        return config.lr * lr_factor(config.schedule, self._progress.step, config.steps, config.warmup_steps)

    def _due(self, every: int) -> bool:
        return self._progress.step % every == 0 or self._progress.step == self._config.steps

    def _log(self, record: Record, pace: Pace) -> Mapping[str, float]:
        self._settle()
        window = self._progress.window
        means = {f"train/{name}": math.fsum(step[name] for step in window) / len(window) for name in window[0]}
        window.clear()
        line = {**means, "train/lr": self._trained.optimiser.param_groups[0]["lr"], **pace.rates()}
        record.scalars(self._progress.step, line)
        return line

    def _settle(self) -> None:
        """Fetches the losses of the steps since the last time and makes sure that they are numbers."""
        for taken in self._pending:
            values = dict(zip(taken.losses, torch.stack(list(taken.losses.values())).tolist(), strict=True))
            wrong = [name for name, value in values.items() if not math.isfinite(value)]
            if wrong:
                raise TrainingDiverged(
                    f"step {taken.step}: {wrong[0]} is {values[wrong[0]]}; its samples are {', '.join(taken.keys)}. "
                    "Look at these samples, or start a new folder with a lower lr; the last state is as it was"
                )
            self._progress.window.append(values)
        self._pending.clear()

    def _keep(self, record: Record) -> None:
        """Validates, keeps the model if it is the best so far, and saves the state, as far as each is due."""
        self._settle()
        if self._valid is None:
            self._save_model()
        elif self._due(self._config.validate_every):
            self._metrics = self._validate(record, self._valid)
            value = self._metrics[f"valid/{self._task.metric}"]
            if value < (math.inf if self._progress.best is None else self._progress.best):
                self._progress.best = value
                self._save_model()
        if self._due(self._config.save_every):
            self._save_state()

    def _validate(self, record: Record, reading: Reading) -> Mapping[str, float]:
        model, step = self._trained.model.eval(), self._progress.step
        with self._averaged(), torch.no_grad(), self._autocast():
            metrics = self._task.validate(model, self._validation_batches(reading))
            figures = self._task.figures(model, next(self._validation_batches(reading)))
        model.train()
        metrics = {f"valid/{name}": value for name, value in metrics.items()}
        record.scalars(step, metrics)
        record.figures(step, figures)
        return metrics

    def _validation_batches(self, reading: Reading) -> Iterator[Tensors]:
        """Yields the same samples each time: the first of one fixed order."""
        left = self._config.validate_samples
        for batch in reading.epoch(0):
            if left <= 0:
                return
            left -= len(batch.keys)
            yield self._tensors(batch)

    def _save_model(self) -> None:
        with self._averaged():
            save_model(self._folder / MODEL, self._trained.model, self._task.contract())

    def _save_state(self) -> None:
        self._settle()
        save_state(self._folder / CHECKPOINTS, self._trained, self._progress, self._config.keep_last)

    def _averaged(self) -> AbstractContextManager[None]:
        return self._trained.ema.in_place() if self._trained.ema else nullcontext()

    def _autocast(self) -> AbstractContextManager[Any]:
        on_cuda = self._device.type == "cuda"
        return torch.autocast("cuda", torch.bfloat16) if on_cuda else nullcontext()

    def _tensors(self, batch: Batch) -> Tensors:
        tensors = {name: torch.from_numpy(array) for name, array in batch.arrays.items()}
        if self._device.type == "cpu":
            return tensors
        return {name: tensor.pin_memory().to(self._device, non_blocking=True) for name, tensor in tensors.items()}


def _device(config: RunConfig) -> torch.device:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device is cuda, but no CUDA device is here; use device=cpu or device=auto")
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.device)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _optimiser(model: nn.Module, config: RunConfig) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.99), fused=True)
