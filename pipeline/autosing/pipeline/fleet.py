"""Where workers are, as the controller sees it: what they occupy, how they are hired, and how they die."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autosing.pipeline.passes import Passed
from autosing.pipeline.schedule import Task
from autosing.pipeline.worker import Outcome
from autosing.signal.errors import AutosingError

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
