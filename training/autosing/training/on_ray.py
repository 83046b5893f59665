"""Trains a recipe on a Ray cluster with Ray Train; the only file of training that imports ray.

Each worker calls the same `train` as a plain process does. When one dies, or its node goes, Ray starts all of them
again and they go on from the last state, so nothing but the steps since then is lost.
"""

import json
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from autosing.cluster.session import ray_session
from autosing.signal.errors import AutosingError, UsageError
from autosing.training.loop import MODEL, OnStep, RunResult
from autosing.training.ranks import share_of_a_step
from autosing.training.recipes import configured, train
from autosing.training.record import LOG
from autosing.training.report.page import REPORT

# Deaths of workers on living nodes that a run survives; nodes may go as often as they like.
MOST_FAILURES = 3
# Where a worker says what ended it.
ENDED = "ended.txt"
LOOK_EVERY_S = 1.0


def train_on_ray(
    recipe: str,
    data: str | Path | Sequence[str | Path],
    out: Path,
    settings: Sequence[str] = (),
    resume: bool = False,
    on_step: OnStep | None = None,
    weights: Sequence[float] = (),
    *,
    workers: int = 1,
    gpus_per_worker: float = 0,
    cpus_per_worker: float = 1,
    address: str | None = None,
) -> RunResult:
    """Trains a recipe with several workers and returns what the run left in `out`.

    Args:
        recipe: as for `train`, as are `data`, `settings`, `resume` and `weights`.
        data: folders or URLs that every worker can read.
        out: the folder of the run, which every worker sees under this path.
        settings: `field=value`.
        resume: go on from the last state in `out`.
        on_step: called with each new line of the log.
        weights: how often the samples of each set are taken per epoch.
        workers: processes that train together.
        gpus_per_worker: 0 trains on CPUs.
        cpus_per_worker: of which reading processes want one each.
        address: of a running cluster; None starts Ray on this machine.

    Raises:
        UsageError: as for `train`, or the cluster has too few CPUs or GPUs.
        AutosingError: what ended the run in a worker.
    """
    here = out.absolute()
    urls = [_absolute(url) for url in ([data] if isinstance(data, str | Path) else data)]
    if workers < 1 or gpus_per_worker < 0:
        raise UsageError(f"{workers} workers with {gpus_per_worker} GPUs each: need at least 1 worker and 0 GPUs")
    # Looked at before Ray starts: a wrong setting or a full folder should not cost a minute.
    config = configured(recipe, urls, here, settings, resume, weights)
    share_of_a_step(config.microbatches, workers)
    job = {"recipe": recipe, "data": urls, "out": str(here), "settings": list(settings), "weights": list(weights)}
    needed = {"CPU": cpus_per_worker, **({"GPU": gpus_per_worker} if gpus_per_worker else {})}
    with ray_session(address) as (cpus, gpus):
        if workers * cpus_per_worker > cpus or workers * gpus_per_worker > gpus:
            raise UsageError(
                f"{workers} workers want {workers * cpus_per_worker:g} CPUs and {workers * gpus_per_worker:g} GPUs; "
                f"the cluster has {cpus:g} and {gpus:g}: ask for fewer workers, or add nodes"
            )
        with _followed(here / LOG, on_step):
            told = _until_done(job, workers, needed, here)
    model, report = here / MODEL, here / REPORT
    return RunResult(
        here,
        model if model.exists() else None,
        told["step"],
        told["finished"],
        told["metrics"],
        report if report.exists() else None,
    )


def _until_done(job: Mapping[str, Any], workers: int, needed: Mapping[str, float], out: Path) -> Mapping[str, Any]:
    """Returns what the first worker returned; starts all again where workers died, but not over an error of theirs."""
    from ray.train import TrainingFailedError

    # Ray keeps its own notes of a run; they mean nothing afterwards.
    notes = out.with_name(f".{out.name}.ray")
    shutil.rmtree(notes, ignore_errors=True)
    notes.mkdir(parents=True)
    try:
        for failures in count(1):
            try:
                return _fit({**job, "notes": str(notes)}, workers, needed, notes / str(failures))
            except TrainingFailedError as error:
                if (notes / ENDED).exists():
                    raise AutosingError((notes / ENDED).read_text()) from error
                if failures > MOST_FAILURES:
                    raise AutosingError(f"the workers died {failures} times: {error}; go on with resume") from error
    finally:
        shutil.rmtree(notes, ignore_errors=True)
    raise AssertionError


def _fit(job: Mapping[str, Any], workers: int, needed: Mapping[str, float], notes: Path) -> Mapping[str, Any]:
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        _work,  # type: ignore[arg-type]
        train_loop_config=dict(job),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu="GPU" in needed, resources_per_worker=dict(needed)),
        run_config=RunConfig(name=notes.name, storage_path=str(notes.parent)),
    )
    told: Mapping[str, Any] = trainer.fit().return_value  # type: ignore[attr-defined]
    return told


def _work(job: dict[str, Any]) -> dict[str, Any]:
    """Trains in a worker. The driver has looked whether the folder may be used; here a second try must go on in it."""
    try:
        result = train(job["recipe"], job["data"], Path(job["out"]), job["settings"], True, None, job["weights"])
    except AutosingError as error:
        # Trying again would end the same way.
        (Path(job["notes"]) / ENDED).write_text(str(error))
        raise
    return {"step": result.step, "finished": result.finished, "metrics": dict(result.metrics)}


@contextmanager
def _followed(log: Path, on_step: OnStep | None) -> Iterator[None]:
    """Tells the lines that workers add to the log while a block runs."""
    done = threading.Event()
    follower = threading.Thread(target=_follow, args=(log, on_step, done), daemon=True)
    if on_step:
        follower.start()
    try:
        yield
    finally:
        done.set()
        if on_step:
            follower.join()


def _follow(log: Path, on_step: OnStep, done: threading.Event) -> None:
    told = len(_steps(log))
    last = False
    while not last:
        last = done.wait(LOOK_EVERY_S)
        lines = _steps(log)
        # A resumed run's log is shorter for a moment: lines of lost steps are removed.
        for line in lines[told:]:
            on_step(line.pop("step"), line)
        told = len(lines)


def _steps(log: Path) -> list[dict[str, Any]]:
    """Returns the whole lines of a log; none where it is being written anew."""
    try:
        return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    except (OSError, ValueError):
        return []


def _absolute(url: str | Path) -> str:
    return str(url) if "://" in str(url) else str(Path(url).absolute())
