"""Does a job on a Ray cluster with Ray Train; with the session, the only file of training that imports ray.

Each worker does what a plain process does. When one dies, or its node goes, all of them start again and go on from the
last state, so nothing but the steps since then is lost. The driver tells workers to stop, and hears why they ended,
through files beside the run's folder, which all of them see anyway.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from autosing.cluster.session import ray_session
from autosing.cluster.stop import stop_signals
from autosing.signal.errors import AutosingError, UsageError
from autosing.training.loop import CHECKPOINTS, OnStep, RunResult
from autosing.training.ranks import share_of_a_step
from autosing.training.record import LOG, MODEL, logged
from autosing.training.report.page import REPORT
from autosing.training.run import Job, run
from autosing.training.state import saved_states

# Deaths in a row, without a new state in between, that a run survives.
MOST_FAILURES = 3
# Where a worker says what ended it, and where the driver says that it should stop.
ENDED, STOP = "ended.txt", "stop"
LOOK_EVERY_S = 1.0


def run_on_ray(
    job: Job,
    on_step: OnStep | None = None,
    *,
    workers: int = 1,
    gpus_per_worker: float = 0,
    cpus_per_worker: float = 1,
    address: str | None = None,
) -> RunResult:
    """Does a job with several workers and returns what the run left in its folder.

    Args:
        job: what to train; every worker can read its data and sees its folder under the same path.
        on_step: called with each new line of the log.
        workers: processes that train together.
        gpus_per_worker: 0 trains on CPUs.
        cpus_per_worker: of which reading processes want one each.
        address: of a running cluster; None starts Ray on this machine.

    Raises:
        UsageError: as for `run`, or the cluster has too few CPUs or GPUs.
        AutosingError: what ended the run in a worker.
    """
    if workers < 1 or gpus_per_worker < 0:
        raise UsageError(f"{workers} workers with {gpus_per_worker} GPUs each: need at least 1 worker and 0 GPUs")
    if job.stream:
        raise UsageError("a stream is read by processes on this machine; leave Ray out, or give shards instead")
    settings = (*job.settings, *(() if gpus_per_worker else ("device=cpu",)))
    data = tuple(url if "://" in url else str(Path(url).absolute()) for url in job.data)
    job = replace(job, data=data, out=job.out.absolute(), settings=settings)
    # Looked at before Ray starts: a wrong setting or a full folder should not cost a minute.
    share_of_a_step(job.config().microbatches, workers)
    needed = {"CPU": cpus_per_worker, **({"GPU": gpus_per_worker} if gpus_per_worker else {})}
    with ray_session(address) as (cpus, gpus), _noted(job.out) as notes:
        if workers * cpus_per_worker > cpus or workers * gpus_per_worker > gpus:
            raise UsageError(
                f"{workers} workers want {workers * cpus_per_worker:g} CPUs and {workers * gpus_per_worker:g} GPUs; "
                f"the cluster has {cpus:g} and {gpus:g}: ask for fewer workers, or add nodes"
            )
        with _followed(job.out / LOG, on_step), _stoppable(notes):
            told = _until_done(job, notes, workers, needed)
    model, report = job.out / MODEL, job.out / REPORT
    return RunResult(
        job.out,
        model if model.exists() else None,
        told["step"],
        told["finished"],
        told["metrics"],
        report if report.exists() else None,
    )


def _until_done(job: Job, notes: Path, workers: int, needed: dict[str, float]) -> dict[str, Any]:
    """Returns what the first worker returned; starts all again where workers died, but not over an error of theirs."""
    from ray.train import TrainingFailedError

    attempts, failures, newest = 0, 0, _newest_state(job.out)
    while True:
        attempts += 1
        try:
            return _fit(job, notes, workers, needed, f"attempt-{attempts}")
        except TrainingFailedError as error:
            if (notes / ENDED).exists():
                raise AutosingError((notes / ENDED).read_text()) from error
            failures = 1 if _newest_state(job.out) != newest else failures + 1
            newest = _newest_state(job.out)
            if failures > MOST_FAILURES:
                raise AutosingError(
                    f"the workers died {failures} times without a new state in between: {error}; look at their logs, "
                    "save more often (save_every), and go on with resume"
                ) from error


def _newest_state(out: Path) -> str:
    return next((state.name for state in reversed(saved_states(out / CHECKPOINTS))), "")


def _fit(job: Job, notes: Path, workers: int, needed: dict[str, float], name: str) -> dict[str, Any]:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        _work,  # type: ignore[arg-type]
        # The driver has looked whether the folder may be used; a second attempt must go on in it.
        train_loop_config={"job": {**asdict(job), "resume": True}, "notes": str(notes), "cwd": str(Path.cwd())},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu="GPU" in needed, resources_per_worker=needed),
        run_config=RunConfig(name=name, storage_path=str(notes)),
    )
    # In a thread: in the main one Ray would answer Ctrl-C itself, by killing the workers.
    pool = ThreadPoolExecutor(1, thread_name_prefix="ray-train")
    try:
        told: dict[str, Any] = pool.submit(trainer.fit).result().return_value  # type: ignore[attr-defined]
    finally:
        pool.shutdown(wait=False)
    return told


def _work(told: dict[str, Any]) -> dict[str, Any]:
    """Trains in a worker."""
    # Ray gives workers folders of their own, and paths among the settings are from where the driver is.
    with suppress(OSError):
        os.chdir(told["cwd"])
    notes, stopping = Path(told["notes"]), threading.Event()
    threading.Thread(target=_listen, args=(notes / STOP, stopping), daemon=True).start()
    try:
        result = run(Job(**told["job"]), stopping=stopping)
    except AutosingError as error:
        # Trying again would end the same way.
        (notes / ENDED).write_text(str(error))
        raise
    return {"step": result.step, "finished": result.finished, "metrics": dict(result.metrics)}


def _listen(file: Path, stopping: threading.Event) -> None:
    while not stopping.wait(LOOK_EVERY_S):
        if file.exists():
            stopping.set()


@contextmanager
def _noted(out: Path) -> Iterator[Path]:
    """Gives a folder for the notes of Ray and of ours, which mean nothing afterwards.

    It is of this driver alone: one that is started on a run in progress must not take away the notes of the other.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    notes = Path(tempfile.mkdtemp(prefix=f".{out.name}.ray-", dir=out.parent))
    try:
        yield notes
    finally:
        shutil.rmtree(notes, ignore_errors=True)


@contextmanager
def _stoppable(notes: Path) -> Iterator[None]:
    """Lets SIGTERM and Ctrl-C stop the workers after the step in hand, and waits for them."""
    done = threading.Event()

    def pass_on(signalled: threading.Event) -> None:
        while not done.wait(LOOK_EVERY_S / 4):
            if signalled.is_set():
                (notes / STOP).touch()

    with stop_signals() as signalled:
        thread = threading.Thread(target=pass_on, args=(signalled,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@contextmanager
def _followed(log: Path, on_step: OnStep | None) -> Iterator[None]:
    """Tells the lines that workers add to the log while a block runs."""
    if on_step is None:
        yield
        return
    done = threading.Event()
    follower = threading.Thread(target=_follow, args=(log, on_step, done), daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()


def _follow(log: Path, on_step: OnStep, done: threading.Event) -> None:
    told = len(logged(log))
    last = False
    while not last:
        last = done.wait(LOOK_EVERY_S)
        lines = logged(log)
        # A resumed run's log is shorter at first: lines of lost steps are removed.
        for line in lines[told:]:
            on_step(line.pop("step"), line)
        told = len(lines)
