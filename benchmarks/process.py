"""What `process` costs over the bare library calls, how it scales to two workers, and how much memory a worker needs.

    python benchmarks/process.py [--minutes 60] [--partitions 16] [--data DIR] [--arms one,two,idle,memory]

- one: a warm worker computes the columns of every partition, from the first decode to the last commit; in turn with it
  the same songs go through the third-party calls (one decode, nothing stored) and through autosing.signal's functions.
- two: `autosing process` on Ray with one worker and with two, on cores that run Ray and the driver, too.
- idle: the command line on the finished data set.
- memory: the peak of a process that runs probe, f0, energy and mel on a partition of 100 MB and on one of 1 GB.

Every library has one thread in every arm. Codebooks are fitted beforehand: a fit is no work per song.
Exits with 1 where a target is missed.
"""

import argparse
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from autosing.models.directory import load_tensors
from autosing.pipeline.dataset import Dataset, Partition
from autosing.pipeline.fit import fit
from autosing.pipeline.graph import Graph
from autosing.pipeline.ingest.partitions import NewSong
from autosing.pipeline.schedule import Scheduler, Task
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.threads import one_thread
from autosing.pipeline.work import GroupResult
from autosing.pipeline.worker import Worker
from bare import Clock, Codebooks, ThirdParty, own
from machine import machine
from songs import SHARED_DATA, as_wave, load_songs, repeated, write_dataset

STAGES = ("probe", "energy", "ssl", "mel", "f0", "quality", "tokens", "units")
MEMORY_STAGES = ("probe", "f0", "energy", "mel")
OVERHEAD_TARGET, SPEED_UP_TARGET, IDLE_TARGET_S, MEMORY_TARGET = 1.20, 1.8, 3.0, 0.2
SMALL_BYTES, LARGE_BYTES = 100_000_000, 1_000_000_000
MEMORY_SONGS = 4
PACKAGES = ("numpy", "torch", "torchaudio", "soxr", "soundfile", "swift-f0", "faiss-cpu", "pyarrow")
SPAWN = multiprocessing.get_context("spawn")


def graph_of(url: str) -> Graph:
    """Returns the stages with their default settings."""
    return Project().graph(DatasetEntry(url))


def tasks_of(url: str, graph: Graph, targets: Sequence[str]) -> list[Task]:
    """Returns one task per partition of a data set."""
    return list(iter(Scheduler(Dataset(url), graph, targets).next_task, None))


def compute(worker: Worker, graph: Graph, task: Task) -> GroupResult:
    """Computes a task; a failure ends the measurement."""
    outcome = worker.run(graph, task, {})
    if outcome.result is None:
        raise SystemExit(outcome.failed or outcome.fatal)
    return outcome.result


def prepare(url: str) -> float:
    """Computes what the codebooks are fitted on and fits them; returns the seconds of the fits."""
    graph, worker = graph_of(url), Worker(url)
    for task in tasks_of(url, graph, ["ssl"]):
        compute(worker, graph, task)
    started = time.perf_counter()
    for name in ("units", "tokens"):
        fit(Dataset(url), graph, name)
    seconds = time.perf_counter() - started
    clear(url)
    return seconds


def clear(url: str) -> None:
    """Removes all columns; the index and the codebooks stay."""
    for path in Path(url).glob("*/*.parquet"):
        if path.stem != "index":
            path.unlink()


def warm_worker(url: str, warm_url: str) -> Worker:
    """Returns a worker of a data set in whose process every model is loaded and every library has run once."""
    graph = graph_of(warm_url)
    models = Path(warm_url, "models")
    if not models.exists():
        shutil.copytree(Path(url, "models"), models)
    for task in tasks_of(warm_url, graph, STAGES):
        compute(Worker(warm_url), graph, task)
    clear(warm_url)
    return Worker(url)


def report(name: str, value: str, is_met: bool, target: str) -> bool:
    """Prints a result with its target and returns whether it is met."""
    print(f"{name:52} {value:>12}   target {target}: {'met' if is_met else 'MISSED'}", flush=True)
    return is_met


