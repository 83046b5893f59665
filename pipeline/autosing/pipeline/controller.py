"""Keeps workers busy: who gets which task, and what the death of a worker means. Knows no cluster, only a `Fleet`.

The controller owns retries, because only it can count: a fleet neither retries a task nor restarts a worker. A worker
on a dead or preempted node is replaced and its partition done again for free. Songs that crash, hang or eat memory end
a child of the worker, which deals with that itself (`isolation`). A worker that dies on a living node nevertheless
counts against the partition: after three deaths the song that kills it, if one does, is found by bisection, and its row
gets the error.
"""

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autosing.pipeline.passes import ANY, Passed
from autosing.pipeline.progress import Progress
from autosing.pipeline.schedule import Scheduler, Task
from autosing.pipeline.worker import Outcome, settle
from autosing.signal.errors import AutosingError, DataError, UsageError

DEATHS_BEFORE_BISECTION = 3
MOST_KILLERS = 8
LOOK_EVERY_S = 5.0
LOOKED_AT_ONCE = 256
"""So many partitions are planned at most before the controller looks again whether a worker is done."""
Worker = Any
Ticket = Any


class Death(Exception):
    """A worker is gone.

    Args:
        message: what the cluster says.
        lost_its_node: whether its node died or was taken away.
        never_lived: whether it could not be started at all.
    """

    def __init__(self, message: str, lost_its_node: bool = False, never_lived: bool = False) -> None:
        super().__init__(message)
        self.lost_its_node, self.never_lived = lost_its_node, never_lived


@dataclass(frozen=True)
class Shape:
    """What a worker occupies: cores and GPUs, fractions allowed."""

    cpus: float
    gpus: float

    @classmethod
    def of(cls, task: Task) -> "Shape":
        """Returns the shape of the worker that a task needs."""
        return cls(task.cpus, task.gpus)


@dataclass(frozen=True)
class Limits:
    """How much of a cluster a run may take; None where it may take all.

    Args:
        workers: workers without a GPU.
        gpu_workers: workers with one.
        cpus: cores, of all workers together.
        gpus: GPUs.
    """

    workers: int | None = None
    gpu_workers: int | None = None
    cpus: float | None = None
    gpus: float | None = None


class Fleet(ABC):
    """Where workers are: a Ray cluster, or a simulation of one."""

    @abstractmethod
    def now_s(self) -> float:
        """Returns the time, in seconds from whenever."""

    @abstractmethod
    def capacity(self) -> Shape:
        """Returns the cores and GPUs that there are now."""

    @abstractmethod
    def hire(self, shape: Shape) -> Worker:
        """Starts a worker."""

    @abstractmethod
    def dismiss(self, worker: Worker) -> None:
        """Ends a worker."""

    @abstractmethod
    def submit(self, worker: Worker, task: Task, poison: Mapping[tuple[str, str], str]) -> Ticket:
        """Gives a worker a task."""

    @abstractmethod
    def wait(self, tickets: Collection[Ticket], timeout_s: float) -> Iterable[Ticket]:
        """Returns the tasks that have ended, after one has or the time is over."""

    @abstractmethod
    def outcome(self, ticket: Ticket) -> Outcome:
        """Returns what a worker says of a task that has ended.

        Raises:
            Death: the worker died.
        """

    @abstractmethod
    def passed(self, workers: Sequence[Worker]) -> list[Passed | None]:
        """Returns how far the workers are; None for one that does not answer."""

    @abstractmethod
    def survives(self, worker: Worker, task: Task, ids: Sequence[str]) -> bool:
        """Returns whether a worker outlives some songs of a task."""

    @abstractmethod
    def fit(self, worker: Worker, name: str) -> AutosingError | None:
        """Fits an artefact; returns what went wrong, if anything.

        Raises:
            Death: the worker died.
        """


