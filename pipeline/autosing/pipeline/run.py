"""Executes a plan, in this process or on Ray. The only file of the pipeline that imports ray.

The controller owns retries, because only it can count: Ray itself neither retries a task nor restarts an actor. A
worker on a dead or preempted node is replaced and its partition done again for free. A worker that dies on a living
node counts against the partition: after three deaths the song that kills it is found by bisection, and its row gets
the error.
"""

import logging
import os
import tempfile
import time
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import ZipFile

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.fit import fit
from autosing.pipeline.graph import Graph
from autosing.pipeline.progress import Progress
from autosing.pipeline.schedule import RunReport, Scheduler, Task, with_retries
from autosing.pipeline.store import refusal
from autosing.pipeline.threads import VARIABLES, one_thread
from autosing.pipeline.work import Group, GroupResult, Models
from autosing.signal.errors import AutosingError, DataError, UsageError

if TYPE_CHECKING:
    from ray.actor import ActorHandle

DEATHS_BEFORE_BISECTION = 3
MOST_KILLERS = 8
VERDICT_S = 60.0
"""How long Ray gets to find out why a worker is gone; it takes 15 s to declare a node dead."""
OBJECT_STORE_BYTES = 100 << 20
Executor = Literal["auto", "local", "ray"]


@dataclass(frozen=True)
class RunOptions:
    """Where a run happens.

    Args:
        executor: `local` (this process), `ray`, or `auto`: Ray where there are several partitions to do and cores.
        workers: number of CPU workers; None: one per core.
        gpu_workers: number of GPU workers; None: one per GPU of the cluster.
        address: of a running Ray cluster; None starts one on this machine.
    """

    executor: Executor = "auto"
    workers: int | None = None
    gpu_workers: int | None = None
    address: str | None = None


def process(
    dataset: Dataset,
    graph: Graph,
    targets: Sequence[str],
    options: RunOptions = RunOptions(),
    forced: dict[int, Collection[str]] | None = None,
    progress: Progress | None = None,
) -> RunReport:
    """Computes what is missing or stale of `targets` and all that they need. Running it again is free.

    Raises:
        UsageError: a stage is configured wrongly.
        DataError: the disk is full or read-only, or workers can't be started.
    """
    started = time.monotonic()
    scheduler = Scheduler(dataset, graph, targets, forced)
    shown = progress or Progress(len(dataset.partitions))
    first = scheduler.next_task()
    if first is None and scheduler.next_fit() is None:
        return scheduler.report
    if first is not None:
        scheduler.again(first)
    with shown:
        if _wants_ray(options, dataset):
            with _ray(options) as cpus_gpus:
                scheduler.report.start_up_s = time.monotonic() - started
                _RayRun(scheduler, options, cpus_gpus, shown).run()
        else:
            _run_local(scheduler, shown)
    scheduler.report.wall_s = time.monotonic() - started
    return scheduler.report


def _wants_ray(options: RunOptions, dataset: Dataset) -> bool:
    if options.executor != "auto":
        return options.executor == "ray"
    return options.address is not None or (len(dataset.partitions) > 1 and (os.cpu_count() or 1) > 1)


def _run_local(scheduler: Scheduler, progress: Progress) -> None:
    one_thread()
    worker = Worker(scheduler.dataset.url)
    while True:
        if (task := scheduler.next_task()) is not None:
            _settle(scheduler, task, worker.run(scheduler.graph, task, {}), progress)
        elif (name := scheduler.next_fit()) is not None:
            progress.say(f"fitting {name}")
            fit(scheduler.dataset, scheduler.graph, name)
            scheduler.fitted(name)
        else:
            return


@dataclass
class Outcome:
    """What a worker says of a task: a result, that the partition failed, or that the run must end."""

    result: GroupResult | None = None
    failed: str = ""
    fatal: AutosingError | None = None


def _settle(scheduler: Scheduler, task: Task, outcome: Outcome, progress: Progress) -> None:
    if outcome.fatal:
        raise outcome.fatal
    if outcome.result is None:
        scheduler.failed(task, outcome.failed)
        progress.say(f"partition {task.partition}: {outcome.failed}")
    else:
        scheduler.finished(task, outcome.result)
        progress.add(outcome.result)


