"""Who gets which task, on a fleet that exists on paper: nothing lost, nothing twice, whatever the fleet does."""

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from toy_stages import Doubled, Letters, Level, column_values, toy_dataset, toy_graph

from autosing.pipeline.controller import TRIALS, Controller
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.fleet import Death, Fleet, Limits, Shape
from autosing.pipeline.graph import Graph, Instance
from autosing.pipeline.passes import Passed
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import Scheduler, Task
from autosing.pipeline.staff import Staff
from autosing.pipeline.stage import Resources, Stage
from autosing.pipeline.stages.probe import Probe
from autosing.pipeline.work import GroupResult
from autosing.pipeline.worker import Outcome, Worker
from autosing.signal.errors import AutosingError, DataError, UsageError

ALL = ["probe", "letters", "level", "doubled"]
DEATH = Death("it died")


@dataclass(frozen=True)
class GpuLevel(Level):
    """A level that wants a share of a GPU."""

    def resources(self) -> Resources:
        return Resources(gpus=0.5)


@dataclass(eq=False)
class Hand:
    """A worker of the fleet."""

    shape: Shape


@dataclass
class PaperFleet(Fleet):
    """Runs tasks in this process, the oldest first, when somebody waits for them; `fate` may end one otherwise."""

    url: str
    graph: Graph
    has: Shape
    fate: Callable[[Task], Death | None] = lambda task: None
    alive: list[Hand] = field(default_factory=list)
    running: dict[int, tuple[Hand, Task]] = field(default_factory=dict)
    done: list[Task] = field(default_factory=list)
    most: list[tuple[float, float]] = field(default_factory=list)
    together: list[set[float]] = field(default_factory=list)
    clock_s: float = 0.0
    on_wait: Callable[[], None] = lambda: None
    fits: bool = False
    _n: int = 0

    def now_s(self) -> float:
        return self.clock_s

    def capacity(self) -> Shape:
        return self.has

    def hire(self, shape: Shape) -> Hand:
        self.alive.append(Hand(shape))
        self.most.append((sum(h.shape.cpus for h in self.alive), sum(h.shape.gpus for h in self.alive)))
        return self.alive[-1]

    def dismiss(self, worker: Hand) -> None:
        self.alive.remove(worker)

    def submit(self, worker: Hand, task: Task, poison: Mapping[str, str]) -> int:
        assert worker in self.alive and worker not in [w for w, _ in self.running.values()]
        assert worker.shape == Shape.of(task)
        self._n += 1
        self.running[self._n] = (worker, task)
        self.together.append({task.gpus for _, task in self.running.values()})
        return self._n

    def wait(self, tickets: Collection[int], timeout_s: float) -> Iterable[int]:
        self.clock_s += 1
        self.on_wait()
        return sorted(tickets)[:1]

    def outcome(self, ticket: int) -> Outcome:
        worker, task = self.running.pop(ticket)
        if death := self.fate(task):
            self.alive.remove(worker)
            raise death
        self.done.append(task)
        return Worker(self.url).run(self.graph, task, {})

    def passed(self, workers: Sequence[Any]) -> list[Passed | None]:
        return [Passed() for _ in workers]

    def survives(self, worker: Hand, task: Task, ids: Sequence[str]) -> bool:
        return True

    def fit(self, worker: Hand, name: str) -> AutosingError | None:
        return Worker(self.url).fit(self.graph, name) if self.fits else None


def graph_of(level: Stage) -> Graph:
    stages = {"probe": Probe(), "letters": Letters(), "level": level, "doubled": Doubled()}
    return Graph({n: Instance(n, n, s) for n, s in stages.items()})


def controller_of(
    url: str, level: Stage, limits: Limits | None = None, has: Shape = Shape(4, 1), **fleet: Any
) -> tuple[Controller, PaperFleet]:
    graph = graph_of(level)
    paper = PaperFleet(url, graph, has, **fleet)
    scheduler = Scheduler(Dataset(url), graph, ALL)
    controller = Controller(scheduler, Progress(0, quiet=True), paper, limits or Limits(), threading.Event())
    return controller, paper


