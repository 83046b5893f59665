"""What to compute next: tasks for partitions with due columns, and fits between them. Knows no executor."""

import errno
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.graph import Graph
from autosing.pipeline.plan import PartitionPlan, plan_partition, recomputed, runnable
from autosing.pipeline.snapshot import Snapshot
from autosing.pipeline.work import GroupResult, InstanceResult
from autosing.signal.errors import AutosingError, DataError, UsageError

T = TypeVar("T")
FLAG_SHARE, FLAG_ERRORS = 0.05, 10
TRANSIENT = frozenset({errno.EAGAIN, errno.EIO, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNABORTED, errno.ESTALE})
BACK_OFF_S = (1.0, 4.0, 16.0)
SAVE_EVERY_S = 600.0
"""How often a run keeps what it knows of commit records; a killed one leaves the rest to be read by the next."""


@dataclass(frozen=True)
class Task:
    """One fused pass over one partition; what is in `again` is computed although it is fresh, for songs with errors."""

    partition: int
    names: tuple[str, ...]
    extra: tuple[str, ...] = ()
    gpus: float = 0.0
    cpus: float = 1.0
    again: tuple[str, ...] = ()


@dataclass
class RunReport:
    """What a run came to.

    Args:
        instances: totals by instance.
        failed: message by partition that could not be processed at all.
        flagged: partitions and instances with more than 5 % and at least 10 own errors.
        fits: what was fitted.
        found: how many column files another run had made since this one began, by instance.
        stopped: whether it was told to end before all was done.
    """

    tasks: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    start_up_s: float = 0.0
    instances: dict[str, InstanceResult] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    flagged: list[tuple[int, str, int, int]] = field(default_factory=list)
    fits: list[str] = field(default_factory=list)
    found: dict[str, int] = field(default_factory=dict)
    stopped: bool = False
    _audio_s: dict[int, float] = field(default_factory=dict, repr=False)

    @property
    def exit_code(self) -> int:
        """0 if all is well, 3 if partitions failed or have many errors, 143 if it was told to end before that."""
        return 143 if self.stopped else 3 if self.failed or self.flagged else 0

    def add(self, result: GroupResult) -> None:
        """Adds one pass to the totals."""
        for name in result.found:
            self.found[name] = self.found.get(name, 0) + 1
        if not result.instances:
            return
        self.tasks += 1
        before_s = self._audio_s.get(result.partition, 0.0)
        self._audio_s[result.partition] = max(before_s, result.audio_s)
        self.audio_s += self._audio_s[result.partition] - before_s
        for name, part in result.instances.items():
            total = self.instances.setdefault(name, InstanceResult())
            for key in ("rows", "errors", "own_errors", "busy_s", "bytes"):
                setattr(total, key, getattr(total, key) + getattr(part, key))
            if part.own_errors >= FLAG_ERRORS and part.own_errors > FLAG_SHARE * part.rows:
                self.flagged.append((result.partition, name, part.own_errors, part.rows))