class Staff:
    """The workers that live, idle or busy, within what the cluster has and the run may take.

    Args:
        fleet: where they are.
        limits: how much of it they may take.
        gpu_shape: of the workers with a GPU that the run needs, for which cores are left free.
    """

    def __init__(self, fleet: Fleet, limits: Limits, gpu_shape: Shape | None = None) -> None:
        self._fleet, self._limits, self._gpu_shape = fleet, limits, gpu_shape
        self._idle: dict[Shape, list[Worker]] = {}
        self._living: dict[Shape, int] = {}
        self._budget = self._most = Shape(0, 0)
        self.survey()

    def survey(self) -> None:
        """Looks how much there is: nodes come and go."""
        has, may = self._fleet.capacity(), self._limits
        self._budget = Shape(
            has.cpus if may.cpus is None else min(may.cpus, has.cpus),
            has.gpus if may.gpus is None else min(may.gpus, has.gpus),
        )
        self._reserved_cpus = self._cpus_of_gpu_workers()
        self._most = Shape(max(self._budget.cpus, self._most.cpus), max(self._budget.gpus, self._most.gpus))

    def take(self, shape: Shape, is_alone: bool) -> Worker | None:
        """Returns an idle worker of a shape or a new one, for which others may have to go; None where there is no room.

        A worker with a GPU does not go for one without, as it has weights loaded, unless `is_alone`: nothing runs. What
        would run alone is also started where there is no room just now, so that a cluster that grows on demand grows.
        """
        if idle := self._idle.get(shape):
            return idle.pop()
        spare = {s: len(idle) for s, idle in self._idle.items() if idle and (shape.gpus or not s.gpus or is_alone)}
        gone = self._to_go(shape, spare)
        if gone is None and not is_alone:
            return None
        for s, n in (spare if gone is None else gone).items():
            for _ in range(n):
                self._dismiss(s, self._idle[s].pop())
        self._living[shape] = self._living.get(shape, 0) + 1
        return self._fleet.hire(shape)

    def _to_go(self, shape: Shape, spare: Mapping[Shape, int]) -> Mapping[Shape, int] | None:
        """Returns how many idle workers go for one of a shape, least GPU first; None: it's no use."""
        if self._has_room(shape, {}):
            return {}
        for s in sorted(spare, key=lambda s: s.gpus):
            if self._has_room(shape, {s: spare[s]}):
                return {s: next(n for n in range(1, spare[s] + 1) if self._has_room(shape, {s: n}))}
        return spare if self._has_room(shape, spare) else None

    def give_back(self, shape: Shape, worker: Worker) -> None:
        """Takes in that a worker is idle."""
        self._idle.setdefault(shape, []).append(worker)

    def bury(self, shape: Shape) -> None:
        """Takes in that a worker is dead."""
        self._living[shape] -= 1

    def dismiss_idle(self) -> None:
        """Ends the workers that do nothing: those that do not start may be waiting for their cores."""
        for shape, workers in self._idle.items():
            while workers:
                self._dismiss(shape, workers.pop())

    def has_room(self) -> bool:
        """Whether a task of one core that wants no GPU would find a worker."""
        return any(idle for s, idle in self._idle.items() if not s.gpus) or self._has_room(Shape(1, 0), {})

    def check(self, task: Task) -> None:
        """Checks that a task can be done at all.

        Raises:
            UsageError: it wants more than there is.
        """
        names = ", ".join(task.names)
        if task.gpus and (not self._most.gpus or self._limits.gpu_workers == 0):
            raise UsageError(f"{names} want a GPU and the cluster has none; set gpus: 0 for them")
        if task.cpus > self._most.cpus or task.gpus > self._most.gpus:
            has = f"{self._most.cpus:g} cores and {self._most.gpus:g} GPUs"
            raise UsageError(f"{names} want {task.cpus:g} cores and {task.gpus:g} GPUs, and the run has {has}")

    def _has_room(self, shape: Shape, gone: Mapping[Shape, int]) -> bool:
        """Whether one more worker of a shape finds room once some are gone."""
        living = {s: n - gone.get(s, 0) for s, n in self._living.items()}
        cpus = sum(s.cpus * n for s, n in living.items()) + shape.cpus
        gpus = sum(s.gpus * n for s, n in living.items()) + shape.gpus
        alike = sum(n for s, n in living.items() if bool(s.gpus) == bool(shape.gpus))
        most = self._limits.gpu_workers if shape.gpus else self._limits.workers
        without_gpu = sum(s.cpus * n for s, n in living.items() if not s.gpus) + (0 if shape.gpus else shape.cpus)
        slack = 1e-6  # Fractions of a GPU add up to almost 1.
        return (
            cpus <= self._budget.cpus + slack
            and gpus <= self._budget.gpus + slack
            and without_gpu <= self._budget.cpus - self._reserved_cpus + slack
            and (most is None or alike < most)
        )

    def _cpus_of_gpu_workers(self) -> float:
        """Returns how many cores are not for workers without a GPU; one of all is for them in any case."""
        if self._gpu_shape is None:
            return 0.0
        n = self._budget.gpus // self._gpu_shape.gpus
        n = n if self._limits.gpu_workers is None else min(n, self._limits.gpu_workers)
        return max(min(n * self._gpu_shape.cpus, self._budget.cpus - 1), 0.0)

    def _dismiss(self, shape: Shape, worker: Worker) -> None:
        self._living[shape] -= 1
        self._fleet.dismiss(worker)


