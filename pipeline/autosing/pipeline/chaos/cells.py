"""What is done to runs: who dies, and where, or what becomes of the storage and the clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal, get_args

from autosing.pipeline.faults import POINTS, Point
from autosing.signal.errors import UsageError

Executor = Literal["local", "child", "ray"]
Victim = Literal["child", "worker", "actor", "node", "head", "driver", "peer", "cable"]
Trouble = Literal["disk-full", "disk-read-only", "io-error", "slow-storage", "clock-skew"]
EXECUTORS: tuple[Executor, ...] = get_args(Executor)
VICTIMS: tuple[Victim, ...] = get_args(Victim)
TROUBLES: tuple[Trouble, ...] = get_args(Trouble)
RUN_GOES_ON: frozenset[Victim] = frozenset({"child", "worker", "actor", "node", "cable"})
"""Whose death a run must survive; after that of others the same command is given again."""
OF_EXECUTOR: dict[Executor, tuple[Victim, ...]] = {
    "local": ("driver", "peer"),
    "child": ("child", "driver", "peer"),
    # Whose workers stand at a point can't be told of two drivers on one cluster.
    "ray": ("child", "worker", "actor", "node", "head", "driver"),
}
ON_A_DISK: frozenset[Trouble] = frozenset({"disk-full", "disk-read-only"})
QUICK = (
    "local/*",
    "child/child/between-write-and-rename",
    "ray/worker/between-write-and-rename",
    "ray/driver/between-write-and-rename",
)


@dataclass(frozen=True)
class Kill:
    """A process is killed while one that computes stands at a point. In a local run, one process is all there is.

    victim: the process that computes (`child`); the one that watches it, by a signal (`worker`) or by Ray (`actor`);
        all processes of its node; all of the head, on which nothing computes; the process that was started as
        `autosing process` (`driver`); or that of two of them on one data set that has come to the point (`peer`).
        Nobody is where the cable of its host is pulled out (`cable`): others do its work, and then it goes on.
    """

    executor: Executor
    victim: Victim
    point: Point

    def __str__(self) -> str:
        return f"{self.executor}/{self.victim}/{self.point}"


@dataclass(frozen=True)
class Ailment:
    """Storage or clock ail, and nobody is killed by anyone else."""

    executor: Executor
    trouble: Trouble

    def __str__(self) -> str:
        return f"{self.executor}/{self.trouble}"


Cell = Kill | Ailment


def matrix(hosts: bool = False) -> list[Cell]:
    """Returns all cells, those that cost least first.

    Args:
        hosts: whether nodes have hosts of their own, whose cables can be pulled out.
    """
    cells: list[Cell] = []
    for executor in EXECUTORS:
        cells += [Kill(executor, victim, point) for victim in OF_EXECUTOR[executor] for point in POINTS]
        cells += [Ailment(executor, trouble) for trouble in TROUBLES]
    return [*cells, *(Kill("ray", "cable", point) for point in POINTS if hosts)]


def on_store() -> list[Cell]:
    """Returns the cells that there are where data sets lie on an object store."""
    return [cell for cell in matrix() if not needs_disk(cell)]


def needs_disk(cell: Cell) -> bool:
    """Whether a cell is about the disk on which a data set lies, so that there is none of it on an object store."""
    return isinstance(cell, Ailment) and cell.trouble in ON_A_DISK


def chosen(only: Sequence[str], among: Sequence[Cell]) -> list[Cell]:
    """Returns the cells whose names match one of some patterns, or all where there is no pattern.

    Raises:
        UsageError: a pattern matches none.
    """
    for pattern in only:
        if not any(fnmatch(str(cell), pattern) for cell in among):
            raise UsageError(f"no cell is named {pattern!r}; cells: {', '.join(map(str, among))}")
    return [cell for cell in among if not only or any(fnmatch(str(cell), pattern) for pattern in only)]
