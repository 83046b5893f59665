"""How fast batches come from shards: our reader beside plain webdataset, litData and mosaicml-streaming.

    python benchmarks/reader.py [--runs 5] [--peers [FOLDER]] [--folder FOLDER]

- Samples per second: every arm shuffles, decodes the same columns of every sample to NumPy and lays about 16 samples
  end to end, so that none pays for padding. `webdataset` decodes with `numpy.load`, as its own decoder does;
  the target is to be as fast. `webdataset, our decoding` calls `autosing.training.sample.arrays`, for information.
  From workers, webdataset and the peers send tensors, which PyTorch puts into shared memory: their fastest way. Each
  run is a process of its own, timed from its first batch on; the arms take turns, and the best of the runs counts.
- First batch: the time from opening a position at 90 % of an epoch to the batch there, over that from the beginning;
  of the set itself, and of an index of a million samples (its tars, named again and again). Medians.
- With `--peers` litData and mosaicml-streaming are installed below FOLDER, each into an environment of its own, and the
  samples converted for them. They are there for information; no target hangs on them.

The set is synthesised: cuts of 3 to 12 s with mel, units, F0, voicing and energy in tars of 60 MB, in the page cache.
Exits with 1 where a target is missed.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from autosing.training.loader import Batch, Reading
    from autosing.training.order import Position
    from autosing.training.sample import Sample

Arrays = Mapping[str, npt.NDArray[Any]]

COLUMNS = {"mel": "float16", "units": "uint16", "f0_hz": "float32", "voiced": "uint8", "energy": "float32"}
TARS, SAMPLES_PER_TAR, MANY = 8, 400, 1_000_000
# About as many samples in our batches, which are cut by seconds, as in those of the others.
BATCH, BATCH_S = 16, 140.0
SHUFFLED, PREFETCHED, PASSES = 1000, 4, 3
WORKERS = (0, 2)
SPEED_TARGET, RESUME_TARGET, PLAN_TARGET_S = 1.0, 1.5, 1.0
OURS, WEBDATASET = "autosing", ("webdataset", "webdataset, our decoding")
PEERS = {"litdata": "0.2.76", "mosaicml-streaming": "0.13.0"}


# Every arm imports what it reads with by itself: the project is not in the environments of the peers.
def by_autosing(folder: Path, workers: int) -> Iterator[int]:
    """Yields the size of each batch of our reader."""
    from autosing.training.order import START

    with reading_of(folder).open(START, workers) as loader:
        yield from (len(delivery.batch.keys) for delivery in loader)


def by_webdataset(folder: Path, workers: int, decode: Callable[[bytes], Arrays] | None = None) -> Iterator[int]:
    """Yields the size of each batch of webdataset; arrays are decoded by NumPy where not told otherwise."""
    import webdataset as wds

    def decoded(sample: dict[str, Any]) -> Arrays:
        json.loads(sample["json"])
        return (decode or loaded)(sample["npz"])

    tars = tars_of(folder)
    stream = wds.WebDataset(tars, shardshuffle=len(tars)).shuffle(SHUFFLED).map(decoded)
    batches = stream.batched(BATCH, collation_fn=collation(workers)).repeat()
    yield from map(size_of, wds.WebLoader(batches, batch_size=None, **loading(workers)))


def by_webdataset_and_us(folder: Path, workers: int) -> Iterator[int]:
    """Yields the size of each batch of webdataset, decoded by our function."""
    from autosing.training.sample import arrays

    return by_webdataset(folder, workers, lambda archive: arrays(archive, list(COLUMNS)))


def by_litdata(folder: Path, workers: int) -> Iterator[int]:
    """Yields the size of each batch of litData."""
    from litdata import StreamingDataLoader, StreamingDataset, optimize

    converted = folder / "litdata"
    if not converted.exists():
        optimize(samples_of, tars_of(folder), str(converted), chunk_bytes="64MB", num_workers=1)
    data = StreamingDataset(str(converted), shuffle=True)
    loader = StreamingDataLoader(data, batch_size=BATCH, collate_fn=collation(workers), **loading(workers))
    while True:
        yield from map(size_of, loader)


def by_mosaic(folder: Path, workers: int) -> Iterator[int]:
    """Yields the size of each batch of mosaicml-streaming."""
    from streaming import MDSWriter, StreamingDataset
    from torch.utils.data import DataLoader

    converted = folder / "mosaic"
    if not converted.exists():
        with MDSWriter(out=str(converted), columns={name: f"ndarray:{kind}" for name, kind in COLUMNS.items()}) as file:
            for sample in (sample for tar in tars_of(folder) for sample in samples_of(tar)):
                file.write(sample)
    data = StreamingDataset(local=str(converted), shuffle=True, batch_size=BATCH)
    loader = DataLoader(data, batch_size=BATCH, collate_fn=collation(workers), **loading(workers))
    while True:
        yield from map(size_of, loader)


ARMS: dict[str, Callable[[Path, int], Iterator[int]]] = {
    OURS: by_autosing,
    WEBDATASET[0]: by_webdataset,
    WEBDATASET[1]: by_webdataset_and_us,
    "litdata": by_litdata,
    "mosaicml-streaming": by_mosaic,
}


def tars_of(folder: Path) -> list[str]:
    """Returns the paths of the tars in a folder."""
    return sorted(map(str, folder.glob("*.tar")))


def loaded(archive: bytes) -> Arrays:
    """Returns the arrays of an npz archive, by NumPy."""
    with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in COLUMNS}


def samples_of(tar: str) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Yields the arrays of each sample of a tar."""
    with tarfile.open(tar) as members:
        for member in members:
            if member.name.endswith(".npz") and (file := members.extractfile(member)):
                yield dict(loaded(file.read()))