class Scheduler:
    """Hands out tasks until every target is fresh, failed or can't be computed.

    Args:
        dataset: the data set.
        graph: its instances.
        targets: what is wanted.
        forced: instances to compute again although they are fresh, by partition.
    """

    def __init__(
        self, dataset: Dataset, graph: Graph, targets: Sequence[str], forced: dict[int, Collection[str]] | None = None
    ) -> None:
        self.dataset, self.graph, self.targets = dataset, graph, list(targets)
        self.report = RunReport()
        self.tell: Callable[..., None] = lambda event, **facts: None
        self._forced = {n: set(names) for n, names in (forced or {}).items()}
        self._snapshot = Snapshot(dataset)
        self._open = deque(self._snapshot.numbers)
        self._waiting: list[int] = []
        self._last: dict[int, tuple[str, ...]] = {}
        self._is_alone = True
        self._may_pass = False
        self._saved = time.monotonic()

    @property
    def n_partitions(self) -> int:
        """How many partitions the data set has."""
        return len(self._snapshot.numbers)

    def next_task(self) -> Task | None:
        """Returns the next task that can run now, or None (for now)."""
        while self._open:
            number = self._open.popleft()
            try:
                task, is_blocked = self._look_at(number)
            except UsageError:
                raise
            except AutosingError as error:
                self.report.failed[number] = str(error)
                self.tell("failed", partition=number, reason=str(error))
                continue
            if task is not None:
                return task
            if is_blocked:
                self._waiting.append(number)
        return None

    def finished(self, task: Task, result: GroupResult) -> None:
        """Takes in a finished task; its partition is looked at again."""
        self.report.add(result)
        self.tell("done", **asdict(replace(result, commits={}, found={})) | {"found": [*result.found]})
        self._forced.get(task.partition, set()).difference_update(result.commits)
        self._last[task.partition] = task.names
        self._snapshot.committed(task.partition, {**result.commits, **result.found})
        if result.found and self._is_alone:
            self._part_ways()
        self._open.appendleft(task.partition)
        if time.monotonic() - self._saved > SAVE_EVERY_S:
            self.save()

    def _part_ways(self) -> None:
        """Goes on in an order of its own: another run works on the data set, and began where this one did."""
        self._is_alone = False
        order = list(self._open)
        random.shuffle(order)
        self._open = deque(order)

    def failed(self, task: Task, message: str, may_pass: bool = False) -> None:
        """Takes in that a partition can't be processed; the others go on.

        Args:
            task: what was tried.
            message: why.
            may_pass: whether it may be possible next time, as nothing is known to be wrong with the partition. Until
                then nothing is fitted: it would be on other songs than where nothing had happened.
        """
        self._may_pass |= may_pass
        told = f"{message}; run the same command again, before which nothing is fitted" if may_pass else message
        self.report.failed[task.partition] = told
        self.tell("failed", partition=task.partition, reason=told)

    def again(self, task: Task) -> None:
        """Puts a task's partition back to be planned anew."""
        self._snapshot.look_again(task.partition)
        self._open.appendleft(task.partition)

    def save(self) -> None:
        """Keeps what the commit records say for the next run, which then need not open the files."""
        self._snapshot.save()
        self._saved = time.monotonic()

    def next_fit(self) -> str | None:
        """Returns an instance whose artefact can be fitted now: everything it reads is fresh wherever possible."""
        if self._may_pass:
            return None
        for name in self.graph.closure(self.targets):
            if self.graph.fit_reason(name) and all(self.graph.definition(i) for i in self.graph.inputs(name)):
                return name if self._waiting else None
        return None

    def fitted(self, name: str) -> None:
        """Takes in a finished fit; the partitions that waited for it are looked at again."""
        self.report.fits.append(name)
        self.tell("fitted", instance=name)
        self.graph.forget_definitions()
        self._open, self._waiting = deque(self._waiting), []

    def _look_at(self, number: int) -> tuple[Task | None, bool]:
        """Returns what to do next for a partition, and whether it waits for a fit."""
        plan = self._plan(number)
        chosen = self._chosen(plan)
        if chosen and self._last.get(number) == chosen:
            self._snapshot.look_again(number)
            plan = self._plan(number)
            chosen = self._chosen(plan)
            if chosen and self._last.get(number) == chosen:
                raise DataError(
                    f"{', '.join(chosen)} stay stale although they were computed; is the data set being written?"
                )
        return (self._task(number, chosen) if chosen else None), bool(plan.of("blocked"))

    def _plan(self, number: int) -> PartitionPlan:
        return plan_partition(self._snapshot.partition(number), self.graph, self.targets, self._forced.get(number, ()))

    def _chosen(self, plan: PartitionPlan) -> tuple[str, ...]:
        names = runnable(self.graph, plan)
        return tuple(self._one_kind(names)) if names else ()

    def _task(self, number: int, chosen: tuple[str, ...]) -> Task:
        needs = [self.graph[n].stage.resources() for n in chosen]
        extra = tuple(recomputed(self.graph, chosen))
        for name in (*chosen, *extra):
            self.graph.check_reads(name)
        again = tuple(n for n in chosen if n in self._forced.get(number, ()))
        return Task(number, chosen, extra, max(r.gpus for r in needs), max(r.cpus for r in needs), again)

    def _one_kind(self, names: Sequence[str]) -> list[str]:
        """Returns those that need no GPU, or all where nothing can run without one."""
        light: list[str] = []
        for name in names:
            inputs_wait = any(i in names and i not in light for i in self.graph.inputs(name))
            if self.graph[name].stage.resources().gpus == 0 and not inputs_wait:
                light.append(name)
        return light or list(names)


def with_retries(work: Callable[[], T], pause: Callable[[float], None] = time.sleep) -> T:
    """Returns `work()`, repeated with growing pauses after transient I/O errors.

    Raises:
        OSError: it is not transient, or does not pass.
    """
    for wait_s in BACK_OFF_S:
        try:
            return work()
        except OSError as error:
            if error.errno not in TRANSIENT:
                raise
            pause(wait_s)
    return work()


def targets_or_all(graph: Graph, targets: Iterable[str]) -> list[str]:
    """Returns the named targets, or those that run by default where none is named."""
    chosen = list(targets)
    for name in chosen:
        graph[name]
    return chosen or graph.default_targets
