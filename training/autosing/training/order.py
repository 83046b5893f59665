"""The order of an epoch: a list of batches that depends on nothing but seed, epoch, index and budget."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import DataError

Indices = npt.NDArray[np.int64]

# Neighbouring duration buckets differ by this factor, so padding is at most a fifth of a batch.
BUCKET_RATIO = 1.25
# Tars that are read at the same time: what is shuffled together.
WINDOW_TARS = 16
# Neighbouring samples of a tar that stay together: what is read at one stretch.
BLOCK_SAMPLES = 8


class Position(NamedTuple):
    """Where a run is in its data: the epoch, and how many global batches of it are consumed."""

    epoch: int
    batches: int


START = Position(0, 0)


@dataclass(frozen=True)
class EpochPlan:
    """The batches of one epoch; batch `i` is `samples[begins[i]:ends[i]]`."""

    samples: Indices
    begins: Indices
    ends: Indices

    def __len__(self) -> int:
        return len(self.begins)

    def batch(self, i: int) -> Indices:
        """Returns the sample indices of one batch."""
        return self.samples[self.begins[i] : self.ends[i]]


def plan_epoch(
    shard: Indices, seconds: npt.NDArray[np.float32], seed: int, epoch: int, budget_s: float, microbatches: int = 1
) -> EpochPlan:
    """Returns every sample once, in shuffled batches of about equal length within `budget_s` seconds after padding.

    Tars are permuted; within a window of tars blocks of neighbours are permuted, sorted into duration buckets and cut
    into batches, and the batches are shuffled. A sample longer than the budget is a batch of its own. The largest
    batches are halved until their count is a multiple of `microbatches`, so no sample is left out or repeated; only
    where single samples are all there is to halve, up to `microbatches - 1` of them sit out the epoch.

    Args:
        shard: the tar of each sample (N,), ascending.
        seconds: the length of each sample (N,).
        seed: of the run.
        epoch: from 0.
        budget_s: the most seconds in a batch, counted with padding.
        microbatches: batches per step over all ranks.

    Raises:
        DataError: there are fewer samples than `microbatches`.
    """
    if len(shard) < microbatches:
        raise DataError(
            f"the split has {len(shard)} samples, fewer than the {microbatches} microbatches of one step; "
            "use fewer ranks or microbatches, or build a larger set"
        )
    # Raw bits rather than a Generator's permutation: their sequence is the same in every version of NumPy.
    bits = np.random.PCG64([seed, epoch])
    window = _windows(bits, shard)
    bucket = np.floor(np.log(np.maximum(seconds, 1e-3)) / np.log(BUCKET_RATIO)).astype(np.int64)
    bucket -= bucket.min()
    blocks = _block_order(bits, shard, window)
    group = (window * (bucket.max() + 1) + bucket)[blocks]
    samples = blocks[np.argsort(group, kind="stable")]
    begins, ends = _cut(window[samples], bucket[samples], seconds[samples], budget_s)
    begins, ends = _round_up(begins, ends, microbatches)
    shuffled = np.lexsort((_random(bits, len(begins)), window[samples][begins]))
    shuffled = shuffled[: len(begins) - len(begins) % microbatches]
    return EpochPlan(samples, begins[shuffled], ends[shuffled])


def rank_rows(n_batches: int, start: int, rank: int, ranks: int) -> range:
    """Returns which batches of an epoch a rank takes from global batch `start` on: every `ranks`-th."""
    return range(start + rank, n_batches, ranks)


def _random(bits: np.random.PCG64, n: int) -> npt.NDArray[np.uint64]:
    return np.asarray(bits.random_raw(n), dtype=np.uint64)


def _windows(bits: np.random.PCG64, shard: Indices) -> Indices:
    """Returns the window of each sample (N,): its tar's place in the permuted order, in groups of tars."""
    n_shards = int(shard[-1]) + 1
    place = np.empty(n_shards, np.int64)
    place[np.argsort(_random(bits, n_shards), kind="stable")] = np.arange(n_shards)
    return (place // WINDOW_TARS)[shard]


def _block_order(bits: np.random.PCG64, shard: Indices, window: Indices) -> Indices:
    """Returns the samples with their blocks permuted inside their window.

    Where a tar's blocks begin changes with every epoch, or the same neighbours would always meet in a batch.
    """
    n_shards = int(shard[-1]) + 1
    count = np.bincount(shard, minlength=n_shards)
    first = np.cumsum(count) - count
    phase = (_random(bits, n_shards) % np.uint64(BLOCK_SAMPLES)).astype(np.int64)
    block = (np.arange(len(shard)) - first[shard] + phase[shard]) // BLOCK_SAMPLES
    blocks_before = np.cumsum((count + phase) // BLOCK_SAMPLES + 1)
    block += np.concatenate([[0], blocks_before[:-1]])[shard]
    place = _random(bits, int(blocks_before[-1]))[block] >> np.uint64(20)
    return np.argsort((window.astype(np.uint64) << np.uint64(44)) | place, kind="stable")


def _cut(
    window: Indices, bucket: Indices, seconds: npt.NDArray[np.float32], budget_s: float
) -> tuple[Indices, Indices]:
    """Returns begin and end of each batch over samples sorted by window and bucket.

    All full batches of a bucket have the same number of samples. What is left of a bucket joins the next longer one,
    so few batches are not full; where that one is empty it stays a batch, or it would be mostly padding.
    """
    longest = np.zeros(int(bucket.max()) + 1)
    np.maximum.at(longest, bucket, seconds)
    sizes = np.maximum(budget_s // np.maximum(longest, 1e-3), 1).astype(np.int64)
    turns = np.flatnonzero(np.diff(window) | np.diff(bucket)) + 1
    begins, start = [], 0
    for end in (*turns.tolist(), len(window)):
        size = int(sizes[bucket[end - 1]])
        rest = end - (end - start) % size
        joins = rest < end < len(window) and window[end] == window[rest] and bucket[end] == bucket[rest] + 1
        full = rest if joins else end
        begins.append(np.arange(start, full, size))
        start = full
    first = np.concatenate(begins)
    return first, np.append(first[1:], len(window))


def _round_up(begins: Indices, ends: Indices, multiple: int) -> tuple[Indices, Indices]:
    """Returns the batches with the largest halved until their count is a multiple of `multiple`, if it can be."""
    while missing := -len(begins) % multiple:
        sizes = ends - begins
        halved = np.argsort(-sizes, kind="stable")[:missing]
        halved = halved[sizes[halved] > 1]
        if not len(halved):
            break
        middle = begins[halved] + sizes[halved] // 2
        begins, ends = np.concatenate([begins, middle]), np.concatenate([ends, ends[halved]])
        ends[halved] = middle
    return begins, ends