def loading(workers: int) -> dict[str, Any]:
    """Returns the arguments of a DataLoader."""
    return {"num_workers": workers} | ({"prefetch_factor": PREFETCHED, "persistent_workers": True} if workers else {})


def collation(workers: int) -> Callable[[Sequence[Arrays]], dict[str, Any]]:
    """Returns what lays samples end to end: as tensors where another process is to have them."""
    return end_to_end_as_tensors if workers else end_to_end


def end_to_end(samples: Sequence[Arrays]) -> dict[str, Any]:
    """Returns each column of some samples in one array, and how many samples there are."""
    return {name: np.concatenate([s[name] for s in samples]) for name in COLUMNS} | {"samples": len(samples)}


def end_to_end_as_tensors(samples: Sequence[Arrays]) -> dict[str, Any]:
    """Returns each column of some samples in one tensor, and how many samples there are."""
    import torch

    batch = end_to_end(samples)
    return batch | {name: torch.from_numpy(batch[name]) for name in COLUMNS}


def size_of(batch: Mapping[str, Any]) -> int:
    """Returns the number of samples in a batch."""
    return int(batch["samples"])


def laid(samples: Sequence["Sample"]) -> "Batch":
    """Returns our batch of samples laid end to end."""
    from autosing.training.loader import Batch

    arrays = end_to_end([sample.series for sample in samples])
    return Batch({name: arrays[name] for name in COLUMNS}, {}, tuple(sample.key for sample in samples), 0.0)


def reading_of(folder: Path) -> "Reading":
    """Returns how we read the set in a folder."""
    from autosing.training.loader import Reading
    from autosing.training.shards import ShardSet

    return Reading(ShardSet.open(folder, "train"), tuple(COLUMNS), laid, seed=0, budget_s=BATCH_S)


def run_here(arm: str, folder: Path, workers: int) -> None:
    """Prints the samples per second of some passes over a set, after the first batch."""
    batches = ARMS[arm](folder, workers)
    next(batches)
    seen, started = 0, time.perf_counter()
    while seen < PASSES * TARS * SAMPLES_PER_TAR:
        seen += next(batches)
    print(seen / (time.perf_counter() - started))


