"""Executes a plan on Ray; beside the session and its counters, the only file of the pipeline that imports ray.

The controller owns retries, because only it can count: Ray itself neither retries a task nor restarts an actor. A
worker on a dead or preempted node is replaced and its partition done again for free. A worker that dies on a living
node counts against the partition: after three deaths the song that kills it is found by bisection, and its row gets
the error.
"""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from autosing.cluster.meters import Meters
from autosing.cluster.session import ray_session
from autosing.pipeline.progress import Progress
from autosing.pipeline.schedule import Scheduler, Task
from autosing.pipeline.threads import VARIABLES
from autosing.pipeline.work import GroupResult
from autosing.pipeline.worker import Worker, settle
from autosing.signal.errors import AutosingError, DataError, UsageError

DEATHS_BEFORE_BISECTION = 3
MOST_KILLERS = 8
VERDICT_S = 60.0
"""How long Ray gets to find out why a worker is gone; it takes 15 s to declare a node dead."""
LOOK_EVERY_S = 5.0


def run_on_ray(
    scheduler: Scheduler,
    progress: Progress,
    workers: int | None = None,
    gpu_workers: int | None = None,
    address: str | None = None,
) -> None:
    """Runs all tasks and fits of a scheduler on Ray.

    Args:
        scheduler: what to compute.
        progress: is told how far the run is.
        workers: number of CPU workers; None: one per core.
        gpu_workers: number of GPU workers; None: one per GPU of the cluster.
        address: of a running Ray cluster; None starts one on this machine.

    Raises:
        UsageError: a stage is configured wrongly.
        DataError: the disk is full or read-only, or workers can't be started.
    """
    started = time.monotonic()
    with ray_session(address, workers, VARIABLES) as (cpus, gpus):
        scheduler.report.start_up_s = time.monotonic() - started
        n_gpu = int(gpus) if gpu_workers is None else gpu_workers
        _RayRun(scheduler, progress, workers or max(int(cpus), 1), n_gpu).run()


@dataclass
class _Slot:
    """A worker actor and what it is doing."""

    kind: str
    actor: Any = None
    task: Task | None = None


@dataclass
class _RayRun:
    """The controller: keeps every worker busy with one task and replaces the dead."""

    scheduler: Scheduler
    progress: Progress
    n_cpu: int
    n_gpu: int
    running: dict[Any, _Slot] = field(default_factory=dict)
    deaths: dict[int, int] = field(default_factory=dict)
    poison: dict[int, dict[str, str]] = field(default_factory=dict)
    lost_nodes: int = 0
    meters: Meters = field(default_factory=Meters)

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
        return [_Slot("cpu") for _ in range(self.n_cpu)] + [_Slot("gpu") for _ in range(self.n_gpu)]

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
        if task.gpus and not self.n_gpu:
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

        # One thread works, another answers how far it is.
        worker: Any = ray.remote(Worker)
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": 2}
        return worker.options(**options).remote(self.scheduler.dataset.url)

    def _collect(self) -> list[_Slot]:
        """Waits for one task to end and returns the worker that is idle now."""
        import ray

        done, _ = ray.wait(list(self.running), num_returns=1, timeout=LOOK_EVERY_S)
        if not done:
            self._look()
        freed = []
        for future in done:
            slot = self.running.pop(future)
            task, slot.task = slot.task, None
            assert task is not None
            try:
                outcome = ray.get(future)
                settle(self.scheduler, task, outcome, self.progress)
                self._count(outcome.result)
            except ray.exceptions.RayActorError as error:
                self._bury(slot, task, error)
            except (ray.exceptions.RuntimeEnvSetupError, ray.exceptions.ActorUnschedulableError) as error:
                raise DataError(f"workers can't be started: {error}") from error
            freed.append(slot)
        self.progress.tick()
        return freed

    def _count(self, result: GroupResult | None) -> None:
        for name, part in result.instances.items() if result else ():
            self.meters.add(name, result.audio_s, part.rows, part.own_errors, part.bytes, part.busy_s)

    def _look(self) -> None:
        """Asks the workers how far they are; one that does not answer is dead or busy, which shows soon enough."""
        import ray

        asked = {slot.actor.passed.remote(): slot.task for slot in self.running.values()}
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=1)
        for future in answered:
            task = asked[future]
            assert task is not None
            with suppress(ray.exceptions.RayActorError):
                self.progress.passed(task.partition, task.names, ray.get(future))

    def _release(self, idle: list[_Slot]) -> None:
        """Ends idle workers: what replaces the worker of a lost node may be waiting for their cores."""
        import ray

        for slot in idle:
            if slot.actor is not None:
                ray.kill(slot.actor)
                slot.actor = None

    def _bury(self, slot: _Slot, task: Task, error: Any) -> None:
        """Decides what a worker's death means for its partition."""
        self.progress.ended(task.partition)
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