@dataclass
class Arm:
    """One way to compute the songs of a partition, and what it has taken so far."""

    name: str
    compute: Callable[[Task, Clock], None]
    clock: Clock = field(default_factory=Clock)
    wall_s: float = 0.0

    def run(self, task: Task) -> None:
        """Computes the partition of a task."""
        started = time.perf_counter()
        self.compute(task, self.clock)
        self.wall_s += time.perf_counter() - started


def measure_one(url: str, warm_url: str) -> bool:
    """Measures one worker against the bare calls, partition by partition in turn."""
    clear(url)
    arms = arms_of(url, warm_url)
    for number, task in enumerate(tasks_of(url, graph_of(url), STAGES)):
        for i in range(len(arms)):
            arms[(number + i) % len(arms)].run(task)
        so_far = ", ".join(f"{arm.name} {arm.wall_s:.1f} s" for arm in arms)
        print(f"partition {task.partition}: {so_far}", flush=True)
    print(f"{'seconds':12}" + "".join(f"{arm.name:>18}" for arm in arms))
    for name in STAGES:
        print(f"{name:12}" + "".join(f"{arm.clock.seconds[name]:>18.2f}" for arm in arms))
    print(f"{'the rest':12}" + "".join(f"{arm.wall_s - sum(arm.clock.seconds.values()):>18.2f}" for arm in arms))
    worker, third_party, direct = arms
    print(f"{'one worker over the calls of autosing.signal':52} {worker.wall_s / direct.wall_s:>12.3f}")
    ratio = worker.wall_s / third_party.wall_s
    return report("one worker over the third-party calls", f"{ratio:.3f}", ratio <= OVERHEAD_TARGET, "<= 1.20")


def arms_of(url: str, warm_url: str) -> list[Arm]:
    """Returns the warm arms: the worker, the third-party calls, those of autosing.signal."""
    started = time.perf_counter()
    graph, worker = graph_of(url), warm_worker(url, warm_url)
    print(f"start-up of a worker: {time.perf_counter() - started:.1f} s", flush=True)
    books, songs = codebooks(url), {p.number: encoded(p) for p in Dataset(url).partitions}
    third_party = ThirdParty(books)
    warm_song = encoded(Dataset(warm_url).partitions[0])[0]
    third_party(warm_song, Clock())
    own(warm_song, Clock(), books)

    def by_worker(task: Task, clock: Clock) -> None:
        for name, part in compute(worker, graph, task).instances.items():
            clock.add(name, part.busy_s)

    def by_third_party(task: Task, clock: Clock) -> None:
        for song in songs[task.partition]:
            third_party(song, clock)

    def directly(task: Task, clock: Clock) -> None:
        for song in songs[task.partition]:
            own(song, clock, books)

    return [Arm("worker", by_worker), Arm("third party", by_third_party), Arm("autosing.signal", directly)]


def encoded(partition: Partition) -> list[bytes]:
    """Returns the files of a partition's songs."""
    return [row.values["index.audio"] for row in partition.rows(["index.audio"])]


def codebooks(url: str) -> Codebooks:
    """Returns the fitted centroids of a data set."""
    models = Path(url, "models")
    tokens = load_tensors(models / "tokens")[0]
    by_ms = {int(name.removeprefix("tokens_")): book for name, book in tokens.items()}
    return Codebooks(load_tensors(models / "units")[0]["codebook"], dict(sorted(by_ms.items())))


def measure_two(url: str) -> bool:
    """Measures the command line on Ray with one and with two workers, in turn, from its start to its end."""
    walls = {1: 0.0, 2: 0.0}
    for n in (1, 2, 2, 1):  # So that a machine that gets slower meanwhile is no one's advantage.
        clear(url)
        started = time.perf_counter()
        said = command_line(url, "--executor", "ray", "--workers", str(n))
        seconds = time.perf_counter() - started
        walls[n] += seconds
        print(f"{n} worker(s): {seconds:.1f} s; {said.splitlines()[-1]}", flush=True)
    speed_up = walls[1] / walls[2]
    return report("two workers over one", f"{speed_up:.2f} x", speed_up >= SPEED_UP_TARGET, ">= 1.8 x")


