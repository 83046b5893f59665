"""K-means out of core with FAISS: frames lie on disk, centroids are refined block by block.

Memory holds one block, one bounded sample and the centroids, however many frames there are. The same frames and seed
give the same codebook.
"""

import functools
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import RowError, UsageError
from autosing.signal.frame_spill import FrameSpill

Floats = npt.NDArray[np.floating[Any]]
Float32s = npt.NDArray[np.float32]

CPU_WHEEL = "faiss-cpu"
GPU_WHEELS = ("faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11")
LARGEST_K = 1 << 16
LARGEST_SEED = (1 << 31) - 1
SAMPLE_FRAMES_PER_CENTROID = 256
SAMPLE_BYTES = 256 << 20
START_FRAMES_PER_CENTROID = 64
SAMPLE_ITERATIONS = 25
LARGEST_PASSES = 30
SMALLEST_GAIN = 3e-4
"""Relative fall of the inertia below which another pass over all frames is not worth its time."""


@dataclass(frozen=True)
class CodebookStatistics:
    """How a codebook fits the frames it was fitted on.

    Args:
        frames: number of frames.
        inertia: mean squared distance of a frame to its centroid (of unit frames for a cosine codebook).
        used: share of the codes that some frame has.
        dead: number of codes that no frame has.
        entropy_bits: entropy of the codes; log2(K) when all are equally frequent.
        change_rate: share of successive frames of a song whose codes differ.
        passes: passes over all frames.
    """

    frames: int
    inertia: float
    used: float
    dead: int
    entropy_bits: float
    change_rate: float
    passes: int


def check_choice(what: str, k: int, seed: int) -> None:
    """Checks what `fit_codebook` is asked for, before there are frames.

    Args:
        what: who asks, for the message.
        k: number of centroids.
        seed: of everything that is drawn.

    Raises:
        UsageError: more centroids than uint16 can name, none, or a seed that FAISS does not take.
    """
    if not 1 <= k <= LARGEST_K:
        raise UsageError(f"{what}: k={k}; it must be 1 to {LARGEST_K}")
    if not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"{what}: seed={seed}; it must be 0 to {LARGEST_SEED}")


def fit_codebook(
    spill: FrameSpill, k: int, seed: int = 0, cosine: bool = False, threads: int = 1
) -> tuple[Float32s, CodebookStatistics]:
    """Returns the centroids (K, D) of all spilled frames and how they fit.

    K-means++ and FAISS start on a sample; Lloyd's iterations over all frames follow until they hardly gain. A centroid
    without frames is put where the sample fits worst (drawn by squared distance, as k-means++ does).

    Args:
        spill: the frames.
        k: number of centroids.
        seed: of the sample and of FAISS.
        cosine: cluster directions; the centroids have length 1.
        threads: CPU threads; a GPU is used where FAISS has one.

    Raises:
        UsageError: as `check_choice`; fewer frames than centroids; or no usable FAISS.
    """
    check_choice("k-means", k, seed)
    if spill.n_frames < k:
        raise UsageError(f"k-means: {spill.n_frames} frames are too few for k={k}; lower k or fit on more audio")
    rng = np.random.default_rng(seed)
    with _threads(threads):
        sample = _prepared(spill.sample(_sample_size(spill, k), rng), cosine)
        centroids = _start(sample, k, seed, cosine, rng)
        tally, passes, gain = _sweep(spill, centroids, cosine), 1, 1.0
        while gain > SMALLEST_GAIN and passes < LARGEST_PASSES:
            before = tally.inertia
            centroids = _moved(tally, centroids, sample, cosine, rng)
            tally, passes = _sweep(spill, centroids, cosine), passes + 1
            gain = 1 - tally.inertia / before if before else 0.0
    return centroids, tally.statistics(passes)


def assign(frames: Floats, codebook: Float32s) -> npt.NDArray[np.uint16]:
    """Returns the nearest centroid of each frame: (F, D), (K, D) -> (F,), always on the CPU with one thread.

    A cosine codebook needs no other rule: among centroids of length 1 the nearest has the greatest cosine.

    Raises:
        RowError: the frames are of another width, or not finite.
        UsageError: there is no usable FAISS.
    """
    if frames.ndim != 2 or frames.shape[1] != codebook.shape[1]:
        raise RowError(f"frames of shape {frames.shape} do not fit a codebook of width {codebook.shape[1]}")
    with _threads(1):
        _, codes = _index(codebook, gpus=0).search(np.ascontiguousarray(frames, np.float32), 1)
    if len(codes) and codes.min() < 0:
        raise RowError("a frame is not finite and has no nearest centroid")
    nearest: npt.NDArray[np.uint16] = codes[:, 0].astype(np.uint16)
    return nearest


def check_faiss_wheels(installed: Collection[str]) -> None:
    """Checks which FAISS wheels are installed; they own the same folder and overwrite each other.

    Raises:
        UsageError: none or several; the message says the command that mends it.
    """
    found = [wheel for wheel in (CPU_WHEEL, *GPU_WHEELS) if wheel in installed]
    if not found:
        raise UsageError("FAISS is not installed; install it with: pip install 'autosing[cpu]' (or 'autosing[gpu]')")
    if len(found) > 1:
        raise UsageError(
            f"{' and '.join(found)} are both installed and overwrite each other; mend it with: "
            f"pip uninstall -y {' '.join(found)} && pip install 'autosing[cpu]' (or 'autosing[gpu]')"
        )


