"""A soak: runs are killed at random moments, again and again, and every data set is finished and compared."""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from autosing.pipeline.chaos.cells import Victim
from autosing.pipeline.chaos.process_tree import carriers, is_named, kill, kill_family
from autosing.pipeline.chaos.site import AT_WORK, PATIENCE_S, WORKER, Site, end_of
from autosing.pipeline.chaos.state import File, State, copy_songs, done_twice
from autosing.pipeline.chaos.trial import Trial, end_actor
from autosing.pipeline.chaos.verdict import Verdict
from autosing.pipeline.faults import POINTS
from autosing.pipeline.listing import Mark
from autosing.signal.errors import AutosingError, DataError

CHANCES: dict[Victim, int] = {"child": 30, "worker": 25, "actor": 17, "driver": 15, "node": 10, "head": 3}
"""Percent. What takes longest to come back dies least often, so that there is something to kill most of the time."""
LONGEST_PAUSE_S = 4.0
TO_A_POINT_S = 10.0
MOST_COMMANDS = 5
"""How often the command may be given after the last kill: it may end with partitions whose workers died too often."""


@dataclass(frozen=True)
class SoakPlan:
    """How long to soak.

    Args:
        kills: how many, at most.
        minutes: how long, at most; what was begun is still finished.
        seed: of victims and moments.
    """

    kills: int = 200
    minutes: float = 10.0
    seed: int = 0