def run(python: str, arm: str, folder: Path, workers: int) -> float:
    """Returns the samples per second of an arm, run by itself.

    Raises:
        RuntimeError: it failed; says by what.
    """
    command = [python, "-W", "ignore", __file__, "--arm", arm, "--folder", str(folder), "--workers", str(workers)]
    return float(output_of(command, os.environ | {"OMP_NUM_THREADS": "1"}).split()[-1])


def output_of(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Returns what a command prints.

    Raises:
        RuntimeError: it failed; gives its last error.
    """
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or [
            f"exit status {done.returncode}"
        ]
        raise RuntimeError(lines[-1])
    return done.stdout


def python_of(peer: str, folder: Path) -> str:
    """Returns the Python of a peer's environment, which is made if it is not there; raises RuntimeError."""
    python = folder / peer / "bin" / "python"
    if not python.exists():
        venv.create(folder / peer, with_pip=True)
    wanted = [f"{peer}=={PEERS[peer]}", f"torch=={version('torch').partition('+')[0]}"]
    output_of([str(python), "-m", "pip", "install", "--quiet", *wanted])
    return str(python)


def write_samples(folder: Path) -> int:
    """Writes the set, reads it, so that it is in the page cache, and returns its bytes."""
    sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "training")]
    from toy_shards import RATES, ToySample, write_set

    rng = np.random.default_rng(0)
    values = {name: 100 * rng.random((1200, 100) if name == "mel" else 1200) for name in COLUMNS}
    values = {name: array.astype(COLUMNS[name]) for name, array in values.items()}

    def sample(number: int) -> ToySample:
        seconds = round(float(rng.uniform(3, 12)), 2)
        series = {name: array[: int(seconds * Fraction(RATES[name]))] for name, array in values.items()}
        return ToySample(f"{number:016x}_0", seconds, "ada", series)

    write_set(
        folder, {"train": [[sample(t * SAMPLES_PER_TAR + i) for i in range(SAMPLES_PER_TAR)] for t in range(TARS)]}
    )
    return sum(len(Path(tar).read_bytes()) for tar in tars_of(folder))


def measure_speed(folder: Path, runs: int, peers: Path | None) -> bool:
    """Prints the samples per second of the arms and returns whether ours are enough."""
    pythons, why = dict.fromkeys((OURS, *WEBDATASET), sys.executable), dict.fromkeys(PEERS, "not run (--peers)")
    for peer in PEERS:
        if peers is None:
            break
        try:
            pythons[peer] = python_of(peer, peers)
            run(pythons[peer], peer, folder, 0)  # converts the samples
        except RuntimeError as error:
            pythons.pop(peer, None)
            why[peer] = f"not run: {error}"
    found: dict[str, list[list[float]]] = {arm: [[] for _ in WORKERS] for arm in pythons}
    for _ in range(runs):
        for i, workers in enumerate(WORKERS):
            for arm, python in pythons.items():
                found[arm][i].append(run(python, arm, folder, workers))
    best = {arm: [max(rates) for rates in each] for arm, each in found.items()}
    print(f"{f'samples/s, best (median) of {runs}':40}{'in this process':>20}{'2 workers':>20}")
    for arm in ARMS:
        name = f"{arm} {version_of(arm)}".strip()
        cells = [f"{max(rates):.0f} ({statistics.median(rates):.0f})" for rates in found.get(arm, ())]
        print(f"{name:40}" + ("".join(f"{cell:>20}" for cell in cells) or f"  {why.get(arm)}"))
    ratios = {arm: [best[OURS][i] / best[arm][i] for i in range(len(WORKERS))] for arm in WEBDATASET}
    for arm, each in ratios.items():
        target = f" (>= {SPEED_TARGET})" if arm == WEBDATASET[0] else ""
        print(f"{f'ours / {arm}{target}':40}" + "".join(f"{ratio:>18.2f} x" for ratio in each))
    return min(ratios[WEBDATASET[0]]) >= SPEED_TARGET