class Worker:
    """Runs tasks in a process of its own; keeps the models it has loaded."""

    def __init__(self, url: str) -> None:
        one_thread()
        self._dataset = Dataset(url)
        self._models = Models()

    def run(self, graph: Graph, task: Task, poison: dict[str, str]) -> Outcome:
        """Computes and commits a task; an error becomes part of the outcome."""
        try:
            return Outcome(result=with_retries(lambda: self._group(graph, task, poison).commit(self._models)))
        except OSError as error:
            if message := refusal(error, self._dataset.url):
                return Outcome(fatal=DataError(message))
            return Outcome(failed=f"{type(error).__name__}: {error}")
        except UsageError as error:
            return Outcome(fatal=error)
        except AutosingError as error:
            return Outcome(failed=str(error))
        except Exception as error:  # the worker boundary: whatever a partition does, its neighbours go on
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name}:{frame.lineno}"
            return Outcome(failed=f"{type(error).__name__} at {place}: {error}")

    def survive(self, graph: Graph, task: Task, ids: Sequence[str]) -> bool:
        """Computes the given songs of a task without committing anything; True if the process lives to say so."""
        for _ in self._group(graph, task, {}).passes(self._models, set(ids)):
            pass
        return True

    def fit(self, graph: Graph, name: str) -> AutosingError | None:
        """Fits an artefact; returns what went wrong, if anything."""
        try:
            fit(self._dataset, graph, name)
        except AutosingError as error:
            return error
        return None

    def _group(self, graph: Graph, task: Task, poison: dict[str, str]) -> Group:
        return Group(self._dataset.partition(task.partition), graph, task.names, task.extra, poison)


@dataclass
class _Slot:
    """A worker actor and what it is doing."""

    kind: str
    actor: "ActorHandle[Any] | None" = None
    task: Task | None = None


