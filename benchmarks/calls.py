"""How often a store is asked by a run that computes the columns of every partition, and by one that finds them fresh.

    python benchmarks/calls.py [--partitions 8]

Short tones in a local folder that is asked as an object store is, through fsspec, and counts: LIST (one for each 1000
files), HEAD, GET (a file that is opened) and PUT. pyarrow's own S3 client may split a large GET; what it asks before it
opens a file is counted as HEAD.
"""

import argparse
import sys
import tempfile
from collections import Counter
from typing import Any, ClassVar

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.threads import one_thread
from autosing.signal.decode import encode
from machine import machine

COLUMNS = ("probe", "quality", "energy", "mel", "ssl", "voice_activity")


class CountedFileSystem(LocalFileSystem):  # type: ignore[misc]
    """A local folder that is asked as an object store is, and counts how often."""

    protocol = "counted"
    calls: ClassVar[Counter[str]] = Counter()
    _asked = False

    def find(self, path: str, **options: Any) -> Any:
        """Returns all files below a path: one listing, a request for each 1000 of them."""
        found = super().find(path, **options)
        self.calls["list"] += 1 + len(found) // 1000
        return found

    def info(self, path: str, **options: Any) -> Any:
        """Returns what is known of one file."""
        if not self._is_inside():
            self.calls["head"] += 1
        return super().info(path, **options)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self.calls["get" if "r" in mode else "put"] += 1
        return super()._open(path, mode, **options)

    def _is_inside(self) -> bool:
        """Whether this is the look at a file that a listing of this file system consists of."""
        return sys._getframe(2).f_code.co_name in ("ls", "find", "walk", "<listcomp>")


def count(folder: str, partitions: int) -> None:
    """Makes a data set and prints the calls of a first and a second run."""
    for number in range(partitions):
        append_songs(folder, [NewSong(f"{number}.wav", _tone(), duration_s=1.0)])
    graph = Project().graph(DatasetEntry(folder))
    for what in ("first run", "second run"):
        CountedFileSystem.calls.clear()
        dataset = Dataset(f"counted://{folder}")
        report = process(dataset, graph, COLUMNS, RunOptions("local"), progress=Progress(0, quiet=True))
        calls = dict(sorted(CountedFileSystem.calls.items()))
        each = {name: round(n / partitions, 1) for name, n in calls.items()}
        print(f"{what}: {partitions} partitions, {len(COLUMNS)} columns, {report.tasks} tasks: {calls}; each {each}")


def _tone() -> bytes:
    wave = 0.3 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000)
    return encode(wave.astype(np.float32)[:, None], 16_000, "WAV")


def main() -> None:
    """Parses the command line and counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=8)
    options = parser.parse_args()
    one_thread()
    print(machine(("pyarrow", "fsspec")))
    fsspec.register_implementation("counted", CountedFileSystem)
    with tempfile.TemporaryDirectory() as folder:
        count(folder, options.partitions)


if __name__ == "__main__":
    main()
