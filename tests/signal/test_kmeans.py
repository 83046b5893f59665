"""Out-of-core k-means against separated blobs, FAISS in memory and hand-written counts."""

import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pytest

from autosing.signal.errors import RowError, UsageError
from autosing.signal.frame_spill import BLOCK_FRAMES, FrameSpill
from autosing.signal.kmeans import assign, check_faiss_wheels, fit_codebook

Float32s = npt.NDArray[np.float32]


@contextmanager
def _spilled(songs: Sequence[npt.NDArray[np.floating]]) -> Iterator[FrameSpill]:
    with FrameSpill() as spill:
        for song in songs:
            spill.append(song)
        yield spill


def _blobs(n_frames: int, centres: Float32s, spread: float, seed: int = 0) -> Float32s:
    rng = np.random.default_rng(seed)
    of_blob = rng.integers(0, len(centres), n_frames)
    frames: Float32s = (centres[of_blob] + spread * rng.normal(size=(n_frames, centres.shape[1]))).astype(np.float32)
    return frames


def _corners() -> Float32s:
    return np.array([[x, y, z] for x in (-9, 9) for y in (-9, 9) for z in (-9, 9)], np.float32)


def _sorted(rows: Float32s) -> Float32s:
    return rows[np.lexsort(rows.round(0).T)]


def test_separated_blobs_are_recovered() -> None:
    frames = _blobs(4000, _corners(), 0.3)
    with _spilled([frames]) as spill:
        centroids, statistics = fit_codebook(spill, 8)
    np.testing.assert_allclose(_sorted(centroids), _sorted(_corners()), atol=0.1)
    assert statistics.inertia == pytest.approx(3 * 0.3**2, rel=0.05)
    assert (statistics.dead, statistics.used) == (0, 1.0)
    assert statistics.entropy_bits == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_out_of_core_is_within_one_percent_of_faiss_in_memory(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = (rng.normal(size=(3 * BLOCK_FRAMES + 7, 8)) @ rng.normal(size=(8, 8))).astype(np.float32)
    with _spilled(np.array_split(frames, 9)) as spill:
        _, statistics = fit_codebook(spill, 32, seed)
    whole = faiss.Kmeans(8, 32, niter=50, seed=seed, max_points_per_centroid=len(frames))
    inertia = whole.train(frames) / len(frames)
    print(f"inertia: out of core {statistics.inertia:.4f}, in memory {inertia:.4f}")
    assert statistics.inertia <= 1.01 * inertia


def test_the_inertia_told_is_that_of_the_codebook_returned() -> None:
    frames = _blobs(BLOCK_FRAMES + 100, _corners(), 4.0)
    with _spilled([frames]) as spill:
        centroids, statistics = fit_codebook(spill, 20)
    distance = np.square(frames - centroids[assign(frames, centroids)]).sum(axis=1).mean()
    assert statistics.inertia == pytest.approx(distance, rel=1e-4)


def test_the_same_seed_gives_the_same_codebook_and_another_seed_another() -> None:
    frames = _blobs(3000, _corners(), 6.0)
    fits = []
    for seed in (3, 3, 4):
        with _spilled([frames]) as spill:
            fits.append(fit_codebook(spill, 16, seed)[0])
    assert np.array_equal(fits[0], fits[1])
    assert not np.array_equal(fits[0], fits[2])


def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    song = _blobs(4000, _corners(), 3.0).repeat(8, axis=1)
    peaks = []
    for n_songs in (40, 160):
        with _spilled([song] * n_songs) as spill:
            tracemalloc.start()
            fit_codebook(spill, 8)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    print(f"peak {peaks[0] / 2**20:.1f} MiB at 160k frames, {peaks[1] / 2**20:.1f} MiB at 640k (61 MiB of frames)")
    assert peaks[1] < 1.2 * peaks[0] < 20 * 2**20


def test_a_cosine_codebook_clusters_directions_whatever_the_length() -> None:
    rng = np.random.default_rng(0)
    directions = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 2000)] + 0.05 * rng.normal(size=(2000, 4))
    frames = (directions * rng.uniform(0.1, 50, (2000, 1))).astype(np.float32)
    with _spilled([frames, np.zeros((5, 4), np.float32)]) as spill:
        centroids, statistics = fit_codebook(spill, 4, cosine=True)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.sort(centroids.max(axis=1)), 1, atol=0.01)
    assert np.array_equal(assign(frames, centroids), np.argmax(frames @ centroids.T, axis=1))
    assert statistics.dead == 0