def version_of(arm: str) -> str:
    """Returns the version of an arm's package."""
    return PEERS.get(arm) or (version("webdataset") if arm in WEBDATASET else "")


def measure_resume(folder: Path, runs: int) -> bool:
    """Prints how long the first batch takes at 90 % of an epoch and at its beginning, and whether that is met."""
    small = reading_of(folder)
    met = [measure_first_batch(reading, runs) for reading in (small, grown(small))]
    return all(met)


def grown(reading: "Reading") -> "Reading":
    """Returns a reading of a set of a million samples: its tars again and again."""
    from autosing.training.order import Part
    from autosing.training.shards import Tars

    shards = reading.shards
    times, tars = MANY // len(shards), shards.tars.shards
    tiled = {name: np.tile(getattr(shards, name), times) for name in ("keys", "offset", "length", "seconds", "crc32")}
    shard = (shards.shard + len(tars) * np.arange(times)[:, None]).ravel()
    mixture = (Part(0, len(shard), 1.0),)
    return replace(reading, shards=replace(shards, tars=Tars(tars * times), shard=shard, mixture=mixture, **tiled))


def measure_first_batch(reading: "Reading", runs: int) -> bool:
    """Prints the seconds to the first batch and those of a plan alone; returns whether their targets are met."""
    from autosing.training.order import START, Position

    started = time.perf_counter()
    batches = len(reading.plan(0))
    plans_s = [time.perf_counter() - started]
    places = {"fresh": START, "resumed": Position(0, batches * 9 // 10)}
    taken_s: dict[str, list[float]] = {place: [] for place in places}
    for _ in range(4 * runs):
        for place, position in places.items():
            taken_s[place].append(first_batch_s(reading, position))
        started = time.perf_counter()
        reading.plan(0)
        plans_s.append(time.perf_counter() - started)
    fresh_s, resumed_s = (statistics.median(taken_s[place]) for place in places)
    samples, plan_s = len(reading.shards), min(plans_s)
    per_million_s = plan_s * MANY / samples
    print(
        f"first batch of {samples} samples: fresh {1e3 * fresh_s:.0f} ms, at 90 % {1e3 * resumed_s:.0f} ms, "
        f"ratio {resumed_s / fresh_s:.2f} (<= {RESUME_TARGET}); the plan alone {1e3 * plan_s:.0f} ms"
        + (f" = {per_million_s:.2f} s per million (<= {PLAN_TARGET_S:.0f})" if samples > MANY // 2 else "")
    )
    return resumed_s / fresh_s <= RESUME_TARGET and (samples < MANY // 2 or per_million_s <= PLAN_TARGET_S)


def first_batch_s(reading: "Reading", position: "Position") -> float:
    """Returns the seconds from opening a position to the batch there."""
    started = time.perf_counter()
    with reading.open(position) as loader:
        next(loader)
        return time.perf_counter() - started


def measure(folder: Path, options: argparse.Namespace) -> bool:
    """Makes the set and runs all measurements."""
    size = write_samples(folder)
    print(f"{TARS * SAMPLES_PER_TAR} samples, {size / 1e6:.0f} MB in {TARS} tars, page cache warm", flush=True)
    met = [measure_speed(folder, options.runs, options.peers), measure_resume(folder, options.runs)]
    return all(met)


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    cache = Path(tempfile.gettempdir(), "autosing-peers")
    parser.add_argument("--peers", type=Path, nargs="?", const=cache, help=f"where to install them (default {cache})")
    parser.add_argument("--folder", type=Path, help="where to work; on the disk that is to be measured")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        run_here(options.arm, options.folder, options.workers)
        return
    from machine import machine

    print(machine(("numpy", "torch", "webdataset")))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        sys.exit(0 if measure(Path(folder), options) else 1)


if __name__ == "__main__":
    main()