@dataclass(frozen=True)
class _Tally:
    """One pass over all frames: what the centroids got."""

    sums: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    squared_distance: float
    changes: int
    pairs: int

    @property
    def inertia(self) -> float:
        return self.squared_distance / int(self.counts.sum())

    def statistics(self, passes: int) -> CodebookStatistics:
        share = self.counts[self.counts > 0] / self.counts.sum()
        return CodebookStatistics(
            frames=int(self.counts.sum()),
            inertia=self.inertia,
            used=len(share) / len(self.counts),
            dead=len(self.counts) - len(share),
            entropy_bits=abs(float(share @ np.log2(share))),
            change_rate=self.changes / max(self.pairs, 1),
            passes=passes,
        )


def _sweep(spill: FrameSpill, centroids: Float32s, cosine: bool) -> _Tally:
    k, index = len(centroids), _index(centroids, _faiss().get_num_gpus())
    sums, counts = np.zeros((k, spill.dim)), np.zeros(k, np.int64)
    starts, position, last = spill.song_starts(), 0, 0
    squared_distance, changes = 0.0, 0
    for raw in spill.blocks():
        block = _prepared(raw, cosine)
        distances, found = index.search(block, 1)
        codes = found[:, 0]
        sums += _sums(block, codes, k)
        counts += np.bincount(codes, minlength=k)
        squared_distance += float(distances.sum(dtype=np.float64))
        differs = np.diff(codes, prepend=last) != 0
        differs[starts[(starts >= position) & (starts < position + len(codes))] - position] = False
        changes += int(differs.sum())
        position, last = position + len(codes), int(codes[-1])
    return _Tally(sums, counts, squared_distance, changes, spill.n_frames - len(starts))


def _sums(frames: Float32s, codes: npt.NDArray[np.int64], k: int) -> Float32s:
    """Returns the sum of the frames of each code, (K, D), by a product with the sparse one-hot matrix (K, F)."""
    from scipy.sparse import csc_array

    one_hot = csc_array((np.ones(len(codes), np.float32), codes, np.arange(len(codes) + 1)), shape=(k, len(codes)))
    sums: Float32s = one_hot @ frames
    return sums


def _moved(tally: _Tally, centroids: Float32s, sample: Float32s, cosine: bool, rng: np.random.Generator) -> Float32s:
    """Returns the means of the frames of each centroid; centroids without frames go where the sample fits worst."""
    alive = tally.counts > 0
    moved = centroids.copy()
    moved[alive] = _prepared((tally.sums[alive] / tally.counts[alive, None]).astype(np.float32), cosine)
    if not alive.all():
        distances, _ = _index(moved[alive], _faiss().get_num_gpus()).search(sample, 1)
        misfit = np.maximum(distances[:, 0].astype(np.float64), 0)
        dead = np.flatnonzero(~alive)[: np.count_nonzero(misfit)]
        if len(dead):
            moved[dead] = sample[rng.choice(len(sample), len(dead), replace=False, p=misfit / misfit.sum())]
    return moved


def _start(sample: Float32s, k: int, seed: int, cosine: bool, rng: np.random.Generator) -> Float32s:
    """Returns centroids from scikit-learn's greedy k-means++ on a few frames, refined by FAISS on the sample.

    FAISS's own ways to begin end in optima with 2 to 4 % more inertia.
    """
    from sklearn.cluster import kmeans_plusplus

    faiss = _faiss()
    few = rng.choice(len(sample), min(START_FRAMES_PER_CENTROID * k, len(sample)), replace=False)
    first, _ = kmeans_plusplus(sample[few], k, random_state=seed)
    clustering = faiss.Kmeans(
        sample.shape[1], k, niter=SAMPLE_ITERATIONS, seed=seed, spherical=cosine, gpu=faiss.get_num_gpus(),
        min_points_per_centroid=1, max_points_per_centroid=len(sample),
    )  # fmt: skip
    clustering.train(sample, init_centroids=np.ascontiguousarray(first, np.float32))
    return _prepared(clustering.centroids, cosine)


def _sample_size(spill: FrameSpill, k: int) -> int:
    affordable = max(SAMPLE_BYTES // (4 * spill.dim), k)
    return min(spill.n_frames, SAMPLE_FRAMES_PER_CENTROID * k, affordable)


def _prepared(frames: Float32s, cosine: bool) -> Float32s:
    """Returns the frames as they are clustered: at length 1 for a cosine codebook, zeros left alone."""
    if not cosine:
        return frames
    lengths = np.linalg.norm(frames, axis=1, keepdims=True)
    unit: Float32s = frames / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def _index(centroids: Float32s, gpus: int) -> Any:
    faiss = _faiss()
    index = faiss.IndexFlatL2(centroids.shape[1])
    if gpus:
        index = faiss.index_cpu_to_all_gpus(index, ngpu=gpus)
    index.add(np.ascontiguousarray(centroids, np.float32))
    return index


@contextmanager
def _threads(count: int) -> Iterator[None]:
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@functools.cache
def _faiss() -> ModuleType:
    check_faiss_wheels([wheel for wheel in (CPU_WHEEL, *GPU_WHEELS) if _is_installed(wheel)])
    import faiss

    module: ModuleType = faiss
    return module


def _is_installed(wheel: str) -> bool:
    try:
        distribution(wheel)
    except PackageNotFoundError:
        return False
    return True
