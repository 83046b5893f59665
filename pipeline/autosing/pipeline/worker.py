"""What runs tasks in a process of its own, and what it says of them."""

import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from autosing.pipeline.bounds import Bounds
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.fit import fit
from autosing.pipeline.graph import Graph
from autosing.pipeline.outcomes import Models
from autosing.pipeline.passes import Call, Pass, Passed
from autosing.pipeline.progress import Progress
from autosing.pipeline.schedule import Scheduler, Task, with_retries
from autosing.pipeline.store import refusal
from autosing.pipeline.threads import one_thread
from autosing.pipeline.work import Group, GroupResult
from autosing.signal.errors import AutosingError, DataError, UsageError


@dataclass
class Outcome:
    """What a worker says of a task: a result, that it failed, or that the run must end; and what befell it.

    Args:
        result: what was committed.
        failed: why nothing was.
        may_pass: whether that may not be so next time, see `Scheduler.failed`.
        fatal: why the run must end.
        said: what befell it.
    """

    result: GroupResult | None = None
    failed: str = ""
    may_pass: bool = False
    fatal: AutosingError | None = None
    said: list[str] = field(default_factory=list)


class Worker:
    """Runs tasks in this process; keeps the models it has loaded.

    Args:
        url: of the data set.
        bounds: of which only `journal_s` matters here: nobody can end a thread.
        on_call: told before and after a stage is at songs.
    """

    def __init__(
        self, url: str, bounds: Bounds = Bounds(), on_call: Callable[[Call | None], None] | None = None
    ) -> None:
        one_thread()
        self._dataset, self._bounds, self._on_call = Dataset(url), bounds, on_call
        self._models = Models()

    def run(
        self,
        graph: Graph,
        task: Task,
        poison: Mapping[tuple[str, str], str],
        apart: Collection[tuple[str, str]] = (),
        on_batch: Callable[[Passed], None] | None = None,
    ) -> Outcome:
        """Computes and commits a task; an error becomes part of the outcome."""
        try:
            songs = partial(self._pass, graph, task, poison, apart, on_batch)
            return Outcome(result=with_retries(lambda: self._commit(task, songs())))
        except OSError as error:
            if message := refusal(error, self._dataset.url):
                return Outcome(fatal=DataError(message))
            told = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            return Outcome(failed=told, may_pass=True)
        except UsageError as error:
            return Outcome(fatal=error)
        except AutosingError as error:
            return Outcome(failed=str(error))
        except Exception as error:  # the worker boundary: whatever a partition does, its neighbours go on
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name}:{frame.lineno}"
            return Outcome(failed=f"{type(error).__name__} at {place}: {error}")

    def survive(self, graph: Graph, task: Task, ids: Sequence[str]) -> bool:
        """Computes the given songs of a task without committing anything; True if the process lives to say so."""
        for _ in self._pass(graph, task).songs(self._models, set(ids)):
            pass
        return True

    def fit(self, graph: Graph, name: str) -> AutosingError | None:
        """Fits an artefact; returns what went wrong, if anything."""
        try:
            fit(self._dataset, graph, name)
        except AutosingError as error:
            return error
        return None

    def _commit(self, task: Task, songs: Pass) -> GroupResult:
        return Group(songs, task.names, task.again, self._bounds.journal_s).commit(self._models)

    def _pass(
        self,
        graph: Graph,
        task: Task,
        poison: Mapping[tuple[str, str], str] | None = None,
        apart: Collection[tuple[str, str]] = (),
        on_batch: Callable[[Passed], None] | None = None,
    ) -> Pass:
        partition, names = self._dataset.partition(task.partition), {*task.names, *task.extra}
        return Pass(partition, graph, names, poison, apart, on_batch, self._on_call)


def settle(scheduler: Scheduler, task: Task, outcome: Outcome, progress: Progress) -> None:
    """Tells scheduler and progress what became of a task.

    Raises:
        AutosingError: the run must end.
    """
    progress.ended(task.partition)
    for said in outcome.said:
        progress.say(f"partition {task.partition}: {said}")
    if outcome.fatal:
        raise outcome.fatal
    if outcome.result is None:
        scheduler.failed(task, outcome.failed, outcome.may_pass)
        progress.say(f"partition {task.partition}: {outcome.failed}")
    else:
        scheduler.finished(task, outcome.result)
        progress.add(outcome.result)
