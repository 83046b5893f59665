"""What a measurement was made on, as one line; the benchmarks print it first."""

import os
import platform
import re
import resource
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil


def machine(packages: Sequence[str] = ()) -> str:
    """Returns processor, cores, memory, load, and the versions of Python and of installed `packages`."""
    memory_gib = psutil.virtual_memory().total / 2**30
    load = os.getloadavg()[0]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, load {load:.1f}; "
        f"Python {platform.python_version()}{', ' if versions else ''}{versions}"
    )


def peak_mb() -> float:
    """Returns the most memory that this process has had, in MB; on Linux without what its parent had when it began."""
    status = Path("/proc/self/status")
    told = status.read_text() if status.exists() else ""
    found = re.search(r"VmHWM:\s+(\d+) kB", told)
    kib = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib * 1024 / 1e6


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


if __name__ == "__main__":
    print(machine(("numpy", "torch", "pyarrow", "ray")))
