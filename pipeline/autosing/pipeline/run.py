"""Executes a plan, in this process or on Ray."""

import os
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Literal

from autosing.cluster.stop import TERM, stop_signals
from autosing.pipeline.bounds import Bounds
from autosing.pipeline.cluster import run_on_ray
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.events import EventLog
from autosing.pipeline.fleet import Limits
from autosing.pipeline.graph import Graph
from autosing.pipeline.isolation import IsolatedWorker
from autosing.pipeline.progress import Progress
from autosing.pipeline.schedule import RunReport, Scheduler
from autosing.pipeline.threads import one_thread
from autosing.pipeline.worker import Worker, settle
from autosing.signal.errors import DataError

Executor = Literal["auto", "child", "local", "ray"]
LONG_S = 600.0
"""Seconds of audio from which on it is worth a word that cores are idle."""


@dataclass(frozen=True)
class RunOptions:
    """Where a run happens.

    Args:
        executor: `child` (a process beside this one), `local` (this process, for a debugger: a song may take it down),
            `ray`, or `auto`: Ray where there are several partitions to do and cores, else a child.
        workers: number of CPU workers; None: one per core.
        gpu_workers: number of GPU workers; None: as many as its GPUs have room for.
        address: of a running Ray cluster; None starts one on this machine.
        max_cpus: cores that all workers together may take; None: all.
        max_gpus: GPUs that all workers together may take; None: all.
        bounds: what songs may take.
    """

    executor: Executor = "auto"
    workers: int | None = None
    gpu_workers: int | None = None
    address: str | None = None
    max_cpus: float | None = None
    max_gpus: float | None = None
    bounds: Bounds = field(default_factory=Bounds)

    @property
    def limits(self) -> Limits:
        """How much of a cluster the run may take."""
        return Limits(self.workers, self.gpu_workers, self.max_cpus, self.max_gpus)


def process(
    dataset: Dataset,
    graph: Graph,
    targets: Sequence[str],
    options: RunOptions = RunOptions(),
    forced: dict[int, Collection[str]] | None = None,
    progress: Progress | None = None,
) -> RunReport:
    """Computes what is missing or stale of `targets` and all that they need. Running it again is free.

    After SIGTERM no partition is begun; those in hand are finished.

    Raises:
        UsageError: a stage is configured wrongly.
        DataError: the disk is full or read-only, or workers can't be started.
    """
    started = time.monotonic()
    scheduler = Scheduler(dataset, graph, targets, forced)
    try:
        with stop_signals(TERM) as stopping:
            _run(scheduler, options, progress or Progress(scheduler.n_partitions), stopping)
            scheduler.report.stopped = stopping.is_set()
    finally:
        scheduler.save()
    scheduler.report.wall_s = time.monotonic() - started
    return scheduler.report


def _run(scheduler: Scheduler, options: RunOptions, shown: Progress, stopping: threading.Event) -> None:
    first = scheduler.next_task()
    if first is None and scheduler.next_fit() is None:
        return
    if first is not None:
        scheduler.again(first)
    dataset = scheduler.dataset
    with EventLog(dataset.store) as log, shown:
        scheduler.tell = log.tell
        log.tell("begun", targets=scheduler.targets, partitions=scheduler.n_partitions, options=asdict(options))
        if hint := _idle_cores(options, dataset):
            shown.say(hint)
        if _wants_ray(options, dataset):
            run_on_ray(scheduler, shown, options.limits, options.bounds, options.address, stopping)
        elif options.executor == "local":
            one_thread()
            _run_here(scheduler, shown, stopping, Worker(dataset.url, options.bounds))
        else:
            with closing(IsolatedWorker(dataset.url, options.bounds)) as worker:
                _run_here(scheduler, shown, stopping, worker)
        if stopping.is_set():
            log.tell("told to end")


def _wants_ray(options: RunOptions, dataset: Dataset) -> bool:
    if options.executor != "auto":
        return options.executor == "ray"
    return options.address is not None or (len(dataset.partitions) > 1 and (os.cpu_count() or 1) > 1)


def _idle_cores(options: RunOptions, dataset: Dataset) -> str | None:
    """Returns what to do where a long set has fewer partitions than this machine has cores; None where all is well."""
    n, cores = len(dataset.partitions), options.workers or os.cpu_count() or 1
    if n >= cores or options.address is not None or options.executor in ("child", "local"):
        return None
    try:
        seconds = sum(p.claimed_s() or 0.0 for p in dataset.partitions)
    except DataError:  # A damaged index: the run tells it.
        return None
    if seconds < LONG_S:
        return None
    return f"{n} partition(s) keep {n} of {cores} workers busy; ingest with a smaller --partition-mb to use all"


def _run_here(
    scheduler: Scheduler, progress: Progress, stopping: threading.Event, worker: Worker | IsolatedWorker
) -> None:
    while not stopping.is_set():
        if (task := scheduler.next_task()) is not None:
            told = partial(progress.passed, task.partition, task.names)
            settle(scheduler, task, worker.run(scheduler.graph, task, {}, on_batch=told), progress)
        elif (name := scheduler.next_fit()) is not None:
            progress.say(f"fitting {name}")
            if error := worker.fit(scheduler.graph, name):
                raise error
            scheduler.fitted(name)
        else:
            return
