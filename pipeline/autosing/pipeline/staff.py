"""Who is hired and who has to go, within what the cluster has and a run may take."""

from collections.abc import Mapping

from autosing.pipeline.fleet import Fleet, Limits, Shape, Worker
from autosing.pipeline.schedule import Task
from autosing.signal.errors import UsageError


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
