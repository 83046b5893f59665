"""Executes a plan on Ray; beside the session and its counters, the only file of the pipeline that imports ray.

Ray itself neither retries a task nor restarts an actor: the controller does, because only it can count.
"""

import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from autosing.cluster.meters import Meters
from autosing.cluster.session import ray_session
from autosing.pipeline.bounds import Bounds
from autosing.pipeline.controller import Controller
from autosing.pipeline.fleet import Death, Fleet, Limits, Shape
from autosing.pipeline.isolation import IsolatedWorker
from autosing.pipeline.passes import Passed
from autosing.pipeline.progress import Progress
from autosing.pipeline.schedule import Scheduler, Task
from autosing.pipeline.threads import VARIABLES
from autosing.pipeline.worker import Outcome
from autosing.signal.errors import AutosingError, DataError

VERDICT_S = 60.0
"""How long Ray gets to find out why a worker is gone; it takes 15 s to declare a node dead."""
ANSWER_S = 1.0


def run_on_ray(
    scheduler: Scheduler,
    progress: Progress,
    limits: Limits,
    bounds: Bounds,
    address: str | None,
    stopping: threading.Event,
) -> None:
    """Runs all tasks and fits of a scheduler on Ray.

    Args:
        scheduler: what to compute.
        progress: is told how far the run is.
        limits: how much of the cluster it may take.
        bounds: what songs may take.
        address: of a running Ray cluster; None starts one on this machine.
        stopping: once it is set, what runs is waited for and nothing new begins.

    Raises:
        UsageError: a stage is configured wrongly, or wants more than the cluster has.
        DataError: the disk is full or read-only, or workers can't be started.
    """
    started = time.monotonic()
    with ray_session(address, limits.workers, VARIABLES):
        scheduler.report.start_up_s = time.monotonic() - started
        fleet = RayFleet(scheduler, bounds, limits if address else None)
        Controller(scheduler, progress, fleet, limits, stopping).run()


class RayFleet(Fleet):
    """Actors on Ray.

    Args:
        scheduler: of the run that the actors work for.
        bounds: what songs may take.
        asked: the workers that a cluster which grows on demand is to have, as it may not have them yet; None where it
            doesn't grow.
    """

    def __init__(self, scheduler: Scheduler, bounds: Bounds = Bounds(), asked: Limits | None = None) -> None:
        self._url, self._graph, self._bounds = scheduler.dataset.url, scheduler.graph, bounds
        self._asked = Shape(0, 0) if asked is None else Shape(asked.workers or 0, asked.gpu_workers or 0)
        self._actors: dict[Any, Any] = {}
        self._meters = Meters()

    def now_s(self) -> float:
        return time.monotonic()

    def capacity(self) -> Shape:
        import ray

        total = ray.cluster_resources()  # type: ignore[no-untyped-call]
        cpus = max(total.get("CPU", 0.0), self._asked.cpus + self._asked.gpus, 1.0)
        return Shape(cpus, max(total.get("GPU", 0.0), self._asked.gpus))

    def hire(self, shape: Shape) -> Any:
        import ray

        # One thread works, another answers how far it is.
        worker: Any = ray.remote(IsolatedWorker)
        options = {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 2}
        return worker.options(num_cpus=shape.cpus, num_gpus=shape.gpus, **options).remote(self._url, self._bounds)

    def dismiss(self, worker: Any) -> None:
        import ray

        ray.kill(worker)

    def submit(self, worker: Any, task: Task, poison: Mapping[tuple[str, str], str]) -> Any:
        ticket = worker.run.remote(self._graph, task, poison)
        self._actors[ticket] = worker
        return ticket

    def wait(self, tickets: Collection[Any], timeout_s: float) -> Iterable[Any]:
        import ray

        if not tickets:
            time.sleep(timeout_s)
            return []
        done, running = ray.wait(list(tickets), num_returns=1, timeout=timeout_s)
        if done and running:
            done += ray.wait(running, num_returns=len(running), timeout=0)[0]
        return list(done)

    def outcome(self, ticket: Any) -> Outcome:
        import ray

        actor = self._actors.pop(ticket)
        try:
            outcome: Outcome = ray.get(ticket)
        except _endings() as error:
            raise _death(_cause_of_death(actor, error)) from error
        except (ray.exceptions.RuntimeEnvSetupError, ray.exceptions.ActorUnschedulableError) as error:
            raise DataError(f"workers can't be started: {error}") from error
        if outcome.result:
            for name, part in outcome.result.instances.items():
                self._meters.add(name, outcome.result.audio_s, part.rows, part.own_errors, part.bytes, part.busy_s)
        return outcome

    def passed(self, workers: Sequence[Any]) -> list[Passed | None]:
        import ray

        asked = [worker.passed.remote() for worker in workers]
        answered = set(ray.wait(asked, num_returns=len(asked), timeout=ANSWER_S)[0]) if asked else set()
        return [_answer(future) if future in answered else None for future in asked]

    def survives(self, worker: Any, task: Task, ids: Sequence[str]) -> bool:
        import ray

        try:
            return bool(ray.get(worker.survive.remote(self._graph, task, ids)))
        except _endings():
            return False

    def fit(self, worker: Any, name: str) -> AutosingError | None:
        import ray

        try:
            error: AutosingError | None = ray.get(worker.fit.remote(self._graph, name))
        except _endings() as death:
            raise _death(death) from death
        return error


def _endings() -> tuple[type[Exception], ...]:
    """Returns what Ray raises in place of what a worker says that is gone; its memory monitor's is of another kind."""
    import ray

    return ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError


def _answer(future: Any) -> Passed | None:
    """Returns what a worker answered; one that is dead shows soon enough."""
    import ray

    try:
        passed: Passed = ray.get(future)
    except _endings():
        return None
    return passed


def _death(error: Any) -> Death:
    lost_its_node = getattr(error, "preempted", False) or _lost_its_node(error)
    return Death(str(error), lost_its_node, getattr(error, "actor_init_failed", False))


def _cause_of_death(actor: Any, error: Any) -> Any:
    """Returns why an actor is gone: a lost connection says nothing until Ray has found out whether its node lives."""
    import ray

    deadline = time.monotonic() + VERDICT_S
    while isinstance(error, ray.exceptions.ActorUnavailableError) and time.monotonic() < deadline:
        try:
            ray.get(actor.__ray_ready__.remote(), timeout=VERDICT_S)
            break
        except ray.exceptions.GetTimeoutError:
            break
        except _endings() as verdict:
            error = verdict
            time.sleep(1)
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        ray.kill(actor)
    return error


def _lost_its_node(error: Any) -> bool:
    """Whether Ray says that the actor's node died or can't be reached, as opposed to its process."""
    import ray

    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return True
    text = str(error).lower()
    return "node has died" in text or "node was terminated" in text or "node died" in text
