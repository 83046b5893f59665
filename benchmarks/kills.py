"""What `kill -9` of a whole process tree leaves behind: the same command again, compared with an undisturbed run.

    python benchmarks/kills.py [--kills 5] [--seed 0] [--data DIR]

Real songs are processed (on Ray, as the command line does it) and built in peace. Then, for each kill, the same
commands run on a fresh copy of the songs, everything that they started is killed at a random moment after the first
file appeared, and the same command runs again to its end. Exits with 1 where a column's digest or a byte of the built
set differs.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autosing.pipeline.chaos.process_tree import TOKEN, kill_tree
from autosing.pipeline.dataset import Dataset
from machine import machine
from songs import SHARED_DATA, load_songs, write_dataset

PARTITIONS = 8
LATEST = 0.8
"""Share of the undisturbed time at which a kill may come at the latest, so that the command has not ended."""
Values = Mapping[str, object]


@dataclass(frozen=True)
class Command:
    """A command of `autosing`."""

    arguments: tuple[str, ...]

    def start(self, token: str) -> "subprocess.Popen[bytes]":
        """Starts the command with a token in its environment, which all that it starts inherits."""
        command = [sys.executable, "-m", "autosing.cli.main", *self.arguments]
        silent = subprocess.DEVNULL
        return subprocess.Popen(
            command, env=os.environ | {TOKEN: token}, stdout=silent, stderr=silent, start_new_session=True
        )

    def run(self, folder: Path) -> float:
        """Runs the command to its end; returns the seconds from the first new file in a folder on."""
        process, started = self._started(folder, uuid.uuid4().hex)
        if code := process.wait():
            raise SystemExit(f"autosing {' '.join(self.arguments)} ended with exit code {code}")
        return time.monotonic() - started

    def run_and_kill(self, folder: Path, after_s: float) -> bool:
        """Kills the command and all that it started; returns whether it was still running."""
        token = uuid.uuid4().hex
        process, _ = self._started(folder, token)
        time.sleep(after_s)
        was_running = process.poll() is None
        kill_tree(token)
        process.wait()
        return was_running

    def _started(self, folder: Path, token: str) -> "tuple[subprocess.Popen[bytes], float]":
        """Starts the command and waits for its first file (or its end); returns it and the time of that."""
        before = set(folder.rglob("*"))
        process = self.start(token)
        while process.poll() is None and not set(folder.rglob("*")) - before:
            time.sleep(0.01)
        return process, time.monotonic()


def column_digests(url: Path) -> Values:
    """Returns what the commit records of a data set say of every column's values, artefacts included."""
    found: dict[str, object] = {}
    for partition in Dataset(str(url)).partitions:
        for name in partition.instances():
            record = partition.record(name)
            assert record is not None
            found[f"{partition.number}/{name}"] = (record.definition, record.key, dict(record.digests), record.errors)
    return found | {f"models/{k}": v for k, v in file_digests(url / "models").items()}


def file_digests(folder: Path) -> Values:
    """Returns the sha256 of every file below a folder, by its path there."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def measure(folder: Path, options: argparse.Namespace) -> bool:
    """Runs everything in peace, then disturbed; returns whether nothing differs."""
    songs, kind = load_songs(options.data)
    minutes = write_dataset(str(folder / "songs"), songs, PARTITIONS)
    print(f"{minutes:.1f} min of {kind} ({len(songs)}) in {PARTITIONS} partitions", flush=True)
    calm = folder / "calm"
    shutil.copytree(folder / "songs", calm)
    process_s = _process(calm).run(calm)
    built = folder / "built"
    build_s = _build(calm, built).run(built)
    print(f"in peace, from the first file on: process {process_s:.1f} s, build {build_s:.2f} s", flush=True)
    moments = random.Random(options.seed)
    same = True
    for number in range(options.kills):
        url = folder / f"killed{number}"
        shutil.copytree(folder / "songs", url)
        same &= disturbed(
            _process(url), moments.uniform(0, LATEST * process_s), url, column_digests(calm), column_digests
        )
        shutil.rmtree(url)
    for number in range(options.kills):
        out = folder / f"built{number}"
        same &= disturbed(
            _build(calm, out), moments.uniform(0, LATEST * build_s), out, file_digests(built), file_digests
        )
    return same


def disturbed(command: Command, after_s: float, url: Path, expected: Values, look: Callable[[Path], Values]) -> bool:
    """Kills a command, runs it again, and prints and returns whether what it leaves is what is expected."""
    was_running = command.run_and_kill(url, after_s)
    files = len([p for p in url.rglob("*") if p.is_file()]) if url.exists() else 0
    command.run(url)
    same = look(url) == expected and not list(url.rglob(".tmp-*"))
    told = "killed" if was_running else "had ended"
    verdict = "identical" if same else "DIFFERENT"
    print(
        f"{command.arguments[0]:8} {told} {after_s:5.2f} s after its first file, {files} files there: {verdict}",
        flush=True,
    )
    return same


def _process(url: Path) -> Command:
    return Command(("process", str(url)))


def _build(url: Path, out: Path) -> Command:
    return Command(("build", str(url), str(out), "--valid-songs", "6", "--workers", "2"))


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="folder of real recordings")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(0 if measure(Path(scratch), options) else 1)


if __name__ == "__main__":
    main()
