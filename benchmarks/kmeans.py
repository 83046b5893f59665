"""Time and inertia of the out-of-core k-means against scikit-learn's MiniBatchKMeans as SingOMD runs it.

    python benchmarks/kmeans.py [FOLDER OF RECORDINGS]
    python benchmarks/kmeans.py large [FRAMES]

`large` clusters 5 million frames of 256 numbers, made block by block, into 1024, and prints the most memory it had.

With recordings the frames are their MFCCs (39 numbers) and MFCCs of seven neighbouring frames (256 of 273 numbers);
without, a mixture of Gaussians. One thread in each arm. Times are CPU seconds, so that a busy machine changes no ratio;
ours hold the spill to disk.
"""

import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from autosing.signal.decode import decode, to_mono
from autosing.signal.errors import RowError
from autosing.signal.frame_spill import FrameSpill
from autosing.signal.kmeans import assign, fit_codebook
from autosing.signal.mfcc import mfcc
from machine import peak_mb

Frames = npt.NDArray[np.float32]

CASES = ((60_000, 39, 256), (10_000, 256, 100), (20_000, 39, 1024))
SONG_FRAMES = 3000
AUDIO = {".wav", ".flac", ".mp3", ".ogg", ".m4a"}


def main() -> None:
    """Prints machine, times, inertias and their ratios."""
    torch.set_num_threads(1)
    print(f"machine: {_cpu()}, one thread in each arm")
    if sys.argv[1:2] == ["large"]:
        _large(int(sys.argv[2]) if len(sys.argv) > 2 else 5_000_000)
        return
    recorded = _recorded(Path(sys.argv[1]), CASES[0][0]) if len(sys.argv) > 1 else None
    for n_frames, dim, k in CASES:
        frames = _mixture(n_frames, dim) if recorded is None else _spliced(recorded, n_frames, dim)
        what = "mixture of Gaussians" if recorded is None else "MFCC of recordings"
        ours_s, ours = _ours(frames, k)
        theirs_s, theirs = _singomd(frames, k)
        print(
            f"{len(frames)} x {dim}, k={k}, {what}: autosing {ours_s:.1f} s, inertia {ours:.3f}; "
            f"MiniBatchKMeans {theirs_s:.1f} s, inertia {theirs:.3f}; "
            f"ratio of time {ours_s / theirs_s:.3f}, of inertia {ours / theirs:.4f}",
            flush=True,
        )


def _ours(frames: Frames, k: int) -> tuple[float, float]:
    started = time.process_time()
    with FrameSpill() as spill:
        for first in range(0, len(frames), SONG_FRAMES):
            spill.append(frames[first : first + SONG_FRAMES])
        centroids, _ = fit_codebook(spill, k)
    return time.process_time() - started, _inertia(frames, centroids)


def _large(n_frames: int) -> None:
    block = 100_000
    with FrameSpill() as spill:
        for first in range(0, n_frames, block):
            spill.append(_mixture(min(block, n_frames - first), 256, seed=first))
        before, started, began = peak_mb(), time.process_time(), time.perf_counter()
        _, fits = fit_codebook(spill, 1024)
    spent, waited = time.process_time() - started, time.perf_counter() - began
    print(
        f"{n_frames} x 256 ({n_frames * 1024 / 2**30:.1f} GiB as float32), k=1024: {spent:.0f} CPU s, {waited:.0f} s, "
        f"{fits.passes} passes, inertia {fits.inertia:.3f}, used {100 * fits.used:.1f} %, entropy "
        f"{fits.entropy_bits:.2f} bit; most memory {peak_mb():.0f} MB, {before:.0f} MB before"
    )


def _singomd(frames: Frames, k: int) -> tuple[float, float]:
    """SingOMD's settings: facts/reference_systems.md, section 5.2."""
    model = MiniBatchKMeans(
        k, init="k-means++", batch_size=10_000, max_iter=100, n_init=20, max_no_improvement=100, tol=0,
        reassignment_ratio=0, random_state=0,
    )  # fmt: skip
    started = time.process_time()
    with threadpool_limits(1):
        model.fit(frames)
    return time.process_time() - started, _inertia(frames, model.cluster_centers_.astype(np.float32))


def _inertia(frames: Frames, centroids: Frames) -> float:
    blocks = np.array_split(frames, max(len(frames) // 10_000, 1))
    return sum(float(np.square(b - centroids[assign(b, centroids)], dtype=np.float64).sum()) for b in blocks) / len(
        frames
    )


def _mixture(n_frames: int, dim: int, seed: int = 0) -> Frames:
    """Frames that stay with one of 400 overlapping Gaussians for five frames."""
    centres = np.random.default_rng(0).normal(size=(400, dim)) * np.linspace(3, 0.3, dim)
    rng = np.random.default_rng(1 + seed)
    stays = np.repeat(rng.integers(0, 400, n_frames // 5 + 1), 5)[:n_frames]
    frames: Frames = (centres[stays] + rng.normal(size=(n_frames, dim)) * np.linspace(1.5, 0.3, dim)).astype(np.float32)
    return frames


def _recorded(folder: Path, n_frames: int) -> Frames:
    """Returns the MFCCs of recordings, at most two minutes of each, until there are enough."""
    series, total = [], 0
    for path in _audio_files(folder):
        try:
            audio = decode(path.read_bytes())
        except RowError:
            continue
        wave = to_mono(audio.samples)[: 120 * audio.sample_rate]
        series.append(mfcc(wave, audio.sample_rate, round(50 * len(wave) / audio.sample_rate)))
        total += len(series[-1])
        if total >= n_frames:
            break
    return np.concatenate(series)[:n_frames]


def _audio_files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO and "broken" not in path.parts)


def _spliced(mfccs: Frames, n_frames: int, dim: int) -> Frames:
    if dim <= mfccs.shape[1]:
        return mfccs[:n_frames, :dim]
    neighbours = [np.roll(mfccs, -shift, axis=0) for shift in range(-(-dim // mfccs.shape[1]))]
    return np.ascontiguousarray(np.concatenate(neighbours, axis=1)[:n_frames, :dim])


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores"


if __name__ == "__main__":
    main()
