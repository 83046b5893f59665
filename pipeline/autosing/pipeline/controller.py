"""Keeps workers busy: who gets which task, and what the death of a worker means. Knows no cluster, only a `Fleet`.

The controller owns retries, because only it can count: a fleet neither retries a task nor restarts a worker. A worker
on a dead or preempted node is replaced and its partition done again for free. Songs that crash, hang or eat memory end
a child of the worker, which deals with that itself (`isolation`). A worker that dies on a living node nevertheless
counts against the partition: after three deaths the song that kills it, if one does, is found by bisection, and its row
gets the error.
"""

import threading
from collections import deque
from dataclasses import dataclass

from autosing.pipeline.fleet import Death, Fleet, Limits, Shape, Ticket, Worker
from autosing.pipeline.passes import ANY
from autosing.pipeline.progress import Progress
from autosing.pipeline.schedule import Scheduler, Task
from autosing.pipeline.staff import Staff
from autosing.pipeline.worker import settle
from autosing.signal.errors import DataError

DEATHS_BEFORE_BISECTION = 3
MOST_KILLERS = 8
TRIALS = 3
"""How often a song must end a worker alone: workers die of other things, too, while one is looked for."""
LOOK_EVERY_S = 5.0
LOOKED_AT_ONCE = 256
"""So many partitions are planned at most before the controller looks again whether a worker is done."""


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
            self.scheduler.failed(task, "its workers die again and again, and no single song is the cause", True)
            return
        self.progress.say(f"partition {task.partition}: the song {killer!r} kills its worker; it is left out")
        poison[ANY, killer] = "the process died while this song was being processed"
        self._deaths[task.partition] = DEATHS_BEFORE_BISECTION - 1
        self.scheduler.again(task)

    def _bisect(self, task: Task, ids: list[str]) -> str | None:
        while len(ids) > 1:
            first, second = ids[: len(ids) // 2], ids[len(ids) // 2 :]
            ids = second if self._survives(task, first) else first
        return None if not ids or any(self._survives(task, ids) for _ in range(TRIALS)) else ids[0]

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
