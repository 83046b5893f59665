"""A session on Ray: one started on this machine, or a cluster that gets this package's code."""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

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
        _start(address, cpus, {"env_vars": dict(variables or {})})
    try:
        total = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield total.get("CPU", 1.0), total.get("GPU", 0.0)
    finally:
        if own:
            ray.shutdown()


def _start(address: str | None, cpus: int | None, environment: dict[str, Any]) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
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


def shipped_code(folder: Path) -> list[str]:
    """Returns what a cluster needs to import this package: a wheel of the checkout, or the installed package.

    The wheel is unpacked, since Ray would have pip install its dependencies too, gigabytes on every node.
    """
    import autosing

    root = Path(__file__).parents[3]
    if not (root / "pyproject.toml").is_file():
        return [str(path) for path in autosing.__path__]
    from hatchling.builders.wheel import WheelBuilder

    for wheel in WheelBuilder(str(root)).build(directory=str(folder), versions=["standard"]):
        with ZipFile(wheel) as packed:
            packed.extractall(folder)
    return [str(folder / "autosing")]