@dataclass
class _RayRun:
    """The controller: keeps every worker busy with one task and replaces the dead."""

    scheduler: Scheduler
    options: RunOptions
    cpus_gpus: tuple[float, float]
    progress: Progress
    running: dict[Any, _Slot] = field(default_factory=dict)
    deaths: dict[int, int] = field(default_factory=dict)
    poison: dict[int, dict[str, str]] = field(default_factory=dict)
    lost_nodes: int = 0

    def run(self) -> None:
        idle = self._slots()
        held: list[Task] = []
        while True:
            held = self._start(idle, held)
            if self.running:
                freed = self._collect()
                if not freed and self.lost_nodes:
                    self._release(idle)
                idle += freed
            elif (name := self.scheduler.next_fit()) is not None:
                self._fit(name, min(idle, key=_has_no_actor))
            elif not held:
                return

    def _slots(self) -> list[_Slot]:
        cpus, gpus = self.cpus_gpus
        n_cpu = self.options.workers or max(int(cpus), 1)
        n_gpu = self.options.gpu_workers if self.options.gpu_workers is not None else int(gpus)
        return [_Slot("cpu") for _ in range(n_cpu)] + [_Slot("gpu") for _ in range(n_gpu)]

    def _start(self, idle: list[_Slot], held: list[Task]) -> list[Task]:
        """Gives idle workers tasks of their kind; returns tasks for whose kind no worker is idle."""
        waiting, still_held = list(held), []
        idle.sort(key=_has_no_actor)
        while idle:
            task = waiting.pop(0) if waiting else self.scheduler.next_task()
            if task is None:
                break
            slot = next((s for s in idle if s.kind == ("gpu" if task.gpus else "cpu")), None)
            if slot is None:
                still_held.append(self._checked(task))
                if len(still_held) > len(idle):
                    break
                continue
            idle.remove(slot)
            self._submit(slot, task)
        return still_held + waiting

    def _checked(self, task: Task) -> Task:
        if task.gpus and not any(s.kind == "gpu" for s in [*self.running.values(), *self._slots()]):
            raise UsageError(f"{', '.join(task.names)} want a GPU and the cluster has none; set gpus: 0 for them")
        return task

    def _submit(self, slot: _Slot, task: Task) -> None:
        slot.task = task
        if slot.actor is None:
            slot.actor = self._new_actor(task.cpus, task.gpus)
        future: Any = slot.actor.run.remote(self.scheduler.graph, task, self.poison.get(task.partition, {}))
        self.running[future] = slot

    def _new_actor(self, cpus: float, gpus: float) -> Any:
        import ray

        remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)(Worker)
        return remote.remote(self.scheduler.dataset.url)

    def _collect(self) -> list[_Slot]:
        """Waits for one task to end and returns the worker that is idle now."""
        import ray

        done, _ = ray.wait(list(self.running), num_returns=1, timeout=5)
        freed = []
        for future in done:
            slot = self.running.pop(future)
            task, slot.task = slot.task, None
            assert task is not None
            try:
                _settle(self.scheduler, task, ray.get(future), self.progress)
            except ray.exceptions.RayActorError as error:
                self._bury(slot, task, error)
            except (ray.exceptions.RuntimeEnvSetupError, ray.exceptions.ActorUnschedulableError) as error:
                raise DataError(f"workers can't be started: {error}") from error
            freed.append(slot)
        self.progress.tick()
        return freed

    def _release(self, idle: list[_Slot]) -> None:
        """Ends idle workers: what replaces the worker of a lost node may be waiting for their cores."""
        import ray

        for slot in idle:
            if slot.actor is not None:
                ray.kill(slot.actor)
                slot.actor = None

    def _bury(self, slot: _Slot, task: Task, error: Any) -> None:
        """Decides what a worker's death means for its partition."""
        error = _cause_of_death(slot.actor, error)
        slot.actor = None
        if error.preempted or _lost_its_node(error):
            self.lost_nodes += 1
            self.progress.say(f"partition {task.partition}: its node is gone; it is done again elsewhere")
            self.scheduler.again(task)
            return
        if getattr(error, "actor_init_failed", False):
            raise DataError(f"workers can't be started: {error}")
        self.deaths[task.partition] = self.deaths.get(task.partition, 0) + 1
        self.progress.say(f"partition {task.partition}: its worker died (time {self.deaths[task.partition]})")
        if self.deaths[task.partition] < DEATHS_BEFORE_BISECTION:
            self.scheduler.again(task)
            return
        self._isolate(task)

    def _isolate(self, task: Task) -> None:
        """Finds the song that kills workers, so that the rest of its partition can be done without it."""
        poison = self.poison.setdefault(task.partition, {})
        ids = [i for i in self._ids(task.partition) if i not in poison]
        killer = self._bisect(task, ids) if len(poison) < MOST_KILLERS else None
        if killer is None:
            self.scheduler.failed(task, "its workers die again and again, and no single song is the cause")
            return
        self.progress.say(f"partition {task.partition}: the song {killer!r} kills its worker; it is left out")
        poison[killer] = "the process died while this song was being processed"
        self.deaths[task.partition] = DEATHS_BEFORE_BISECTION - 1
        self.scheduler.again(task)

    def _bisect(self, task: Task, ids: list[str]) -> str | None:
        while len(ids) > 1:
            first, second = ids[: len(ids) // 2], ids[len(ids) // 2 :]
            ids = second if self._survives(task, first) else first
        return None if not ids or self._survives(task, ids) else ids[0]

    def _survives(self, task: Task, ids: list[str]) -> bool:
        import ray

        actor = self._new_actor(task.cpus, task.gpus)
        try:
            return bool(ray.get(actor.survive.remote(self.scheduler.graph, task, ids)))
        except ray.exceptions.RayActorError:
            return False
        finally:
            ray.kill(actor)

    def _ids(self, number: int) -> list[str]:
        return self.scheduler.dataset.partition(number).ids()

    def _fit(self, name: str, slot: _Slot) -> None:
        """Fits on an idle worker, or on a new one where that dies."""
        import ray

        for _ in range(DEATHS_BEFORE_BISECTION):
            self.progress.say(f"fitting {name}")
            slot.actor = slot.actor or self._new_actor(1, 0)
            try:
                error: AutosingError | None = ray.get(slot.actor.fit.remote(self.scheduler.graph, name))
            except ray.exceptions.RayActorError:
                slot.actor = None
                continue
            if error:
                raise error
            self.scheduler.fitted(name)
            return
        raise DataError(f"{name}: the workers that fit it die (out of memory?); fit it on a larger machine")


def _has_no_actor(slot: _Slot) -> bool:
    """A sort key: workers that live come first, since a new one may have to wait for the cores that they hold."""
    return slot.actor is None


def _cause_of_death(actor: Any, error: Any) -> Any:
    """Returns why an actor is gone: a lost connection says nothing until Ray has found out whether its node lives."""
    import ray

    deadline = time.monotonic() + VERDICT_S
    while isinstance(error, ray.exceptions.ActorUnavailableError) and time.monotonic() < deadline:
        try:
            ray.get(actor.__ray_ready__.remote(), timeout=VERDICT_S)
            break
        except ray.exceptions.GetTimeoutError:
            break
        except ray.exceptions.RayActorError as verdict:
            error = verdict
            time.sleep(1)
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        ray.kill(actor)
    return error


def _lost_its_node(error: Any) -> bool:
    """Whether Ray says that the actor's node died or can't be reached, as opposed to its process."""
    import ray

    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return True
    text = str(error).lower()
    return "node has died" in text or "node was terminated" in text or "node died" in text


@contextmanager
def _ray(options: RunOptions) -> Iterator[tuple[float, float]]:
    """Starts or joins Ray; yields the number of CPUs and GPUs."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    environment: dict[str, Any] = {"env_vars": dict(VARIABLES)}
    if options.address:
        with tempfile.TemporaryDirectory(prefix="autosing-") as scratch:
            environment["py_modules"] = shipped_code(Path(scratch))
            ray.init(options.address, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR)
    elif not ray.is_initialized():
        ray.init(
            "local",
            num_cpus=options.workers or os.cpu_count(),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            runtime_env=environment,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        total = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield total.get("CPU", 1.0), total.get("GPU", 0.0)
    finally:
        ray.shutdown()


def shipped_code(folder: Path) -> list[str]:
    """Returns what a cluster needs to import this package: a wheel of the checkout, or the installed package.

    The wheel is unpacked, since Ray would have pip install its dependencies too, gigabytes on every node.
    """
    import autosing

    root = Path(__file__).parents[3]
    if not (root / "pyproject.toml").is_file():
        return [str(path) for path in autosing.__path__]
    from hatchling.builders.wheel import WheelBuilder

    for wheel in WheelBuilder(str(root)).build(directory=str(folder), versions=["standard"]):
        with ZipFile(wheel) as packed:
            packed.extractall(folder)
    return [str(folder / "autosing")]
