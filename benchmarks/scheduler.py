"""The controller on a cluster that exists on paper: very many partitions, workers that die, nodes that are taken away.

    python benchmarks/scheduler.py [--partitions 100000] [--nodes 63] [--cores 16] [--gpu-nodes 10] [--seed 0]
        [--hours 4] [--deaths 500] [--preemptions 20] [--fresh]

Planning, handing out and taking in are the pipeline's own code, as are commit records; only work and clock
are made up. A task takes the measured CPU seconds of its stages (`--costs`, from benchmarks/stages.py)
times its hours, with a spread of `--spread`. The clock of the cluster goes on by the driver's CPU seconds, too, so that
workers idle where the driver is too slow for them. Half of the workers that die have committed before they could say.

Prints planning time, the driver's CPU seconds and memory, calls to the store, idle workers, and whether every column
of every partition was computed exactly once. Exits with 1 where that is not so or a target is missed.
"""

import argparse
import heapq
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec

from autosing.pipeline.controller import Controller
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.fleet import Death, Fleet, Limits, Shape
from autosing.pipeline.graph import Graph
from autosing.pipeline.listing import mark_of
from autosing.pipeline.passes import Passed
from autosing.pipeline.progress import Progress
from autosing.pipeline.schedule import Scheduler, Task
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.snapshot import Commit
from autosing.pipeline.work import GroupResult, InstanceResult
from autosing.pipeline.worker import Outcome
from autosing.signal.errors import AutosingError
from fabricated import INSTANCES, SETTINGS
from machine import machine, peak_mb
from paper import ROOT, PaperFileSystem

OVERHEAD_TARGET_MS = 20.0
GPU_STAGE, GPU_SHARE = "ssl", 0.5
GPU_S_PER_H = 7.2
"""Assumed, not measured: an encoder that is 500 times faster than its audio on half a GPU."""
RETURN_S = 300.0
"""How long it takes until another node stands in for one that was taken away."""


@dataclass
class Node:
    """A machine, its workers, and until when it is gone."""

    shape: Shape
    workers: list["SimulatedWorker"] = field(default_factory=list)
    back_s: float = 0.0


@dataclass(eq=False)
class SimulatedWorker:
    """A worker on a node."""

    shape: Shape
    node: Node | None = None
    is_dead: bool = False
    busy_s: float = 0.0
    ticket: "SimulatedTicket | None" = None


@dataclass(eq=False)
class SimulatedTicket:
    """A task in hand and how it ends."""

    worker: SimulatedWorker
    task: Task
    began_s: float
    death: Death | None = None
    has_committed: bool = False
    is_over: bool = False


