"""The one loop of all trainers: steps, log, validation, states; stops and goes on without a trace."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autosing.cluster.stop import stop_signals
from autosing.models.directory import save_model
from autosing.models.folder import recover_folder
from autosing.signal.errors import AutosingError, CheckpointError
from autosing.training.ema import Ema
from autosing.training.loader import Delivery, Reading
from autosing.training.optimisers import turns
from autosing.training.pace import Pace, peak_tflops
from autosing.training.ranks import Ranks, share_of_a_step
from autosing.training.record import MODEL, Record, last_metrics
from autosing.training.report import write_report
from autosing.training.schedule import lr_factor
from autosing.training.shards import TRAIN, VALID, Data, ShardSet, refuse_leaks
from autosing.training.state import Progress, Trained, load_state, save_state, saved_states
from autosing.training.step import GRAD_NORM, Stepper, seed_generators, tensors
from autosing.training.streaming import StreamReading
from autosing.training.task import Task, Tensors

CHECKPOINTS = "checkpoints"

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
        finished: whether all steps are done, or patience ended the run; a stopped run goes on with `resume`.
        metrics: of the last validation in this process.
        report: the page about the run; None in all processes but the first.
    """

    folder: Path
    model: Path | None
    step: int
    finished: bool
    metrics: Mapping[str, float]
    report: Path | None


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
        data: the sets; the best weights on their split `valid` are kept, or the last where they have none.
        folder: of the run.
        ranks: the processes that train together; the first validates and writes.
        origin: what the run is of, for its states and its model.
        stream: URLs that `webdataset` reads the training samples from, instead of the sets' own tars.

    Raises:
        DataError: a set does not fit or is damaged, or a song is in both splits.
        UsageError: a step cannot be divided among the processes.
        CheckpointError: the state in the folder is damaged.
    """

    def __init__(
        self,
        task: Task[Any],
        data: Data,
        folder: Path,
        ranks: Ranks,
        origin: Mapping[str, Any] | None = None,
        stream: Sequence[str] = (),
    ) -> None:
        self._task, self._config, self._folder, self._ranks = task, task.config, folder, ranks
        self._origin = dict(origin or {})
        self._share = share_of_a_step(self._config.microbatches, ranks.size)
        valid = data.split(VALID) if data.manifest.has(VALID) else None
        self._valid = self._reading(valid, training=False) if valid else None
        self._train: Reading | StreamReading
        if stream:
            self._train = StreamReading(stream, data.manifest, **self._batching(training=True))
        else:
            self._train = self._reading(data.split(TRAIN), training=True)
            if valid and ranks.is_first:
                refuse_leaks(self._train.shards, valid)
        self._trained = self._start()
        self._metrics: Mapping[str, float] = {}
        self._progress = self._resumed()
        self._stepper = Stepper(task, self._trained, ranks)
        self._pending: list[_Taken] = []

    def run(self, on_step: OnStep | None = None, stopping: threading.Event | None = None) -> RunResult:
        """Trains to the last step, or until SIGTERM or Ctrl-C, after which the state is saved.

        Args:
            on_step: called after each step with its number and what was logged at it, mostly nothing.
            stopping: set to do as SIGTERM does.

        Raises:
            DataError: a shard is damaged.
            TrainingDiverged: a loss is not finite; names the step and its samples.
        """
        with ExitStack() as stack:
            signalled = stack.enter_context(stop_signals())
            record = stack.enter_context(Record(self._folder, self._progress.step)) if self._ranks.is_first else None
            self._steps(record, lambda: signalled.is_set() or (stopping is not None and stopping.is_set()), on_step)
            if not self._finished:
                self._save_state()
        self._ranks.wait()
        report = write_report(self._folder) if self._ranks.is_first else None
        model = self._folder / MODEL
        step, kept = self._progress.step, model if model.exists() else None
        return RunResult(self._folder, kept, step, self._finished, self._metrics, report)

    @property
    def _finished(self) -> bool:
        config, progress = self._config, self._progress
        return progress.step >= config.steps or (bool(config.patience) and progress.stale >= config.patience)

    def _reading(self, shards: ShardSet, training: bool) -> Reading:
        return Reading(shards, **self._batching(training), microbatches=self._config.microbatches if training else 1)

    def _batching(self, training: bool) -> dict[str, Any]:
        """Returns how samples become batches, wherever they come from."""
        config = self._config
        return {
            "columns": config.columns,
            "collate": partial(self._task.collate, training=training),
            "seed": config.seed,
            "budget_s": config.seconds_per_batch,
            "crop_s": config.crop_s,
            "rows": self._task.shared_rows if training else None,
        }

    def _start(self) -> Trained:
        seed_generators([self._config.seed], torch.device("cpu"))
        model = self._task.build()
        if not saved_states(self._folder / CHECKPOINTS):
            self._begin(model)
        model.to(self._ranks.device)
        decay = self._config.ema_decay
        return Trained(model, turns(self._task, model), Ema(self._task.kept(model), decay) if decay else None)

    def _begin(self, model: nn.Module) -> None:
        samples = self._train.spread(self._task.statistics_samples)
        if self._config.begin_from:
            self._task.adopt(model, self._task.base(), samples)
        else:
            self._task.initialise(model, samples)

    def _resumed(self) -> Progress:
        if self._ranks.is_first:
            recover_folder(self._folder / MODEL)
        states = saved_states(self._folder / CHECKPOINTS)
        progress = load_state(states[-1], self._trained) if states else Progress()
        self._metrics = last_metrics(self._folder, progress.step) if self._ranks.is_first else {}
        places = [float(progress.step), float(progress.position.epoch), float(progress.position.batches)]
        if self._ranks.total(places) != [self._ranks.size * place for place in places]:
            raise CheckpointError(
                f"process {self._ranks.rank} found step {progress.step} in {self._folder}, others another: "
                "all processes of a run must see the same folder"
            )
        return progress

    def _steps(self, record: Record | None, is_stopping: Callable[[], bool], on_step: OnStep | None) -> None:
        config, progress, ranks = self._config, self._progress, self._ranks
        with self._train.open(progress.position, config.readers, ranks.rank, ranks.size) as loader:
            pace = Pace()
            while not self._finished:
                deliveries = pace.timed(loader, self._share)
                read, counts, stop = self._agreed(deliveries, is_stopping())
                if stop:
                    return
                pace.add(read)
                self._step(deliveries, counts)
                line = self._log(record, pace) if self._due(config.log_every) else {}
                kept = self._due(config.validate_every) or self._due(config.save_every)
                if kept:
                    self._keep(record)
                if line or kept:
                    pace = Pace()
                if on_step:
                    on_step(progress.step, line)

    def _agreed(self, deliveries: Sequence[Delivery], stop: bool) -> tuple[dict[str, float], dict[str, float], bool]:
        """Returns what all processes read for a step, the elements of its losses, and whether one was told to stop."""
        batches = [delivery.batch for delivery in deliveries]
        read = {
            "samples": float(sum(len(batch.keys) for batch in batches)),
            "audio_s": math.fsum(batch.seconds for batch in batches),
            "tokens": float(sum(batch.tokens for batch in batches)),
        }
        counts = {name: float(sum(batch.counts[name] for batch in batches)) for name in sorted(batches[0].counts)}
        sums = self._ranks.total([*read.values(), *counts.values(), float(stop)])
        amounts, elements = sums[: len(read)], sums[len(read) : -1]
        return dict(zip(read, amounts, strict=True)), dict(zip(counts, elements, strict=True)), sums[-1] > 0

    def _step(self, deliveries: Sequence[Delivery], counts: Mapping[str, float]) -> None:
        progress = self._progress
        values = self._stepper.take(progress.step, self._lr(progress.step), deliveries, counts)
        progress.step += 1
        progress.position = deliveries[-1].after
        keys = tuple(key for delivery in deliveries for key in delivery.batch.keys)
        self._pending.append(_Taken(progress.step, values, keys))

    def _lr(self, step: int) -> float:
        config = self._config
        return config.lr * lr_factor(config.schedule, step, config.steps, config.warmup_steps)

    def _due(self, every: int) -> bool:
        return self._progress.step % every == 0 or self._progress.step == self._config.steps

    def _log(self, record: Record | None, pace: Pace) -> Mapping[str, float]:
        self._settle()
        window = self._progress.window
        names = {name: None for step in window for name in step}
        values = {name: [step[name] for step in window if name in step] for name in names}
        window.clear()
        if record is None:
            return {}
        config, model = self._config, self._trained.model
        peak = self._ranks.size * (config.peak_tflops or peak_tflops(self._ranks.device))
        line = {f"train/{name}": math.fsum(found) / len(found) for name, found in values.items()}
        line["train/lr"] = self._lr(self._progress.step - 1)
        line |= pace.rates(self._task.flops_per_token(model), peak)
        record.scalars(self._progress.step, line)
        return line

    def _settle(self) -> None:
        """Fetches the losses of the steps since the last time, over all processes, and makes sure they are numbers."""
        if not self._pending:
            return
        own = torch.stack([value for taken in self._pending for value in taken.losses.values()]).tolist()
        names = [name for taken in self._pending for name in taken.losses]
        # Norms are of gradients that are everyone's already.
        sums = self._ranks.total([0.0 if n.startswith(GRAD_NORM) else v for n, v in zip(names, own, strict=True)])
        values = iter([v if n.startswith(GRAD_NORM) else s for n, v, s in zip(names, own, sums, strict=True)])
        parts = iter(own)
        for taken in self._pending:
            step = {name: next(values) for name in taken.losses}
            refuse_divergence(taken.step, step, {name: next(parts) for name in taken.losses}, taken.keys)
            self._progress.window.append(step)
        self._pending.clear()

    def _keep(self, record: Record | None) -> None:
        """Validates, keeps the model if it is the best so far, and saves the state, as far as each is due."""
        self._settle()
        if self._valid is None:
            self._save_model()
        elif self._due(self._config.validate_every):
            self._judge(record)
        if self._due(self._config.save_every) or self._finished:
            self._save_state()

    def _judge(self, record: Record | None) -> None:
        """Validates in the first process, and lets all know whether the metric is the best so far."""
        progress, value = self._progress, 0.0
        if record is not None:
            self._metrics = self._validate(record)
            value = self._metrics[f"valid/{self._task.metric}"]
        (value,) = self._ranks.total([value])
        sign = -1 if self._task.higher_is_better else 1
        if math.isfinite(value) and (progress.best is None or sign * value < sign * progress.best):
            progress.best, progress.stale = value, 0
            self._save_model()
        else:
            progress.stale += 1
            if progress.best is None and self._finished:
                self._save_model()  # No metric was a number: the last weights are better than none.

    def _validate(self, record: Record) -> dict[str, float]:
        model, step = self._trained.model, self._progress.step
        assert self._valid is not None
        seed_generators([self._config.seed], self._ranks.device)
        with torch.no_grad(), self._averaged(), _evaluating(model), self._stepper.autocast():
            batches = self._validation_batches(self._valid)
            first = next(batches)
            metrics = self._task.validate(model, chain([first], batches))
            look = self._task.look(model, first)
        metrics = {f"valid/{name}": value for name, value in metrics.items()}
        record.scalars(step, metrics)
        record.look(step, look)
        return metrics

    def _validation_batches(self, reading: Reading) -> Iterator[Tensors]:
        """Yields the same samples each time: the first of one fixed order."""
        left = self._config.validate_samples
        for batch in reading.epoch(0):
            if left <= 0:
                return
            left -= len(batch.keys)
            yield tensors(batch, self._ranks.device)

    def _save_model(self) -> None:
        if self._ranks.is_first:
            metrics = {name: value if math.isfinite(value) else None for name, value in self._metrics.items()}
            training = {**self._origin, "step": self._progress.step, "metrics": metrics}
            with self._averaged():
                kept = self._task.kept(self._trained.model)
                save_model(self._folder / MODEL, kept, self._task.contract(), training)

    def _save_state(self) -> None:
        self._settle()
        if self._ranks.is_first:
            checkpoints = self._folder / CHECKPOINTS
            save_state(checkpoints, self._trained, self._progress, self._config.keep_last, self._origin)

    def _averaged(self) -> AbstractContextManager[None]:
        return self._trained.ema.in_place() if self._trained.ema else nullcontext()


def refuse_divergence(step: int, values: Mapping[str, float], parts: Mapping[str, float], keys: Sequence[str]) -> None:
    """Raises TrainingDiverged where a loss or norm of a step is no number.

    Args:
        step: which one.
        values: of all processes together.
        parts: of this process.
        keys: of its samples.
    """
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if not wrong:
        return
    arose = any(not math.isfinite(part) for name, part in parts.items() if not name.startswith(GRAD_NORM))
    raise TrainingDiverged(
        f"step {step}: {wrong[0]} is {values[wrong[0]]}{', which arose in this process' if arose else ''}; the samples "
        f"of this process are {', '.join(keys)}. "
        "Look at these samples, or start a new folder with a lower lr; the last state is as it was"
    )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model into evaluation for a block, and each module back to how it was: frozen parts stay so."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
