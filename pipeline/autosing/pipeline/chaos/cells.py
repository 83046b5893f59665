"""What is done to runs: who dies, and where, or what becomes of the storage and the clock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal, get_args

from autosing.pipeline.faults import POINTS, Point
from autosing.signal.errors import UsageError

Executor = Literal["local", "child", "ray"]
Victim = Literal["child", "worker", "actor", "node", "head", "driver"]
Trouble = Literal["disk-full", "disk-read-only", "io-error", "slow-storage", "clock-skew"]
EXECUTORS: tuple[Executor, ...] = get_args(Executor)
VICTIMS: tuple[Victim, ...] = get_args(Victim)
TROUBLES: tuple[Trouble, ...] = get_args(Trouble)
RUN_GOES_ON: frozenset[Victim] = frozenset({"child", "worker", "actor", "node"})
"""Whose death a run must survive; after that of others the same command is given again."""
WITHOUT_RAY: tuple[Victim, ...] = ("child", "driver")
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
        all processes of its node; all of the head, on which nothing computes; or the process that was started as
        `autosing process`.
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


def matrix() -> list[Cell]:
    """Returns all cells, those that cost least first."""
    local: list[Cell] = [Kill("local", "driver", point) for point in POINTS]
    local += [Ailment("local", trouble) for trouble in TROUBLES]
    isolated: list[Cell] = [Kill("child", victim, point) for victim in WITHOUT_RAY for point in POINTS]
    isolated += [Ailment("child", trouble) for trouble in TROUBLES]
    on_ray: list[Cell] = [Kill("ray", victim, point) for victim in VICTIMS for point in POINTS]
    return [*local, *isolated, *on_ray, *(Ailment("ray", trouble) for trouble in TROUBLES)]


def chosen(only: Sequence[str], among: Iterable[Cell] | None = None) -> list[Cell]:
    """Returns the cells whose names match one of some patterns, or all where there is no pattern.

    Raises:
        UsageError: a pattern matches none.
    """
    cells = matrix() if among is None else list(among)
    for pattern in only:
        if not any(fnmatch(str(cell), pattern) for cell in cells):
            raise UsageError(f"no cell is named {pattern!r}; cells: {', '.join(map(str, cells))}")
    return [cell for cell in cells if not only or any(fnmatch(str(cell), pattern) for pattern in only)]
