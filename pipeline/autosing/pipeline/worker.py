"""What runs tasks in a process of its own, and what it says of them."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.fit import fit
from autosing.pipeline.graph import Graph
from autosing.pipeline.progress import Progress
from autosing.pipeline.schedule import Scheduler, Task, with_retries
from autosing.pipeline.store import refusal
from autosing.pipeline.threads import one_thread
from autosing.pipeline.work import Group, GroupResult, Models, Passed
from autosing.signal.errors import AutosingError, DataError, UsageError


@dataclass
class Outcome:
    """What a worker says of a task: a result, that the partition failed, or that the run must end."""

    result: GroupResult | None = None
    failed: str = ""
    fatal: AutosingError | None = None


class Worker:
    """Runs tasks in a process of its own; keeps the models it has loaded."""

    def __init__(self, url: str) -> None:
        one_thread()
        self._dataset = Dataset(url)
        self._models = Models()
        self._passed = Passed()

    def run(
        self, graph: Graph, task: Task, poison: dict[str, str], on_batch: Callable[[Passed], None] | None = None
    ) -> Outcome:
        """Computes and commits a task; an error becomes part of the outcome."""
        told = on_batch or self._note
        self._note(Passed())
        try:
            return Outcome(result=with_retries(lambda: self._group(graph, task, poison, told).commit(self._models)))
        except OSError as error:
            if message := refusal(error, self._dataset.url):
                return Outcome(fatal=DataError(message))
            return Outcome(failed=str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}")
        except UsageError as error:
            return Outcome(fatal=error)
        except AutosingError as error:
            return Outcome(failed=str(error))
        except Exception as error:  # the worker boundary: whatever a partition does, its neighbours go on
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name}:{frame.lineno}"
            return Outcome(failed=f"{type(error).__name__} at {place}: {error}")

    def passed(self) -> Passed:
        """Returns how far the task in hand is; asked from another thread."""
        return self._passed

    def survive(self, graph: Graph, task: Task, ids: Sequence[str]) -> bool:
        """Computes the given songs of a task without committing anything; True if the process lives to say so."""
        for _ in self._group(graph, task, {}).passes(self._models, set(ids)):
            pass
        return True

    def fit(self, graph: Graph, name: str) -> AutosingError | None:
        """Fits an artefact; returns what went wrong, if anything."""
        try:
            fit(self._dataset, graph, name)
        except AutosingError as error:
            return error
        return None

    def _note(self, passed: Passed) -> None:
        self._passed = passed

    def _group(
        self, graph: Graph, task: Task, poison: dict[str, str], on_batch: Callable[[Passed], None] | None = None
    ) -> Group:
        partition = self._dataset.partition(task.partition)
        return Group(partition, graph, task.names, task.extra, poison, on_batch, task.again)


def settle(scheduler: Scheduler, task: Task, outcome: Outcome, progress: Progress) -> None:
    """Tells scheduler and progress what became of a task.

    Raises:
        AutosingError: the run must end.
    """
    progress.ended(task.partition)
    if outcome.fatal:
        raise outcome.fatal
    if outcome.result is None:
        scheduler.failed(task, outcome.failed)
        progress.say(f"partition {task.partition}: {outcome.failed}")
    else:
        scheduler.finished(task, outcome.result)
        progress.add(outcome.result)