class SimulatedFleet(Fleet):
    """Workers whose work takes no time but that of a clock on paper.

    Args:
        nodes: the machines.
        store: where they commit.
        costs: CPU seconds per hour of audio, by instance.
        options: hours, spread, deaths, preemptions, seed.
    """

    def __init__(
        self, nodes: Sequence[Node], store: PaperFileSystem, costs: Mapping[str, float], options: argparse.Namespace
    ) -> None:
        self.nodes, self.store, self.costs, self.options = nodes, store, costs, options
        self.chance = random.Random(options.seed)
        self.clock_s = self.own_cpu_s = self.busy_s = self.lost_s = self.on_cores_s = self.gone_s = 0.0
        self.until_s = self.on_cores_then_s = self.gone_then_s = 0.0
        self.computed: Counter[tuple[int, str]] = Counter()
        self.events: Counter[str] = Counter()
        self.most_running = self.running = 0
        self.overhead_s = 0.0
        self._waiting: list[SimulatedWorker] = []
        self._agenda: list[tuple[float, int, Any]] = []
        self._n = 0
        self._left_s = time.process_time()
        for node in nodes:
            self._plan_preemption(node)

    def now_s(self) -> float:
        return self.clock_s

    def capacity(self) -> Shape:
        there = [n.shape for n in self.nodes if n.back_s <= self.clock_s]
        return Shape(sum(s.cpus for s in there), sum(s.gpus for s in there))

    def hire(self, shape: Shape) -> SimulatedWorker:
        self._enter()
        worker = SimulatedWorker(shape)
        self._waiting.append(worker)
        self._place()
        self._leave()
        return worker

    def dismiss(self, worker: SimulatedWorker) -> None:
        self._enter()
        self._remove(worker)
        self._leave()

    def submit(self, worker: SimulatedWorker, task: Task, poison: Mapping[str, str]) -> SimulatedTicket:
        self._enter()
        worker.ticket = ticket = SimulatedTicket(worker, task, self.clock_s)
        if worker.node is not None or worker.is_dead:
            self._begin(ticket)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.until_s, self.on_cores_then_s, self.gone_then_s = self.clock_s, self.on_cores_s, self.gone_s
        self._leave()
        return ticket

    def _begin(self, ticket: SimulatedTicket) -> None:
        worker, task = ticket.worker, ticket.task
        ticket.began_s = self.clock_s
        takes_s = self._duration_s(task)
        dies_s = self.chance.expovariate(1 / (3600 * self.options.deaths)) if self.options.deaths else float("inf")
        if worker.is_dead:
            ticket.death, takes_s = Death("its node is gone", lost_its_node=True), 0.0
        elif dies_s < takes_s:
            ticket.death, ticket.has_committed = Death("it died"), self.chance.random() < 0.5
            takes_s = takes_s if ticket.has_committed else dies_s
        self._at(self.clock_s + takes_s, ticket)

    def wait(self, tickets: Collection[SimulatedTicket], timeout_s: float) -> Iterable[SimulatedTicket]:
        self._enter()
        ended: list[SimulatedTicket] = []
        deadline_s = self.clock_s + timeout_s
        while self._agenda and (self._agenda[0][0] <= self.clock_s or not ended):
            when_s, _, event = self._agenda[0]
            if when_s > max(deadline_s, self.clock_s):
                break
            heapq.heappop(self._agenda)
            self.clock_s = max(self.clock_s, when_s)
            ended += self._happen(event)
        if not ended:
            self.clock_s = max(self.clock_s, deadline_s)
        self.running -= len(ended)
        self._leave()
        return ended

    def outcome(self, ticket: SimulatedTicket) -> Outcome:
        self._enter()
        try:
            if ticket.death is None or ticket.has_committed:
                result = self._commit(ticket)
            if ticket.death is not None:
                self.events["lost nodes' tasks" if ticket.death.lost_its_node else "deaths"] += 1
                self._remove(ticket.worker)
                raise ticket.death
            return Outcome(result=result)
        finally:
            self._leave()

    def passed(self, workers: Sequence[SimulatedWorker]) -> list[Passed | None]:
        return [None if w.node is None else Passed() for w in workers]

    def survives(self, worker: SimulatedWorker, task: Task, ids: Sequence[str]) -> bool:
        return True

    def fit(self, worker: SimulatedWorker, name: str) -> AutosingError | None:
        return None

    def _enter(self) -> None:
        """The driver's own CPU seconds end here; the clock has gone on by them."""
        now_s = time.process_time()
        self.overhead_s += now_s - self._left_s
        self.clock_s += now_s - self._left_s
        self._left_s = now_s

    def _leave(self) -> None:
        now_s = time.process_time()
        self.own_cpu_s += now_s - self._left_s
        self._left_s = now_s

    def _at(self, when_s: float, event: Any) -> None:
        self._n += 1
        heapq.heappush(self._agenda, (when_s, self._n, event))

    def _happen(self, event: Any) -> list[SimulatedTicket]:
        if isinstance(event, SimulatedTicket):
            return self._end(event)
        if event is None:
            self._place()
            return []
        event.back_s = self.clock_s + RETURN_S
        self.gone_s += RETURN_S * event.shape.cpus
        self.events["preemptions"] += 1
        self._at(event.back_s, None)
        self._plan_preemption(event)
        ended = []
        for worker in event.workers:
            worker.is_dead = True
            if worker.ticket is not None and not worker.ticket.is_over:
                worker.ticket.death = Death("preempted", lost_its_node=True)
                worker.ticket.has_committed = False
                ended += self._end(worker.ticket)
        event.workers.clear()
        return ended

    def _end(self, ticket: SimulatedTicket) -> list[SimulatedTicket]:
        if ticket.is_over:
            return []
        ticket.is_over = True
        seconds = self.clock_s - ticket.began_s
        self.busy_s += seconds
        self.on_cores_s += 0.0 if ticket.task.gpus else seconds
        self.lost_s += seconds if ticket.death is not None and not ticket.has_committed else 0.0
        return [ticket]

    def _commit(self, ticket: SimulatedTicket) -> GroupResult:
        number, names = ticket.task.partition, ticket.task.names
        records = self.store.records(number)
        self.store.partitions[number] |= set(names)
        self.computed.update((number, name) for name in names)
        commits = {}
        for name in names:
            mark = mark_of(Dataset(f"paper://{ROOT}").store, str(number), f"{name}.parquet")
            assert mark is not None
            commits[name] = Commit(mark, records[name])
        audio_s = 3600.0 * self.options.hours
        return GroupResult(number, audio_s, 0.0, {n: InstanceResult(60, 0, 0, 0.0, 0) for n in names}, commits)

    def _duration_s(self, task: Task) -> float:
        per_hour = sum(GPU_S_PER_H if task.gpus else self.costs[name] for name in task.names)
        return per_hour * self.options.hours * self.chance.lognormvariate(0.0, self.options.spread)

    def _plan_preemption(self, node: Node) -> None:
        if self.options.preemptions:
            after_s = self.chance.expovariate(1 / (3600 * self.options.preemptions))
            self._at(max(self.clock_s, node.back_s) + after_s, node)

    def _remove(self, worker: SimulatedWorker) -> None:
        if worker.node is None:
            self._waiting.remove(worker)
        elif not worker.is_dead:
            worker.node.workers.remove(worker)
        worker.is_dead = True
        self._place()

    def _place(self) -> None:
        """Starts the workers that wait for room, where there is some now. Those without a GPU avoid nodes with one."""
        for worker in list(self._waiting):
            there = sorted((n for n in self.nodes if n.back_s <= self.clock_s), key=lambda n: n.shape.gpus)
            node = next((n for n in there if self._fits(n, worker.shape)), None)
            if node is None:
                continue
            self._waiting.remove(worker)
            worker.node = node
            node.workers.append(worker)
            self.events["workers started"] += 1
            if worker.ticket is not None:
                self._begin(worker.ticket)

    def _fits(self, node: Node, shape: Shape) -> bool:
        cpus = sum(w.shape.cpus for w in node.workers) + shape.cpus
        gpus = sum(w.shape.gpus for w in node.workers) + shape.gpus
        return cpus <= node.shape.cpus and gpus <= node.shape.gpus