@dataclass(frozen=True)
class _Running:
    """A task in hand, and who has it."""

    worker: Worker
    task: Task


class Controller:
    """Runs all tasks and fits of a scheduler on a fleet.

    Args:
        scheduler: what to compute.
        progress: is told how far the run is.
        fleet: where.
        limits: how much of it.
        stopping: once it is set, what runs is waited for and nothing new begins.
    """

    def __init__(
        self, scheduler: Scheduler, progress: Progress, fleet: Fleet, limits: Limits, stopping: threading.Event
    ) -> None:
        self.scheduler, self.progress, self.fleet, self.stopping = scheduler, progress, fleet, stopping
        self.staff = Staff(fleet, limits, _gpu_shape(scheduler))
        self.running: dict[Ticket, _Running] = {}
        self._held: dict[Shape, deque[Task]] = {}
        self._deaths: dict[int, int] = {}
        self._poison: dict[int, dict[tuple[str, str], str]] = {}
        self._looked_s = fleet.now_s()
        self._has_answered: set[Worker] = set()

    def run(self) -> None:
        """Works until nothing is left to do.

        Raises:
            UsageError: a stage is configured wrongly, or wants more than the cluster has.
            DataError: the disk is full or read-only, or workers can't be started.
        """
        while True:
            is_all = self.stopping.is_set() or self._hand_out()
            if self.running:
                self._collect(timeout_s=LOOK_EVERY_S if is_all else 0.0)
            elif self.stopping.is_set():
                return
            elif is_all and not any(self._held.values()):
                name = self.scheduler.next_fit()
                if name is None:
                    return
                self._fit(name)

    def _hand_out(self) -> bool:
        """Gives tasks to workers; returns whether all was given that can be given now."""
        for shape in sorted(self._held, key=lambda s: -s.gpus):
            while self._held[shape] and self._start(self._held[shape][0]):
                self._held[shape].popleft()
        for _ in range(LOOKED_AT_ONCE):
            if not self._wants_more():
                return True
            task = self.scheduler.next_task()
            if task is None:
                return True
            self.staff.check(task)
            shape = Shape.of(task)
            if self._held.get(shape) or not self._start(task):
                self._held.setdefault(shape, deque()).append(task)
        return False

    def _wants_more(self) -> bool:
        """Whether a new task may find a worker. Tasks that wait for a GPU do not keep cores from working."""
        if not self.running and not any(self._held.values()):
            return True
        return self.staff.has_room() and not any(held for shape, held in self._held.items() if not shape.gpus)

    def _start(self, task: Task) -> bool:
        worker = self.staff.take(Shape.of(task), is_alone=not self.running)
        if worker is None:
            return False
        ticket = self.fleet.submit(worker, task, self._poison.get(task.partition, {}))
        self.running[ticket] = _Running(worker, task)
        return True

    def _collect(self, timeout_s: float) -> None:
        """Waits for a task to end and takes in what has ended."""
        ended = list(self.fleet.wait(self.running, timeout_s))
        for ticket in ended:
            self._end(ticket)
        if self.fleet.now_s() - self._looked_s >= LOOK_EVERY_S:
            self._look(has_ended=bool(ended))
        self.progress.tick()

    def _end(self, ticket: Ticket) -> None:
        done = self.running.pop(ticket)
        try:
            outcome = self.fleet.outcome(ticket)
        except Death as death:
            self.staff.bury(Shape.of(done.task))
            self._has_answered.discard(done.worker)
            self._bury(done.task, death)
            return
        self.staff.give_back(Shape.of(done.task), done.worker)
        settle(self.scheduler, done.task, outcome, self.progress)

    def _look(self, has_ended: bool) -> None:
        """Looks how much there is and how far the workers are."""
        self._looked_s = self.fleet.now_s()
        self.staff.survey()
        if has_ended:
            return
        asked = list(self.running.values())
        answers = self.fleet.passed([r.worker for r in asked])
        for done, passed in zip(asked, answers, strict=True):
            if passed is not None:
                self._has_answered.add(done.worker)
                self.progress.passed(done.task.partition, done.task.names, passed)
        if not {r.worker for r in asked} <= self._has_answered:
            self.staff.dismiss_idle()

    def _bury(self, task: Task, death: Death) -> None:
        """Decides what a worker's death means for its partition."""
        self.progress.ended(task.partition)
        if death.lost_its_node:
            self.staff.survey()
            self.progress.say(f"partition {task.partition}: its node is gone; it is done again elsewhere")
            self.scheduler.again(task)
            return
        if death.never_lived:
            raise DataError(f"workers can't be started: {death}")
        self._deaths[task.partition] = self._deaths.get(task.partition, 0) + 1
        self.progress.say(f"partition {task.partition}: its worker died (time {self._deaths[task.partition]})")
        if self._deaths[task.partition] < DEATHS_BEFORE_BISECTION:
            self.scheduler.again(task)
            return
        self._isolate(task)

    def _isolate(self, task: Task) -> None:
        """Finds the song that kills workers, so that the rest of its partition can be done without it."""
        poison = self._poison.setdefault(task.partition, {})
        ids = [i for i in self.scheduler.dataset.partition(task.partition).ids() if (ANY, i) not in poison]
        killer = self._bisect(task, ids) if len(poison) < MOST_KILLERS else None
        if killer is None:
            self.scheduler.failed(task, "its workers die again and again, and no single song is the cause")
            return
        self.progress.say(f"partition {task.partition}: the song {killer!r} kills its worker; it is left out")
        poison[ANY, killer] = "the process died while this song was being processed"
        self._deaths[task.partition] = DEATHS_BEFORE_BISECTION - 1
        self.scheduler.again(task)

    def _bisect(self, task: Task, ids: list[str]) -> str | None:
        while len(ids) > 1:
            first, second = ids[: len(ids) // 2], ids[len(ids) // 2 :]
            ids = second if self._survives(task, first) else first
        return None if not ids or self._survives(task, ids) else ids[0]

    def _survives(self, task: Task, ids: list[str]) -> bool:
        worker = self.fleet.hire(Shape.of(task))
        try:
            return self.fleet.survives(worker, task, ids)
        finally:
            self.fleet.dismiss(worker)

    def _fit(self, name: str) -> None:
        """Fits on an idle worker, or on a new one where that dies."""
        shape = Shape(1, 0)
        for _ in range(DEATHS_BEFORE_BISECTION):
            self.progress.say(f"fitting {name}")
            worker = self.staff.take(shape, is_alone=True)
            try:
                error = self.fleet.fit(worker, name)
            except Death:
                self.staff.bury(shape)
                continue
            self.staff.give_back(shape, worker)
            if error:
                raise error
            self.scheduler.fitted(name)
            return
        raise DataError(f"{name}: the workers that fit it die (out of memory?); fit it on a larger machine")


def _gpu_shape(scheduler: Scheduler) -> Shape | None:
    """Returns the shape of the workers with a GPU that a run may need; None where it needs none."""
    graph = scheduler.graph
    needs = [graph[name].stage.resources() for name in graph.closure(scheduler.targets)]
    heavy = [r for r in needs if r.gpus]
    return Shape(max(r.cpus for r in heavy), max(r.gpus for r in heavy)) if heavy else None