@dataclass
class Soak:
    """What a soak came to.

    Args:
        kills: how often each victim was killed.
        commands: how often the command was given.
        rounds: what became of each data set.
        seconds: how long it took.
    """

    kills: Counter[Victim] = field(default_factory=Counter)
    commands: int = 0
    rounds: list[Verdict] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether nothing was lost and nothing done twice."""
        return all(verdict.holds for verdict in self.rounds)

    def __str__(self) -> str:
        victims = ", ".join(f"{n} x {victim}" for victim, n in self.kills.most_common())
        again = sum(len(verdict.in_flight_twice) for verdict in self.rounds)
        told = f"nothing is lost, and only what was in flight was done twice ({again} columns)"
        told = told if self.holds else "NOT all is as it should be"
        return (
            f"{self.kills.total()} kills ({victims}) in {self.seconds / 60:.1f} min, over {len(self.rounds)} data sets "
            f"and {self.commands} commands: {told}"
        )


def soak(plan: SoakPlan, site: Site, songs: Path, peaceful: State, tell: Callable[[Verdict], None]) -> Soak:
    """Kills until it is enough, one data set after the other.

    Args:
        plan: how long.
        site: where.
        songs: the data set without columns.
        peaceful: what a run in peace makes of it.
        tell: told what became of each data set.
    """
    found, draw, started = Soak(), random.Random(plan.seed), time.monotonic()

    def goes_on() -> bool:
        return found.kills.total() < plan.kills and time.monotonic() - started < plan.minutes * 60

    while goes_on():
        with site.lend(f"soak-{len(found.rounds)}") as (url, home):
            copy_songs(str(songs), url)
            trial = _Round(site, songs, peaceful, "ray", url, home, soak=found, draw=draw)
            found.rounds.append(trial.disturbed(goes_on))
            tell(found.rounds[-1])
    found.seconds = time.monotonic() - started
    return found


@dataclass
class _Round(Trial):
    """One data set of a soak: a command is given and disturbed until all is done, or it is enough."""

    soak: Soak = field(default_factory=Soak)
    draw: random.Random = field(default_factory=random.Random)
    seen: dict[File, Mark] = field(default_factory=dict)

    def disturbed(self, goes_on: Callable[[], bool]) -> Verdict:
        """Returns what became of the data set."""
        started, problem, n_before = time.monotonic(), "", self.soak.kills.total()
        try:
            self._finish(self._kill_while(goes_on))
        except (AutosingError, OSError, psutil.Error) as error:
            problem = f"{error} (the last that was said: {self.last_words()})"
            self.site.kill_all()
        n = self.soak.kills.total() - n_before
        seconds = time.monotonic() - started
        verdict = self.verdict(f"data set {len(self.soak.rounds)}", f"after {n} kills", seconds, problem)
        again = done_twice(self.url, self.seen)
        return replace(verdict, in_flight_twice=[name for name in again if name not in verdict.done_twice])

    def _kill_while(self, goes_on: Callable[[], bool]) -> "subprocess.Popen[str]":
        run = self._command()
        while goes_on():
            code = self._at_work(run, self.draw.uniform(0, LONGEST_PAUSE_S))
            if code == 0:
                return run
            if code is not None:
                run = self._command()
                continue
            for file, mark in self.finished().items():
                self.seen.setdefault(file, mark)
            victim = self.draw.choices([*CHANCES], [*CHANCES.values()])[0]
            if killed := KILLS[victim](self, run):
                self.soak.kills[victim] += 1
            if killed and victim in ("driver", "head"):
                run = self._command()
        return run

    def _finish(self, run: "subprocess.Popen[str]") -> None:
        """Lets the run end, and gives the command again where it says that not all was done."""
        for _ in range(MOST_COMMANDS):
            if end_of(run) == 0:
                return
            run = self._command()
        raise DataError(f"the command ended without all done {MOST_COMMANDS} times, although nobody disturbed it")

    def _command(self) -> "subprocess.Popen[str]":
        """Gives the command. What is there when it begins is not in flight; what a dying worker still finishes is."""
        for file, mark in self.finished().items():
            self.before.setdefault(file, mark)
        self.soak.commands += 1
        return self.start()

    def _at_work(self, run: "subprocess.Popen[str]", seconds: float) -> int | None:
        """Waits until a worker has a task, and then for some seconds; returns the exit code where the run ends before.

        Where workers take longer to start than to be killed again, nothing would ever be done.
        """
        deadline = time.monotonic() + PATIENCE_S
        while run.poll() is None and not self._workers(AT_WORK) and time.monotonic() < deadline:
            time.sleep(0.2)
        try:
            return run.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def _workers(self, name: str) -> list[psutil.Process]:
        return [process for process in carriers(self.site.token) if is_named(process, name)]

    def kill_child(self, run: "subprocess.Popen[str]") -> bool:
        """Kills the process in which a worker computes, whatever it is at; returns whether there was one."""
        children = [child for worker in self._workers(WORKER) for child in worker.children()]
        if children:
            kill(self.draw.choice(children))
        return bool(children)

    def kill_worker(self, run: "subprocess.Popen[str]") -> bool:
        """Kills a worker, whatever it is at; returns whether there was one."""
        workers = self._workers(WORKER)
        if workers:
            kill(self.draw.choice(workers))
        return bool(workers)

    def kill_actor(self, run: "subprocess.Popen[str]") -> bool:
        """Has Ray kill the next actor that comes to some point; returns whether one came."""
        orders = self.site.orders
        orders.place(self.draw.choice(POINTS))
        deadline = time.monotonic() + TO_A_POINT_S
        while orders.stopped() is None and run.poll() is None:
            if time.monotonic() > deadline and not orders.take_back():
                return False
            time.sleep(0.03)
        if (pid := orders.stopped()) is None:
            return False
        end_actor(self.site, run, pid)
        return True

    def kill_node(self, run: "subprocess.Popen[str]") -> bool:
        """Kills all processes of a node, and adds another."""
        nodes = self.site.cluster().nodes()
        if nodes:
            kill_family(self.draw.choice(nodes))
            self.site.cluster().replace_lost()
        return bool(nodes)

    def kill_head(self, run: "subprocess.Popen[str]") -> bool:
        """Kills all processes of the head; when the driver has found out, another cluster takes its place."""
        self.site.cluster().lose_head()
        end_of(run)
        self.site.new_cluster()
        self.site.clear_away()
        return True

    def kill_driver(self, run: "subprocess.Popen[str]") -> bool:
        """Kills the process that was started as `autosing process`."""
        run.kill()
        run.wait()
        return True


KILLS: dict[Victim, Callable[[_Round, "subprocess.Popen[str]"], bool]] = {
    "child": _Round.kill_child,
    "worker": _Round.kill_worker,
    "actor": _Round.kill_actor,
    "node": _Round.kill_node,
    "head": _Round.kill_head,
    "driver": _Round.kill_driver,
}