def graph_of() -> Graph:
    """Returns the stages of `INSTANCES`, one of them on half a GPU."""
    return Project(stages={**SETTINGS, GPU_STAGE: {"gpus": GPU_SHARE}}).graph(DatasetEntry(ROOT))


def simulate(options: argparse.Namespace) -> bool:
    """Runs the controller and prints what it took; returns whether all is well."""
    fsspec.register_implementation("paper", PaperFileSystem)
    dataset = Dataset(f"paper://{ROOT}")
    store: PaperFileSystem = dataset.store.foreign
    store.fill(options.partitions, INSTANCES if options.fresh else ())
    costs = json.loads(options.costs.read_text())["cpu_s_per_h"]
    graph = graph_of()
    graph.closure(INSTANCES)
    before_mb = peak_mb()
    started_s = time.process_time()
    scheduler = Scheduler(dataset, graph, INSTANCES)
    planned_s = time.process_time() - started_s
    planning_calls = dict(store.calls)
    store.calls.clear()
    nodes = [Node(Shape(options.cores, 0)) for _ in range(options.nodes)]
    nodes += [Node(Shape(32, 8)) for _ in range(options.gpu_nodes)]
    fleet = SimulatedFleet(nodes, store, costs, options)
    controller = Controller(scheduler, Progress(0, quiet=True), fleet, Limits(), threading.Event())
    controller.run()
    fleet._enter()
    return report(options, scheduler, fleet, planned_s, planning_calls, before_mb)


