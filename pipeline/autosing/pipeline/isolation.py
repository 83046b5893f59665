"""A worker whose work is done by a child process, which may crash, hang or eat memory without taking the worker along.

The child tells which songs of which instance it is at, before it calls the stage. So the worker knows whom to blame: it
ends a child that is beyond the limits of `Bounds`, starts another, and the song gets an error; the journal of the pass
makes that cheap. A song at which the child dies by itself gets two more chances, and one at which its memory is full
gets one in a fresh child, as the cause may be elsewhere. Of a micro-batch nobody knows which song it was, so its songs
are then computed apart.

A whole pass runs in the child, models included: nothing but its orders and outcomes goes through the pipe.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from autosing.pipeline.bounds import Bounds, used_bytes
from autosing.pipeline.faults import WATCH, reached
from autosing.pipeline.graph import Graph
from autosing.pipeline.passes import Call, Passed
from autosing.pipeline.schedule import Task
from autosing.pipeline.worker import Outcome, Worker
from autosing.signal.errors import AutosingError, DataError

LOOK_EVERY_S = 0.2
START_S = 300.0
DEATHS, FULL, LATE = 3, 2, 1
"""So often a child must die, take too much memory, or take too long at the same place before that is blamed."""
AT, PASSED, ANSWER = "at", "passed", "answer"
WAY_OUT = "; raise limits.{} in datasets.yaml (or --{})"


class Ended(Exception):
    """A child is gone.

    Args:
        how: what became of it.
        call: what it was at; None where no stage was at a song.
        times: how often this must happen at the same place before that is blamed.
        way_out: what to do, where it was ended because it was beyond a limit; "" where it died by itself.
    """

    def __init__(self, how: str, call: Call | None, times: int = DEATHS, way_out: str = "") -> None:
        super().__init__(how)
        self.how, self.call, self.times, self.way_out = how, call, times, way_out


class IsolatedWorker:
    """Has tasks run in a child process, which keeps the models that it has loaded.

    Args:
        url: of the data set.
        bounds: what songs may take.
    """

    def __init__(self, url: str, bounds: Bounds = Bounds()) -> None:
        self._url, self._bounds = url, bounds
        self._child: _Child | None = None
        self._passed = Passed()

    def run(
        self,
        graph: Graph,
        task: Task,
        poison: Mapping[tuple[str, str], str],
        on_batch: Callable[[Passed], None] | None = None,
    ) -> Outcome:
        """Computes and commits a task; an error becomes part of the outcome."""
        self._passed = Passed()
        suspects = _Suspects(poison)
        while True:
            try:
                outcome: Outcome = self._ask(on_batch, "run", graph, task, suspects.poison, suspects.apart)
            except DataError as error:
                return Outcome(fatal=error)
            except Ended as ended:
                if not suspects.blame(ended):
                    told = f"its process {ended.how}, and no song is the cause{ended.way_out}"
                    return Outcome(failed=told, may_pass=True, said=suspects.said)
            else:
                outcome.said = suspects.said
                return outcome

    def passed(self) -> Passed:
        """Returns how far the task in hand is; asked from another thread."""
        return self._passed

    def survive(self, graph: Graph, task: Task, ids: Sequence[str]) -> bool:
        """Returns whether a process outlives some songs of a task; nothing is committed."""
        try:
            return bool(self._ask(None, "survive", graph, task, ids))
        except Ended:
            return False

    def fit(self, graph: Graph, name: str) -> AutosingError | None:
        """Fits an artefact; returns what went wrong, if anything."""
        try:
            error: AutosingError | None = self._ask(None, "fit", graph, name)
        except Ended as ended:
            return DataError(f"{name}: the process that fits it {ended.how}; fit it on a larger machine")
        except DataError as error:
            return error
        return error

    def close(self) -> None:
        """Ends the child."""
        if self._child:
            self._child.end()
        self._child = None

    def _ask(self, on_batch: Callable[[Passed], None] | None, what: str, *arguments: Any) -> Any:
        """Returns what the child answers.

        Raises:
            Ended: it is gone before that.
            DataError: it can't be started.
        """
        if self._child is None:
            self._child = _Child(self._url, self._bounds)
        try:
            return self._child.ask(lambda passed: self._note(passed, on_batch), what, arguments)
        except BaseException:
            self.close()
            raise

    def _note(self, passed: Passed, on_batch: Callable[[Passed], None] | None) -> None:
        self._passed = passed
        if on_batch:
            on_batch(passed)


class _Suspects:
    """What the ends of children have taught about a task.

    Args:
        poison: what was known before.
    """

    def __init__(self, poison: Mapping[tuple[str, str], str]) -> None:
        self.poison = dict(poison)
        self.apart: set[tuple[str, str]] = set()
        self.said: list[str] = []
        self._deaths: Counter[Call | None] = Counter()

    def blame(self, ended: Ended) -> bool:
        """Finds out whose fault it is; returns whether the task is worth another attempt."""
        call = ended.call
        self._deaths[call] += 1
        if call is None:
            return self._deaths[call] < DEATHS
        told = f"{call.instance}: its process {ended.how} at "
        if len(call.ids) > 1:
            self.apart.update((call.instance, id) for id in call.ids)
            self.said.append(f"{told}{len(call.ids)} songs; each is tried alone")
            return True
        is_guilty = self._deaths[call] >= ended.times
        if is_guilty:
            then = f"{ended.way_out} and run: autosing retry" if ended.way_out else ""
            error = f"the process {ended.how} while this song was being processed{then}"
            self.poison[call.instance, call.ids[0]] = error
        self.said.append(f"{told}the song {call.ids[0]!r}; {'it is left out' if is_guilty else 'it is tried again'}")
        return True


class _Child:
    """A process that computes, seen from the one that watches it."""

    def __init__(self, url: str, bounds: Bounds) -> None:
        self._bounds = bounds
        self._pipe, other = Pipe()
        alive, self._alive = os.pipe()
        # Only a full path says where this package is: there may be no installed one, as on a cluster.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        code = f"from autosing.pipeline.isolation import serve; serve({other.fileno()}, {alive})"
        command = [sys.executable, "-P", "-c", code]
        passed = (other.fileno(), alive)
        try:
            self._process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, pass_fds=passed)
        except OSError as error:
            raise DataError(f"workers can't be started: {error}") from error
        finally:
            other.close()
            os.close(alive)
        self._call: Call | None = None
        self._since = 0.0
        if not self._has_started(url):
            self.end()
            raise DataError(f"workers can't be started: {sys.executable} ended or said nothing; its output tells why")

    def ask(self, note: Callable[[Passed], None], what: str, arguments: Any) -> Any:
        """Returns the answer to an order.

        Raises:
            Ended: the process is gone before that.
        """
        try:
            self._pipe.send((what, arguments))
        except OSError:
            raise self._ended() from None
        return self._answer(note)

    def end(self) -> None:
        """Ends the process at once."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        if self._alive >= 0:
            os.close(self._alive)
        self._alive = -1

    def _has_started(self, url: str) -> bool:
        try:
            self._pipe.send((url, self._bounds))
            return self._pipe.poll(START_S) and bool(self._pipe.recv())
        except (EOFError, OSError):
            return False

    def _answer(self, note: Callable[[Passed], None]) -> Any:
        looked = float("-inf")
        kind: str
        told: Any
        while True:
            try:
                kind, told = self._pipe.recv() if self._pipe.poll(LOOK_EVERY_S) else ("nothing", None)
            except (EOFError, OSError):
                raise self._ended() from None
            if kind == ANSWER:
                return told
            if kind == PASSED:
                note(told)
            elif kind == AT:
                self._call, self._since = told, time.monotonic()
            if time.monotonic() - looked >= LOOK_EVERY_S:
                looked = time.monotonic()
                self._check()

    def _check(self) -> None:
        """Looks whether the process is within the limits.

        Raises:
            Ended: it is not.
        """
        reached(WATCH)
        if self._call and time.monotonic() - self._since > (most_s := self._bounds.time_s(self._call.audio_s)):
            raise Ended(f"took more than {most_s:.0f} s", self._call, LATE, WAY_OUT.format("song_s", "song-s"))
        if used_bytes(self._process.pid) > (most := self._bounds.memory_bytes):
            told = f"took more than {most / 1e9:.3g} GB of memory"
            raise Ended(told, self._call, FULL, WAY_OUT.format("memory_gb", "memory-gb"))

    def _ended(self) -> Ended:
        code = self._process.wait()
        return Ended(f"died ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})", self._call)


def serve(pipe: int, alive: int) -> None:
    """Does what comes through a pipe, and ends with the process at its other end: what a child does.

    Args:
        pipe: where orders come from and answers go to.
        alive: a pipe at whose other end nobody writes; it is closed when the worker ends, however that does.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # The worker says when it is time to end.
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    worker_side = Connection(pipe)
    url, bounds = worker_side.recv()
    worker = Worker(url, bounds, lambda call: worker_side.send((AT, call)))
    worker_side.send((ANSWER, True))
    while True:
        try:
            what, arguments = worker_side.recv()
        except EOFError:
            return
        if what == "run":
            arguments = (*arguments, lambda passed: worker_side.send((PASSED, passed)))
        worker_side.send((ANSWER, getattr(worker, what)(*arguments)))


def _end_with(alive: int) -> None:
    os.read(alive, 1)
    os._exit(1)
