"""Speed of `construct_dataset` against writing the same tars with `tarfile` from memory, and its peak memory.

    python benchmarks/build.py [--runs 3] [--folder FOLDER]

Column files are made here: random arrays, about 70 MB of samples at 1x. Each build runs in a process of its own; its
start and imports are not timed, those of its workers are. `tarfile` neither reads columns nor waits for the disk;
`construct_dataset` does both (every file is fsynced). Memory is the resident set of the process with its workers,
sampled. Exits with 1 where a target is missed.
"""

import argparse
import io
import multiprocessing
import os
import platform
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from autosing.pipeline.columnfile import ColumnWriter
from autosing.pipeline.construct.inputs import NamedDataset
from autosing.pipeline.construct.sample import SAMPLES
from autosing.pipeline.construct.shards import construct_dataset
from autosing.pipeline.dataset import PROBE, Dataset, Partition, index_schema
from autosing.pipeline.record import Record, definition_of, key_of
from autosing.pipeline.schema import CUTS, Column
from autosing.pipeline.stages.probe import Probe
from autosing.signal.framing import frames

SAMPLE_RATE = 24_000
SONG_S, CUT_S = 176, 8
PARTITIONS, SONGS = 2, 10
"""Partitions at 1x, and songs in each: enough to fill a row group."""
COLUMNS = {
    "units": (Column("units", pa.uint16(), Fraction(50)),),
    "mel": (Column("mel", pa.float16(), Fraction(375, 4), 100),),
    "f0": (Column("f0_hz", pa.float32(), Fraction(100)), Column("voiced", pa.uint8(), Fraction(100))),
    "energy": (Column("energy", pa.float32(), Fraction(100)),),
    "cuts": (Column("cuts", CUTS),),
}
SPEC = replace(SAMPLES["acoustic"], valid_songs=1)
TARGETS = {1: 0.15, 2: 0.25}
MEMORY_TARGET = 0.2


def make_dataset(folder: Path, scale: int) -> None:
    """Writes a data set with `scale` times the partitions."""
    rng = np.random.default_rng(0)
    for number in range(PARTITIONS * scale):
        ids = [f"{number}/{i}" for i in range(SONGS)]
        (folder / str(number)).mkdir(parents=True)
        rows = [{"id": id, "audio": b"", "title": id} for id in ids]
        pq.write_table(pa.Table.from_pylist(rows, index_schema(["title"])), folder / str(number) / "index.parquet")
        partition = Partition(Dataset(str(folder)).store, number)
        for instance, columns in {PROBE: Probe().columns(), **COLUMNS}.items():
            write_column(partition, instance, columns, ids, rng)


def write_column(
    partition: Partition, instance: str, columns: tuple[Column, ...], ids: list[str], rng: np.random.Generator
) -> None:
    """Writes a column file of random series and fixed values."""
    cuts = [{"text": "la", "start_s": s, "end_s": s + CUT_S} for s in range(0, SONG_S, CUT_S)]
    values = {"n_samples": SONG_S * SAMPLE_RATE, "sample_rate_hz": SAMPLE_RATE, "duration_s": SONG_S, "channels": 1,
              "codec": "", "audio_digest": "", "lyrics_digest": None, "cuts": cuts}  # fmt: skip
    with partition.store.writing(partition.folder, f"{instance}.parquet") as path:
        writer = ColumnWriter(path, columns)
        for id in ids:
            writer.add(id, {c.name: values.get(c.name) if not c.is_series else series(c, rng) for c in columns})
        stamp = partition.store.stamp(partition.folder, "index.parquet")
        assert stamp is not None
        index = {"size": stamp.size, "mtime_ns": stamp.mtime_ns, "digests": {"title": ""}}
        definition = definition_of(instance, 1, {}, {}, {})
        writer.close(Record(instance, instance, 1, {}, {}, {}, definition, key_of(definition, {}), {}, writer.digests(),
                            writer.rows, index=index))  # fmt: skip


