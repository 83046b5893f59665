"""What the journal of a pass costs, and what a kill costs with it and without.

    python benchmarks/journal.py [--songs 40] [--seconds 30] [--every 5] [--times 3]

One partition of sung synthetic songs, columns `probe`, `f0`, `energy`, `mel`, `ssl` (MFCCs), one process, one thread.
Costs are CPU seconds of whole processes, so that others on the machine matter little: without segments, with the
default of one a minute, and with one every few seconds. Then a pass is killed when it has computed two thirds of its
songs, and another one takes over: how much both take together, and how much more that is than one pass in peace.
"""

import argparse
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.outcomes import Models
from autosing.pipeline.passes import Pass, Passed
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.threads import one_thread
from autosing.pipeline.work import Group
from machine import machine

STAGES = ("probe", "f0", "energy", "mel", "ssl")
NEVER = float("inf")


def compute(url: str, every_s: float, kill_at: int) -> None:
    """Makes a pass over the first partition, in this process, which it may kill."""
    one_thread()

    def look(passed: Passed) -> None:
        if passed.songs == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    graph = Project().graph(DatasetEntry(url))
    Group(Pass(Dataset(url).partition(0), graph, STAGES, on_batch=look), STAGES, journal_s=every_s).commit(Models())


def cpu_s(url: str, every_s: float, kill_at: int = 0) -> float:
    """Returns the CPU seconds that a pass takes in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, __file__, "--compute", url, "--every", str(every_s), "--kill-at", str(kill_at)]
    code = subprocess.run(command, check=False).returncode
    if code != (-signal.SIGKILL if kill_at else 0):
        raise SystemExit(f"the pass ended with {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def clear(url: str) -> None:
    """Removes what was computed."""
    for path in Path(url, "0").iterdir():
        if path.name not in ("index.parquet", "reference.parquet"):
            path.unlink()


def measure(url: str, songs: int, every_s: float, times: int) -> None:
    """Prints what the journal and a kill cost."""
    costs: dict[float, list[float]] = {NEVER: [], 60.0: [], every_s: []}
    for _ in range(times):
        for period, taken in costs.items():
            clear(url)
            taken.append(cpu_s(url, period))
    whole = statistics.median(costs[NEVER])
    for period, taken in costs.items():
        print(f"a segment every {period:g} s: {statistics.median(taken):.2f} CPU s, {[round(t, 2) for t in taken]}, "
              f"ratio {statistics.median(taken) / whole:.3f}")  # fmt: skip
    for period in (NEVER, every_s):
        clear(url)
        first = cpu_s(url, period, kill_at=songs * 2 // 3)
        size = sum(p.stat().st_size for p in Path(url, "0").glob(".journal-*"))
        rest = cpu_s(url, period)
        print(f"killed at two thirds, a segment every {period:g} s: {first:.2f} + {rest:.2f} CPU s, "
              f"{first + rest - whole:.2f} lost; {size / 1e6:.1f} MB of journal")  # fmt: skip


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--every", type=float, default=5)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--compute", help=argparse.SUPPRESS)
    parser.add_argument("--kill-at", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.compute:
        compute(options.compute, options.every, options.kill_at)
        return
    print(machine(("numpy", "pyarrow", "swift-f0")))
    folder = tempfile.mkdtemp()
    try:
        sung = list(SyntheticSource(4, seconds=options.seconds).songs())
        songs = [replace(sung[i % 4], id=str(i), reference={}) for i in range(options.songs)]
        append_songs(f"{folder}/set", songs)
        measure(f"{folder}/set", options.songs, options.every, options.times)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