def test_frames_that_differ_less_than_there_are_codes_leave_dead_codes() -> None:
    frames = np.repeat(_corners(), 50, axis=0)
    with _spilled([frames]) as spill:
        centroids, statistics = fit_codebook(spill, 20)
    assert np.isfinite(centroids).all()
    assert statistics.inertia == pytest.approx(0, abs=1e-3)
    assert statistics.dead >= 12


def test_the_change_rate_counts_pairs_inside_songs_only() -> None:
    low, high = np.zeros((3, 2), np.float32), np.full((3, 2), 9, np.float32)
    with _spilled([low, np.zeros((0, 2), np.float32), high, np.concatenate([low, high])]) as spill:
        _, statistics = fit_codebook(spill, 2)
    assert statistics.change_rate == pytest.approx(1 / (2 + 2 + 5))


def test_blocks_and_samples_give_the_frames_back(tmp_path: Path) -> None:
    frames = np.arange(2 * (BLOCK_FRAMES + 10), dtype=np.float32).reshape(-1, 2)
    with FrameSpill(tmp_path) as spill:
        spill.append(frames[:100])
        spill.append(frames[100:])
        assert np.array_equal(np.concatenate(list(spill.blocks())), frames)
        sample = spill.sample(500, np.random.default_rng(0))
    assert len(np.unique(sample[:, 0])) == 500
    assert np.isin(sample[:, 0], frames[:, 0]).all()
    assert np.array_equal(sample[:, 1] - sample[:, 0], np.ones(500))
    assert not list(tmp_path.iterdir())


def test_assigning_a_song_in_parts_changes_nothing() -> None:
    frames, codebook = _blobs(999, _corners(), 5.0), _blobs(300, _corners(), 5.0, seed=1)
    whole = assign(frames.astype(np.float16), codebook)
    parts = [assign(part, codebook) for part in np.array_split(frames.astype(np.float16), 7)]
    assert whole.dtype == np.uint16
    assert np.array_equal(whole, np.concatenate(parts))
    distances = np.square(frames[:, None].astype(np.float16).astype(np.float64) - codebook).sum(axis=2)
    assert np.array_equal(whole, distances.argmin(axis=1))


def test_a_song_without_frames_has_no_codes() -> None:
    assert assign(np.zeros((0, 3), np.float32), _corners()).shape == (0,)


def test_frames_of_another_width_or_not_finite_are_row_errors() -> None:
    with pytest.raises(RowError, match="width 3"):
        assign(np.zeros((4, 5), np.float32), _corners())
    with pytest.raises(RowError, match="not finite"):
        assign(np.full((1, 3), np.nan, np.float32), _corners())


def test_what_cannot_be_fitted_is_told() -> None:
    with _spilled([_corners()]) as spill:
        with pytest.raises(UsageError, match="8 frames are too few for k=9"):
            fit_codebook(spill, 9)
        with pytest.raises(UsageError, match="1 to 65536"):
            fit_codebook(spill, 70000)
        with pytest.raises(UsageError, match="4 numbers a frame, those before 3"):
            spill.append(np.zeros((2, 4), np.float32))
        with pytest.raises(UsageError, match="not finite"):
            spill.append(np.full((2, 3), np.inf, np.float32))


def test_no_faiss_and_two_of_them_tell_what_to_type() -> None:
    check_faiss_wheels(["faiss-cpu"])
    check_faiss_wheels(["faiss-gpu"])
    with pytest.raises(UsageError, match=r"autosing\[cpu\].*autosing\[gpu\]"):
        check_faiss_wheels([])
    with pytest.raises(UsageError, match="pip uninstall -y faiss-cpu faiss-gpu && pip install"):
        check_faiss_wheels(["faiss-gpu", "faiss-cpu"])
