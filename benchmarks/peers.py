"""The same work on the same songs by others' means: decode, resample, log-mel and F0 of songs in Parquet files.

    python benchmarks/peers.py [--minutes 60] [--partitions 8] [--data DIR] [--only NAME ...]
    pip install datasets                     # besides, for the arm of that name

Every arm has one core, one thread a library and a process of its own, and calls the same functions for a song; what
differs is what is around them: how rows are read, how results are kept, and what is written. `memory` is the most that
the arm's processes have had together (proportional set size), `seconds` from the first import to the last file.

- autosing: `autosing process`, local, one worker.
- loop: the structure of AutoSing's stages: a partition as one table, and each result appended to a table of results.
- datasets: `datasets.map` over the Parquet files, a row at a time.
- ray: Ray Data's `read_parquet`, `map`, `write_parquet`, with one CPU.
- lhotse: a manifest of recordings in files (it keeps none in Parquet), `compute_and_store_features` for each feature.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import psutil  # noqa: E402

from machine import machine  # noqa: E402
from songs import SHARED_DATA, load_songs, repeated, write_dataset  # noqa: E402

PACKAGES = ("pyarrow", "pandas", "ray", "lhotse", "swift-f0")
SAMPLED_S = 0.1
POINTS_HZ = 100
MEL_HZ = 24_000


def features(wave: npt.NDArray[np.float32], sample_rate_hz: int) -> dict[str, npt.NDArray[Any]]:
    """Returns the log-mel (F, M) and the F0 (F,) of a mono wave (T,)."""
    return {"mel": mel(wave, sample_rate_hz), "f0_hz": pitch(wave, sample_rate_hz)}


def mel(wave: npt.NDArray[np.float32], sample_rate_hz: int) -> npt.NDArray[np.float16]:
    """Returns the log-mel (F, M) of a mono wave (T,)."""
    from autosing.signal.mel import MelSpec, log_mel
    from autosing.signal.resample import resample

    spec = MelSpec()
    n_frames = int(len(wave) / sample_rate_hz * spec.rate)
    return log_mel(resample(wave, sample_rate_hz, spec.sample_rate), spec, n_frames).astype(np.float16)


def of_bytes(audio: bytes) -> dict[str, bytes]:
    """Returns the features of an encoded song as bytes."""
    from autosing.signal.decode import decode, to_mono

    heard = decode(audio)
    return {name: values.tobytes() for name, values in features(to_mono(heard.samples), heard.sample_rate).items()}


def by_autosing(url: Path, out: Path) -> None:
    """Computes the columns beside the index."""
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.run import RunOptions, process
    from autosing.pipeline.settings import DatasetEntry, Project

    process(Dataset(str(url)), Project().graph(DatasetEntry(str(url))), ["mel", "f0"], RunOptions("local", workers=1))


def by_loop(url: Path, out: Path) -> None:
    """Reads a partition as one table and appends to a table of results row by row."""
    import pandas

    for index in sorted(url.glob("*/index.parquet")):
        songs = pandas.read_parquet(index)
        results = pandas.DataFrame()
        for _, song in songs.iterrows():
            row = pandas.DataFrame([{"id": song["id"], **of_bytes(song["audio"])}])
            results = pandas.concat([results, row], ignore_index=True)
        results.to_parquet(out / f"{index.parent.name}.parquet")


def by_datasets(url: Path, out: Path) -> None:
    """Maps a data set of Hugging Face over the rows."""
    import datasets

    files = [str(path) for path in sorted(url.glob("*/index.parquet"))]
    songs = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(out / "cache"))
    done = songs.map(lambda row: of_bytes(row["audio"]), remove_columns=[c for c in songs.column_names if c != "id"])
    done.to_parquet(out / "features.parquet")


def by_ray(url: Path, out: Path) -> None:
    """Maps a Ray Data set over the rows."""
    import ray

    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    files = [str(path) for path in sorted(url.glob("*/index.parquet"))]
    songs = ray.data.read_parquet(files, columns=["id", "audio"])
    songs.map(lambda row: {"id": row["id"], **of_bytes(row["audio"])}).write_parquet(str(out / "features"))
    ray.shutdown()


def by_lhotse(url: Path, out: Path) -> None:
    """Computes and stores each feature of recordings in files."""
    from lhotse import CutSet, NumpyFilesWriter, Recording, RecordingSet

    extractors = lhotse_extractors()
    files = sorted(path for path in (url.parent / "files").iterdir())
    recordings = RecordingSet.from_recordings(Recording.from_file(path, recording_id=path.name) for path in files)
    for name, extractor in extractors.items():
        # At a rate of which every hop is a whole number of samples, as lhotse asks for.
        cuts = CutSet.from_manifests(recordings=recordings).resample(MEL_HZ)
        done = cuts.compute_and_store_features(
            extractor, storage_path=out / name, num_jobs=1, storage_type=NumpyFilesWriter
        )
        done.to_file(out / f"{name}.jsonl.gz")


def lhotse_extractors() -> Mapping[str, Any]:
    """Returns what computes each feature the way that lhotse asks for."""
    from dataclasses import dataclass

    from lhotse.features.base import FeatureExtractor
    from lhotse.utils import compute_num_frames

    from autosing.signal.decode import to_mono
    from autosing.signal.mel import MelSpec

    @dataclass
    class Config:
        sampling_rate: int = MEL_HZ

    def extractor(key: str, shift_s: float, dim: int, of: Callable[..., Any]) -> Any:
        class Extractor(FeatureExtractor):
            name, config_type = key, Config
            frame_shift = shift_s

            def feature_dim(self, sampling_rate: int) -> int:
                return dim

            def extract(self, samples: Any, sampling_rate: int) -> Any:
                values = of(to_mono(np.asarray(samples, np.float32).T), sampling_rate)
                n_frames = compute_num_frames(samples.shape[-1] / sampling_rate, shift_s, sampling_rate)
                return np.pad(values, ((0, max(n_frames - len(values), 0)), (0, 0)), mode="edge")[:n_frames]

        return Extractor(Config())

    spec = MelSpec()
    return {
        "mel": extractor("autosing-mel", float(1 / spec.rate), spec.n_mels, mel),
        "f0": extractor("autosing-f0", 1 / POINTS_HZ, 1, lambda wave, rate: pitch(wave, rate)[:, None]),
    }


def pitch(wave: npt.NDArray[np.float32], sample_rate_hz: int) -> npt.NDArray[np.float32]:
    """Returns the F0 (F,) of a mono wave (T,)."""
    from autosing.signal.f0 import f0

    return f0(wave, sample_rate_hz, int(len(wave) / sample_rate_hz * POINTS_HZ)).f0_hz


ARMS = {"autosing": by_autosing, "loop": by_loop, "datasets": by_datasets, "ray": by_ray, "lhotse": by_lhotse}


class Memory:
    """The most that a process and its children have had together, in MB, watched from a thread."""

    def __init__(self, pid: int) -> None:
        self.peak_mb = 0.0
        self._process, self._ended = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> float:
        """Stops watching and returns the peak."""
        self._ended.set()
        self._thread.join()
        return self.peak_mb

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLED_S):
            total = 0
            try:
                for one in [self._process, *self._process.children(recursive=True)]:
                    total += one.memory_full_info().pss
            except psutil.Error:
                continue
            self.peak_mb = max(self.peak_mb, total / 1e6)


def measured(name: str, url: Path, scratch: Path) -> tuple[float, float, float]:
    """Runs an arm in a process of its own; returns seconds, CPU seconds of it and its children, and peak MB."""
    out = scratch / name
    out.mkdir()
    command = [sys.executable, __file__, "--arm", name, str(url), str(out)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    memory = Memory(process.pid)
    told, error = process.communicate()
    peak_mb, seconds = memory.end(), time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}:\n{error[-2000:]}")
    return seconds, float(told.splitlines()[-1]), peak_mb


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--data", type=Path, default=SHARED_DATA)
    parser.add_argument("--only", action="append", default=[], choices=list(ARMS))
    parser.add_argument("--arm", nargs=3, metavar=("NAME", "URL", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        name, url, out = options.arm
        ARMS[name](Path(url), Path(out))
        spent = psutil.Process().cpu_times()
        print(spent.user + spent.system + spent.children_user + spent.children_system)
        return
    print(machine(PACKAGES))
    found, what = load_songs(options.data)
    with tempfile.TemporaryDirectory() as scratch:
        url = Path(scratch, "songs")
        minutes = write_dataset(str(url), list(repeated(found, options.minutes)), options.partitions)
        write_files(url, Path(scratch, "files"))
        print(f"{minutes:.0f} minutes of {what}, {options.partitions} partitions")
        for name in options.only or ARMS:
            seconds, cpu_s, peak_mb = measured(name, url, Path(scratch))
            hours_per_hour = 60 * minutes / seconds
            print(f"{name:10} {seconds:7.1f} s {cpu_s:7.1f} CPU s {hours_per_hour:6.0f} audio-h/h", end=" ")
            print(f"{peak_mb:7.0f} MB", flush=True)


def write_files(url: Path, folder: Path) -> None:
    """Writes every song into a file of its own."""
    import pyarrow.parquet as pq

    folder.mkdir()
    for number, index in enumerate(sorted(url.glob("*/index.parquet"))):
        for row, audio in enumerate(pq.read_table(index, columns=["audio"])["audio"].to_pylist()):
            (folder / f"{number}-{row}.{suffix(audio)}").write_bytes(audio)


def suffix(audio: bytes) -> str:
    """Returns the usual name ending of an encoded song."""
    import soundfile

    return str(soundfile.info(io.BytesIO(audio)).format).lower()


if __name__ == "__main__":
    main()