@pytest.fixture
def url(tmp_path: Path) -> str:
    return toy_dataset(str(tmp_path / "set"), partitions=6, songs=1)


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, Any]:
    url = toy_dataset(str(tmp_path / "undisturbed"), partitions=6, songs=1)
    controller_of(url, Level())[0].run()
    return column_values(url)


def once_each(fleet: PaperFleet) -> bool:
    computed = [(task.partition, name) for task in fleet.done for name in task.names]
    return sorted(computed) == sorted((n, name) for n in range(6) for name in ALL)


def test_every_column_of_every_partition_is_computed_once(url: str, expected: dict[str, Any]) -> None:
    controller, fleet = controller_of(url, Level())
    controller.run()
    assert once_each(fleet) and column_values(url) == expected
    assert max(fleet.most) == (4, 0)


def test_stages_with_and_without_a_gpu_run_at_the_same_time(url: str, expected: dict[str, Any]) -> None:
    controller, fleet = controller_of(url, GpuLevel())
    controller.run()
    assert once_each(fleet) and column_values(url) == expected
    assert {0, 0.5} in fleet.together


def test_as_many_workers_share_a_gpu_as_have_room_on_it(url: str) -> None:
    controller, fleet = controller_of(url, GpuLevel(), has=Shape(8, 2))
    controller.run()
    assert max(gpus for _, gpus in fleet.most) == 2
    assert max(cpus for cpus, _ in fleet.most) <= 8
    assert sum(bool(hand.shape.gpus) for hand in fleet.alive) == 4


def test_one_core_and_a_gpu_are_enough_for_both_kinds(url: str, expected: dict[str, Any]) -> None:
    controller, fleet = controller_of(url, GpuLevel(), has=Shape(1, 1))
    controller.run()
    assert once_each(fleet) and column_values(url) == expected


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (Limits(cpus=2), (2, 0.5)),
        (Limits(workers=1, gpus=0.5), (2, 0.5)),
        (Limits(workers=2, gpu_workers=1), (3, 0.5)),
    ],
)
def test_a_run_takes_no_more_of_a_cluster_than_it_may(
    url: str, expected: dict[str, Any], limits: Limits, most: tuple[float, float]
) -> None:
    controller, fleet = controller_of(url, GpuLevel(), limits, has=Shape(8, 2))
    controller.run()
    assert max(c for c, _ in fleet.most) <= most[0] and max(g for _, g in fleet.most) <= most[1]
    assert once_each(fleet) and column_values(url) == expected


@pytest.mark.parametrize("limits", [Limits(gpus=0), Limits(gpu_workers=0)])
def test_a_gpu_that_is_not_there_or_not_allowed_is_told(url: str, limits: Limits) -> None:
    with pytest.raises(UsageError, match="level, doubled want a GPU and the cluster has none"):
        controller_of(url, GpuLevel(), limits)[0].run()


def test_more_of_a_gpu_than_there_is_is_told(url: str) -> None:
    with pytest.raises(UsageError, match=r"want 1 cores and 0\.5 GPUs, and the run has 4 cores and 0\.25 GPUs"):
        controller_of(url, GpuLevel(), Limits(gpus=0.25))[0].run()


def test_what_a_lost_node_was_doing_is_done_again_however_often(url: str, expected: dict[str, Any]) -> None:
    left = dict.fromkeys(range(6), 5)

    def fate(task: Task) -> Death | None:
        left[task.partition] -= 1
        return Death("preempted", lost_its_node=True) if left[task.partition] >= 0 else None

    controller, fleet = controller_of(url, Level(), fate=fate)
    controller.run()
    assert once_each(fleet) and column_values(url) == expected


def test_what_a_worker_committed_before_it_died_is_not_done_again(url: str, expected: dict[str, Any]) -> None:
    graph, died = graph_of(Level()), []

    def fate(task: Task) -> Death | None:
        if task.partition in died:
            return None
        died.append(task.partition)
        assert Worker(url).run(graph, task, {}).result
        return Death("it died with its answer")

    controller, fleet = controller_of(url, Level(), fate=fate)
    controller.run()
    assert fleet.done == [] and column_values(url) == expected