def series(column: Column, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Returns random numbers for a song."""
    assert column.rate is not None
    n = frames(SONG_S * SAMPLE_RATE, SAMPLE_RATE, column.rate)
    return (rng.random((n, column.dim) if column.dim else n) * 100).astype(column.numpy_dtype)


@dataclass(frozen=True)
class Built:
    """What one build came to."""

    seconds: float
    cpu_s: float
    bytes: int
    peak_bytes: int


def build(data: Path, out: Path, workers: int) -> Built:
    """Builds in a fresh process and watches its memory."""
    shutil.rmtree(out, ignore_errors=True)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=build_here, args=(data, out, workers, sender))
    process.start()
    assert process.pid is not None
    peak, watched = 0, psutil.Process(process.pid)
    while process.is_alive() and not receiver.poll(0.02):
        peak = max(peak, resident_bytes(watched))
    seconds, cpu_s = receiver.recv()
    process.join()
    return Built(seconds, cpu_s, sum(path.stat().st_size for path in out.glob("*.tar")), peak)


def build_here(data: Path, out: Path, workers: int, sender: Connection) -> None:
    """Builds in this process and sends the seconds and CPU seconds that it and its workers took."""
    started, started_cpu_s = time.perf_counter(), sum(os.times()[:4])
    construct_dataset([NamedDataset("random", Dataset(str(data)))], str(out), SPEC, workers)
    sender.send((time.perf_counter() - started, sum(os.times()[:4]) - started_cpu_s))


def resident_bytes(process: psutil.Process) -> int:
    """Returns the resident set of a process and its children."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def write_with_tarfile(shards: dict[str, list[tuple[str, bytes]]], out: Path) -> tuple[float, float]:
    """Writes members that are in memory and returns the seconds and CPU seconds."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    started, started_cpu_s = time.perf_counter(), time.process_time()
    for name, members in shards.items():
        with tarfile.open(out / name, "w", format=tarfile.USTAR_FORMAT) as tar:
            for member, data in members:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return time.perf_counter() - started, time.process_time() - started_cpu_s


def read_members(folder: Path) -> dict[str, list[tuple[str, bytes]]]:
    """Returns the members of the tars in a folder."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found[path.name] = [(m.name, file.read()) for m in tar if (file := tar.extractfile(m))]
    return found


def machine() -> str:
    """Returns processor, cores, memory and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    memory = psutil.virtual_memory().total / 2**30
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, load {load}; Python {platform.python_version()}, "
        f"numpy {np.__version__}, pyarrow {pa.__version__}"
    )


def measure(folder: Path, runs: int) -> bool:
    """Prints the table and returns whether all targets are met."""
    data = {scale: folder / f"data{scale}" for scale in (1, 8)}
    for scale, path in data.items():
        make_dataset(path, scale)
    small = [build(data[1], folder / "out1", 1) for _ in range(runs)]
    large: dict[int, list[Built]] = {workers: [] for workers in TARGETS}
    reference: list[tuple[float, float]] = []
    for _ in range(runs):  # the arms alternate, so that a busy moment of the machine meets all of them
        for workers, built in large.items():
            built.append(build(data[8], folder / "out8", workers))
        reference.append(write_with_tarfile(read_members(folder / "out8"), folder / "reference"))
    n_bytes = large[1][0].bytes
    print(f"{n_bytes / 1e6:.0f} MB of tars, medians of {runs}")
    reference_s, cpu_s = (statistics.median(column) for column in zip(*reference, strict=True))
    print(f"tarfile from memory   {n_bytes / reference_s / 1e6:6.0f} MB/s   {cpu_s:4.1f} CPU s")
    met = True
    for workers, target in TARGETS.items():
        seconds = statistics.median(b.seconds for b in large[workers])
        cpu_s = statistics.median(b.cpu_s for b in large[workers])
        ratio = reference_s / seconds
        met &= ratio >= target
        speed = f"{n_bytes / seconds / 1e6:6.0f} MB/s   {cpu_s:4.1f} CPU s"
        print(f"{workers} worker(s)           {speed}   ratio {ratio:.2f} (target {target})")
    peaks = [statistics.median(b.peak_bytes for b in builds) / 1e6 for builds in (small, large[1])]
    growth = peaks[1] / peaks[0] - 1
    print(f"peak memory, 1 worker  {peaks[0]:8.0f} MB at 1x, {peaks[1]:.0f} MB at 8x: {growth:+.0%} (target +-20 %)")
    print(f"peak memory, 2 workers {statistics.median(b.peak_bytes for b in large[2]) / 1e6:8.0f} MB at 8x")
    return met and abs(growth) <= MEMORY_TARGET


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", help="where to work; on the disk that is to be measured")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        sys.exit(0 if measure(Path(folder), options.runs) else 1)


if __name__ == "__main__":
    main()
