"""A session on Ray: one started on this machine, or a cluster that gets this package's code."""

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from autosing.signal.errors import UsageError

ENTRY = "autosing/cli/main.py"
MOST_CODE_BYTES = 200_000_000
IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""What Ray sets where it runs a command as a job."""
# Audio never enters Ray's object store, so little is enough.
OBJECT_STORE_BYTES = 100 << 20


@contextmanager
def ray_session(
    address: str | None, cpus: int | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[tuple[float, float]]:
    """Starts or joins Ray, or takes the session that this process has; yields the number of CPUs and GPUs.

    Args:
        address: of a running cluster; None starts one on this machine.
        cpus: that a session on this machine may use; None: all.
        variables: environment variables of every worker.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    own = not ray.is_initialized()
    if own:
        with _listeners_kept():
            _start(address, cpus, {"env_vars": dict(variables or {})})
    try:
        total = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield total.get("CPU", 1.0), total.get("GPU", 0.0)
    finally:
        if own:
            ray.shutdown()


@contextmanager
def _listeners_kept() -> Iterator[None]:
    """Gives SIGTERM back to who listened before: Ray, when it starts, makes it end the process at once."""
    former = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(former) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, former)


def _start(address: str | None, cpus: int | None, environment: dict[str, Any]) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address and IN_A_JOB in os.environ:
        # The job's own environment, its code included, reaches its workers; ours is added to it.
        os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
        ray.init(address, runtime_env=environment, **quiet)
    elif address:
        with tempfile.TemporaryDirectory(prefix="autosing-") as scratch:
            environment["py_modules"] = shipped_code(Path(scratch))
            ray.init(address, runtime_env=environment, **quiet)
    else:
        ray.init(
            "local",
            num_cpus=cpus or os.cpu_count(),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            runtime_env=environment,
            **quiet,
        )


def end_this_actor() -> None:
    """Has Ray kill the actor that calls it, as it kills one that is not wanted any more."""
    import ray

    ray.kill(ray.get_runtime_context().current_actor)


def shipped_code(folder: Path, wheel: Path | None = None) -> list[str]:
    """Returns what a cluster needs to import this package: a wheel's, the checkout's, or the installed package.

    A wheel is unpacked, since Ray would have pip install its dependencies too, gigabytes on every node.

    Args:
        folder: for what has to be unpacked.
        wheel: whose code it is; None: what runs here.

    Raises:
        UsageError: the wheel is none of this package.
    """
    import autosing

    root = Path(__file__).parents[3]
    if wheel is None and not (root / "pyproject.toml").is_file():
        return [str(path) for path in autosing.__path__]
    with _packed(wheel or _built(root, folder)) as packed:
        packed.extractall(folder, [name for name in packed.namelist() if name.startswith("autosing/")])
    return [str(folder / "autosing")]


def _built(root: Path, folder: Path) -> Path:
    from hatchling.builders.wheel import WheelBuilder

    return Path(next(iter(WheelBuilder(str(root)).build(directory=str(folder), versions=["standard"]))))


def _packed(wheel: Path) -> ZipFile:
    try:
        packed = ZipFile(wheel)
    except (OSError, BadZipFile) as error:
        raise UsageError(
            f"{wheel} can't be read as a wheel ({error}); build one with: pip wheel --no-deps ."
        ) from error
    size = sum(part.file_size for part in packed.infolist())
    if ENTRY not in packed.namelist() or size > MOST_CODE_BYTES:
        packed.close()
        raise UsageError(
            f"{wheel} is no wheel of autosing: it has no {ENTRY}, or {size / 1e6:.0f} MB where at most "
            f"{MOST_CODE_BYTES / 1e6:.0f} are code; build one with: pip wheel --no-deps ."
        )
    return packed