@pytest.mark.parametrize("ends_alone", [1, TRIALS - 1, TRIALS])
def test_a_song_is_to_blame_only_where_it_ends_workers_whenever_it_is_alone(url: str, ends_alone: int) -> None:
    deaths = iter([True] * ends_alone)
    controller, fleet = controller_of(url, Level())
    fleet.fate = lambda task: None if controller._poison.get(task.partition) or task.partition != 3 else DEATH
    fleet.survives = lambda worker, task, ids: not next(deaths, False)  # type: ignore[method-assign]
    controller.run()
    if ends_alone < TRIALS:
        assert list(controller.scheduler.report.failed) == [3]
        assert controller.scheduler.report.failed[3].endswith(
            "run the same command again, before which nothing is fitted"
        )
    else:
        assert controller.scheduler.report.failed == {}
        assert [*controller._poison[3].values()] == ["the process died while this song was being processed"]


def test_nothing_is_fitted_where_a_partition_failed_by_what_may_pass(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "other"), partitions=3)
    for fate, message in (
        (lambda task: DEATH if task.partition == 1 else None, "workers die again and again"),
        (lambda task: None, ""),
    ):
        graph = toy_graph(url)
        scheduler = Scheduler(Dataset(url), graph, ["above"])
        fleet = PaperFleet(url, graph, Shape(2, 0), fate, fits=True)
        Controller(scheduler, Progress(0, quiet=True), fleet, Limits(), threading.Event()).run()
        assert message in "".join(scheduler.report.failed.values())
        assert scheduler.report.fits == ([] if message else ["above"])
    undisturbed = toy_dataset(str(tmp_path / "undisturbed"), partitions=3)
    process(
        Dataset(undisturbed), toy_graph(undisturbed), ["above"], RunOptions("local"), progress=Progress(0, quiet=True)
    )
    assert column_values(url) == column_values(undisturbed)


def test_a_worker_that_can_not_be_started_ends_the_run(url: str) -> None:
    with pytest.raises(DataError, match="workers can't be started: no such image"):
        controller_of(url, Level(), fate=lambda task: Death("no such image", never_lived=True))[0].run()


def test_a_cluster_that_is_gone_for_a_while_is_waited_for(url: str, expected: dict[str, Any]) -> None:
    controller, fleet = controller_of(url, Level())
    waits: list[float] = []

    def on_wait() -> None:
        waits.append(fleet.clock_s)
        fleet.has = Shape(0, 0) if 2 < len(waits) < 20 else Shape(4, 1)

    fleet.on_wait = on_wait
    controller.run()
    assert once_each(fleet) and column_values(url) == expected


def test_a_run_that_is_told_to_end_finishes_what_it_has_in_hand_and_begins_nothing(
    url: str, expected: dict[str, Any]
) -> None:
    controller, fleet = controller_of(url, Level())
    fleet.on_wait = controller.stopping.set
    controller.run()
    assert sorted(task.partition for task in fleet.done) == [0, 1, 2, 3]
    again, rest = controller_of(url, Level())
    again.run()
    assert sorted(task.partition for task in rest.done) == [4, 5]
    assert column_values(url) == expected


class Terminating(Progress):
    """Sends this process SIGTERM once a pass is finished."""

    def add(self, result: GroupResult) -> None:
        super().add(result)
        os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_a_run_after_the_partition_in_hand(url: str, expected: dict[str, Any]) -> None:
    local = RunOptions(executor="local")
    stopped = process(Dataset(url), graph_of(Level()), ALL, local, progress=Terminating(0, quiet=True))
    assert (stopped.tasks, stopped.stopped, stopped.exit_code) == (1, True, 143)
    rest = process(Dataset(url), graph_of(Level()), ALL, local, progress=Progress(0, quiet=True))
    assert (rest.tasks, rest.exit_code) == (5, 0) and column_values(url) == expected


def test_a_worker_with_weights_does_not_go_for_one_without(url: str) -> None:
    fleet = PaperFleet(url, graph_of(Level()), Shape(2, 1))
    staff = Staff(fleet, Limits())
    heavy = staff.take(Shape(1, 1), is_alone=False)
    staff.give_back(Shape(1, 1), heavy)
    assert staff.take(Shape(2, 0), is_alone=False) is None
    assert staff.take(Shape(2, 0), is_alone=True) is not None
    assert heavy not in fleet.alive
