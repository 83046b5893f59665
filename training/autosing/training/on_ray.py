"""Trains a recipe on a Ray cluster with Ray Train; the only file of training that imports ray.

Each worker calls the same `train` as a plain process does. When one dies, or its node goes, Ray starts all of them
again and they go on from the last state, so nothing but the steps since then is lost.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autosing.cluster.session import ray_session
from autosing.signal.errors import AutosingError, UsageError
from autosing.training.loop import MODEL, RunResult
from autosing.training.recipes import configured, train
from autosing.training.report.page import REPORT

# Deaths of workers on living nodes that a run survives; nodes may go as often as they like.
MOST_FAILURES = 3


def train_on_ray(
    recipe: str,
    data: str | Path | Sequence[str | Path],
    out: Path,
    settings: Sequence[str] = (),
    resume: bool = False,
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
    # Looked at before Ray starts: a wrong setting or a full folder should not cost a minute.
    configured(recipe, urls, here, settings, resume, weights)
    if workers < 1 or gpus_per_worker < 0:
        raise UsageError(f"{workers} workers with {gpus_per_worker} GPUs each: need at least 1 worker and 0 GPUs")
    job = {"recipe": recipe, "data": urls, "out": str(here), "settings": list(settings), "weights": list(weights)}
    needed = {"CPU": cpus_per_worker, **({"GPU": gpus_per_worker} if gpus_per_worker else {})}
    with ray_session(address) as (cpus, gpus):
        if workers * cpus_per_worker > cpus or workers * gpus_per_worker > gpus:
            raise UsageError(
                f"{workers} workers want {workers * cpus_per_worker:g} CPUs and {workers * gpus_per_worker:g} GPUs; "
                f"the cluster has {cpus:g} and {gpus:g}; ask for fewer workers, or add nodes"
            )
        told = _fit(job, workers, needed, here)
    report, model = here / REPORT, here / MODEL
    return RunResult(
        here,
        model if model.exists() else None,
        int(told["step"]),
        bool(told["finished"]),
        {name: value for name, value in told.items() if name.startswith("valid/")},
        report if report.exists() else None,
    )


def _fit(job: Mapping[str, Any], workers: int, needed: Mapping[str, float], out: Path) -> Mapping[str, Any]:
    """Returns what the first worker reported."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    # Ray keeps its own notes of a run; they mean nothing afterwards.
    notes = out.with_name(f".{out.name}.ray")
    notes.mkdir(parents=True, exist_ok=True)
    trainer = TorchTrainer(
        _work,
        train_loop_config=dict(job),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu="GPU" in needed, resources_per_worker=dict(needed)),
        run_config=RunConfig(
            name="run", storage_path=str(notes), failure_config=FailureConfig(max_failures=MOST_FAILURES)
        ),
    )
    try:
        metrics = trainer.fit().metrics
    except Exception as error:
        raise AutosingError(f"the run in {out} ended: {_cause(error)}; go on with resume") from error
    finally:
        shutil.rmtree(notes, ignore_errors=True)
    return metrics or {"step": 0, "finished": False}


def _work(job: dict[str, Any]) -> None:
    """Trains in a worker. The driver has looked whether the folder may be used; here a second try must go on in it."""
    import ray.train

    result = train(job["recipe"], job["data"], Path(job["out"]), job["settings"], True, None, job["weights"])
    ray.train.report({"step": result.step, "finished": result.finished, **result.metrics})


def _cause(error: BaseException) -> str:
    """Returns the message of the innermost error, which is what a person can do something about."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def _absolute(url: str | Path) -> str:
    return str(url) if "://" in str(url) else str(Path(url).absolute())