def command_line(url: str, *options: str) -> str:
    """Returns what `autosing process` of all stages prints."""
    command = [sys.executable, "-m", "autosing.cli.main", "process", url, *STAGES, *options]
    return subprocess.run(command, cwd=url, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def measure_idle(url: str) -> bool:
    """Measures the command line where nothing is to do."""
    graph, worker = graph_of(url), Worker(url)
    for task in tasks_of(url, graph, STAGES):
        compute(worker, graph, task)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        said = command_line(url)
        seconds.append(time.perf_counter() - started)
        assert said == "nothing to do", said
    median = statistics.median(seconds)
    return report("a run with nothing to do, median of 3", f"{median:.2f} s", median < IDLE_TARGET_S, "< 3 s")


def measure_memory(folder: Path, songs: Sequence[NewSong]) -> bool:
    """Measures the peak memory of a worker on a small and a large partition of the same few songs."""
    peaks = []
    sources = sorted((s for s in songs if s.duration_s < 60), key=lambda s: -s.duration_s)[:MEMORY_SONGS]
    waves = [replace(s, audio=as_wave(s.audio)) for s in sources]
    for n_bytes in (SMALL_BYTES, LARGE_BYTES):
        url = str(folder / f"memory{n_bytes}")
        minutes = n_bytes / sum(len(w.audio) for w in waves) * sum(w.duration_s for w in waves) / 60
        write_dataset(url, list(repeated(waves, minutes)), 1)
        results: Any = SPAWN.Queue()
        process = SPAWN.Process(target=watch, args=(url, results))
        process.start()
        peaks.append(results.get())
        process.join()
        shutil.rmtree(url)
        print(f"peak memory of a worker on {n_bytes / 1e6:.0f} MB ({minutes:.0f} min): {peaks[-1] / 1e6:.0f} MB")
    growth = peaks[1] / peaks[0] - 1
    return report("memory at 1 GB over that at 100 MB", f"{growth:+.0%}", abs(growth) <= MEMORY_TARGET, "within 20 %")


def watch(url: str, results: Any) -> None:
    """Computes a data set in this process and tells its peak resident bytes."""
    graph, worker = graph_of(url), Worker(url)
    for task in tasks_of(url, graph, MEMORY_STAGES):
        compute(worker, graph, task)
    status = Path("/proc/self/status").read_text()  # unlike getrusage, not inherited from the parent
    results.put(int(status.split("VmHWM:")[1].split()[0]) * 1024)


def measure(folder: Path, options: argparse.Namespace) -> bool:
    """Makes the data and runs the chosen arms."""
    songs, kind = load_songs(options.data)
    url, warm_url = str(folder / "songs"), str(folder / "warm")
    minutes = write_dataset(url, list(repeated(songs, options.minutes)), options.partitions)
    write_dataset(warm_url, songs[:1], 1)
    print(f"{minutes:.1f} min of {kind} ({len(songs)} of them) in {options.partitions} partitions", flush=True)
    arms: list[str] = options.arms.split(",")
    if {"one", "two", "idle"} & set(arms):
        print(f"fits of units and tokens (no work per song): {prepare(url):.1f} s", flush=True)
    measures = {
        "one": lambda: measure_one(url, warm_url),
        "two": lambda: measure_two(url),
        "idle": lambda: measure_idle(url),
        "memory": lambda: measure_memory(folder, songs),
    }
    met = [measures[arm]() for arm in arms]
    return all(met)


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="folder of real recordings")
    parser.add_argument("--arms", default="one,two,idle,memory")
    parser.add_argument("--folder", help="where to work; on the disk that is to be measured")
    options = parser.parse_args()
    one_thread()
    threadpool_limits(1)
    print(machine(PACKAGES))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        sys.exit(0 if measure(Path(folder), options) else 1)


if __name__ == "__main__":
    main()
