"""A run that is asked for: whether it may start or go on in its folder, with which settings, and that it happens."""

import fcntl
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autosing.models.folder import write_whole
from autosing.signal.errors import CheckpointError, UsageError
from autosing.training.manifest import Manifest
from autosing.training.provenance import provenance
from autosing.training.ranks import Ranks, joined
from autosing.training.recipes import apply_settings, default_config
from autosing.training.record import RUN
from autosing.training.shards import Data
from autosing.training.task import CHANGEABLE, RunConfig, Task

if TYPE_CHECKING:
    from autosing.training.loop import Loop, OnStep, RunResult

LOCK = ".lock"


@dataclass(frozen=True)
class Job:
    """What is to be trained on what, and where; plain values, so it travels to other processes.

    Attributes:
        recipe: a name in `RECIPES`, or `MODULE:FUNCTION`.
        data: folders or URLs of built sets.
        out: the folder of the run, new or empty unless `resume`; all processes of the run see it.
        settings: `field=value`; on resuming, changes to the settings that the run was started with.
        resume: go on from the last state in `out`; a folder without a state starts from the beginning.
        weights: how often the samples of each set are taken per epoch; once where there are none.
        stream: URLs that `webdataset` reads the training samples from, such as `pipe:COMMAND`, instead of the sets' own
            tars; for sources that give no ranges. A resumed run then begins a new pass.
    """

    recipe: str
    data: tuple[str, ...]
    out: Path
    settings: tuple[str, ...] = ()
    resume: bool = False
    weights: tuple[float, ...] = ()
    stream: tuple[str, ...] = ()

    def config(self) -> RunConfig:
        """Returns the settings of the run, if it may start or go on in its folder.

        Raises:
            UsageError: unknown recipe or setting, or a folder that holds something.
            DataError: a set has no manifest.
            CheckpointError: the run in `out` is of another recipe or set, or is damaged.
        """
        config = default_config(self.recipe)
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is a file; give a folder")
        if not self.out.exists() or all(path.name.startswith(".") for path in self.out.iterdir()):
            return apply_settings(config, self.settings)
        stored = self._stored(config)
        return self._unchanged(stored, apply_settings(stored, self.settings))

    def _stored(self, config: RunConfig) -> RunConfig:
        """Returns the settings of the run in `out`, if it may and can be resumed."""
        if not self.resume:
            raise UsageError(f"{self.out} is not empty; resume the run in it, or give a new folder")
        file = self.out / RUN
        try:
            stored = json.loads(file.read_text())
            recipe, digest, streamed = stored["recipe"], stored["data_digest"], stored["stream"]
            # JSON has lists where settings are tuples.
            settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored["config"].items()}
            found = type(config)(**settings) if recipe == self.recipe else config
        except FileNotFoundError as error:
            raise UsageError(f"{self.out} holds files but no run (it has no {RUN}); give a new folder") from error
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{file} is damaged or of another version ({error!r}); start a new folder") from error
        if recipe != self.recipe:
            raise CheckpointError(
                f"the run in {self.out} is of the recipe {recipe}, not {self.recipe}; resume {recipe}, or start a new "
                "folder"
            )
        manifest = Data.open(self.data, self.weights).manifest
        if digest != manifest.digest:
            raise CheckpointError(
                f"the run in {self.out} was trained on the set {digest}, but {manifest.url} is {manifest.digest}; "
                "give it the sets and weights it was started with, or start a new folder"
            )
        if streamed != bool(self.stream):
            raise UsageError(
                f"the run in {self.out} was started {'with' if streamed else 'without'} a stream, and goes on so; "
                f"{'give it one' if streamed else 'leave it out'}"
            )
        return found

    def _unchanged(self, stored: RunConfig, config: RunConfig) -> RunConfig:
        """Returns the changed settings, unless they change what a run is."""
        for field in fields(config):
            before, after = getattr(stored, field.name), getattr(config, field.name)
            if before != after and field.name not in CHANGEABLE:
                raise UsageError(
                    f"the run in {self.out} was started with {field.name}={before}, which cannot become {after} on the "
                    f"way; start a new folder, or change only: {', '.join(CHANGEABLE)}"
                )
        return config


def train(
    recipe: str,
    data: str | Path | Sequence[str | Path],
    out: Path,
    settings: Sequence[str] = (),
    resume: bool = False,
    on_step: "OnStep | None" = None,
    *,
    weights: Sequence[float] = (),
    stream: Sequence[str] = (),
) -> "RunResult":
    """Trains a recipe on built sets and returns what the run left in `out`; see `Job` for the arguments, and `run`."""
    urls = [data] if isinstance(data, str | Path) else data
    job = Job(recipe, tuple(map(str, urls)), out, tuple(settings), resume, tuple(weights), tuple(stream))
    return run(job, on_step)


def run(job: Job, on_step: "OnStep | None" = None, stopping: threading.Event | None = None) -> "RunResult":
    """Does a job and returns what it left in its folder.

    Called by each of several processes (under torchrun, or by Ray Train), it trains with all of them.

    Args:
        job: what to train.
        on_step: called after each step with its number and what was logged at it, mostly nothing.
        stopping: set to end the run after the step in hand, as SIGTERM and Ctrl-C do.

    Raises:
        UsageError: unknown recipe or setting, a folder that is in use, or a step that cannot be divided.
        DataError: a set does not fit the recipe, or the others, or is damaged.
        CheckpointError: the run in the folder is of another recipe or set, or is damaged.
    """
    config = job.config()
    data = Data.open(job.data, job.weights).cached(config.cache_gb)
    task = config.task(data.manifest)
    with joined(config.device) as ranks, _denormals_as_zeros():
        # Every process has looked at the folder before the first writes to it.
        ranks.wait()
        with _held(job.out) if ranks.is_first else nullcontext():
            # Without a name, so that nothing of it is left when the processes part.
            return _loop(job, task, data, ranks).run(on_step, stopping)


def _loop(job: Job, task: Task[Any], data: Data, ranks: Ranks) -> "Loop":
    from autosing.training.loop import Loop

    origin = _origin(job, task, data.manifest)
    loop = Loop(task, data, job.out, ranks, origin, job.stream)
    if ranks.is_first:
        _write_facts(job.out, {**origin, "metric": task.metric, "stream": bool(job.stream), "ranks": ranks.size})
    return loop


def _origin(job: Job, task: Task[Any], manifest: Manifest) -> dict[str, Any]:
    return {"recipe": job.recipe, "data_digest": manifest.digest, **provenance(), "config": asdict(task.config)}


def _write_facts(out: Path, facts: Mapping[str, Any]) -> None:
    """Writes `run.json`. A stream's command is no part of it: what a run executes comes from no file."""
    write_whole(out / RUN, json.dumps(facts, indent=1) + "\n")


@contextmanager
def _denormals_as_zeros() -> Iterator[None]:
    """Takes numbers below 1e-38 as 0 for the time of a block, on a CPU, in this thread and those that it starts.

    Gradients that fade away, such as those of CTC once it is sure, make a step take two to three times as long.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder for the time of a block."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another process trains in {folder}; wait for it, or give a new folder") from error
        except OSError:
            pass  # Some network file systems have no locks; nothing else needs them.
        yield