def report(
    options: argparse.Namespace,
    scheduler: Scheduler,
    fleet: SimulatedFleet,
    planned_s: float,
    planning_calls: dict[str, int],
    before_mb: float,
) -> bool:
    """Prints the figures; returns whether everything was computed exactly once and the targets are met."""
    n, cores = options.partitions, sum(node.shape.cpus for node in fleet.nodes)
    on_gpus = int(options.gpu_nodes * 8 / GPU_SHARE)
    workers = int(cores)
    expected = set() if options.fresh else {(number, name) for number in range(n) for name in INSTANCES}
    once = set(fleet.computed) == expected and set(fleet.computed.values()) <= {1}
    per_partition_ms = 1000 * fleet.overhead_s / n
    there_s = fleet.until_s * (workers - on_gpus) - fleet.gone_then_s
    steady = fleet.on_cores_then_s / there_s if there_s > 0 else 0.0
    rows = {
        "partitions, columns, workers": f"{n}, {len(INSTANCES)}, {workers} ({on_gpus} of them on half a GPU each)",
        "one listing, until the first task can be planned": f"{planned_s:.1f} CPU s, calls {planning_calls}",
        "driver, all of the run": f"{fleet.overhead_s:.1f} CPU s = {per_partition_ms:.2f} ms per partition",
        "the driver's share of the time": f"{fleet.overhead_s / fleet.clock_s:.2%}",
        "memory, with the store on paper": f"{peak_mb():.0f} MB ({before_mb:.0f} before)",
        "calls to the store by the driver and of workers' marks": str(dict(fleet.store.calls)),
        "time on the cluster's clock": f"{fleet.clock_s / 3600:.2f} h",
        "tasks": f"{scheduler.report.tasks}, at most {fleet.most_running} at once",
        "what happened": str(dict(fleet.events)),
        "workers without a GPU busy, until the last task began": f"{steady:.1%}",
        "worker hours lost to deaths and preemptions": f"{fleet.lost_s / max(fleet.busy_s, 1):.2%}",
        "failed partitions": str(len(scheduler.report.failed)),
        "every column computed exactly once": "yes" if once else f"NO: {_amiss(fleet.computed, expected)}",
    }
    for what, value in rows.items():
        print(f"{what:56}{value}", flush=True)
    return once and per_partition_ms <= OVERHEAD_TARGET_MS and not scheduler.report.failed


def _amiss(computed: Counter[tuple[int, str]], expected: set[tuple[int, str]]) -> str:
    twice = [place for place, times in computed.items() if times > 1]
    missing = sorted(expected - set(computed))
    return f"{len(missing)} never ({missing[:3]}), {len(twice)} more than once ({twice[:3]})"


def main() -> None:
    """Parses the command line and simulates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=52, help="machines without a GPU")
    parser.add_argument("--cores", type=int, default=16, help="of each of them")
    parser.add_argument("--gpu-nodes", type=int, default=10, help="machines with 32 cores and 8 GPUs")
    parser.add_argument("--hours", type=float, default=4.0, help="of audio in a partition")
    parser.add_argument("--spread", type=float, default=0.3, help="of the logarithm of a task's time")
    parser.add_argument("--deaths", type=float, default=500.0, help="hours until a worker dies; 0: it does not")
    parser.add_argument("--preemptions", type=float, default=20.0, help="hours until a node is taken away; 0: never")
    parser.add_argument("--fresh", action="store_true", help="everything is computed already, and no catalogue there")
    parser.add_argument("--costs", type=Path, default=Path(__file__).parent / "results" / "stage_costs.json")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(machine(("pyarrow",)))
    sys.exit(0 if simulate(options) else 1)


if __name__ == "__main__":
    main()
