"""The order of an epoch: a list of batches that depends on nothing but seed, epoch, index, mixture and budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import DataError
from autosing.training.packing import Rows, pack

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


class Part(NamedTuple):
    """Samples `begin` to `end` are taken `weight` times per epoch: 2 is twice each, 0.25 a new quarter each time."""

    begin: int
    end: int
    weight: float


class Turns(NamedTuple):
    """Samples of an epoch (N,), which time each of them is taken in it, and the tar that it counts as, ascending."""

    samples: Indices
    turn: Indices
    shard: Indices


@dataclass(frozen=True)
class EpochPlan:
    """The batches of one epoch; batch `i` is `samples[begins[i]:ends[i]]`, each taken for the `turn`-th time in it."""

    samples: Indices
    turn: Indices
    begins: Indices
    ends: Indices

    def __len__(self) -> int:
        return len(self.begins)

    def batch(self, i: int) -> Indices:
        """Returns the sample indices of one batch."""
        return self.samples[self.begins[i] : self.ends[i]]

    def turns(self, i: int) -> Indices:
        """Returns which time in the epoch each sample of a batch is taken, from 0."""
        return self.turn[self.begins[i] : self.ends[i]]


def plan_epoch(
    shard: Indices,
    seconds: npt.NDArray[np.float32],
    seed: int,
    epoch: int,
    budget_s: float,
    microbatches: int = 1,
    mixture: Sequence[Part] = (),
    rows: Rows | None = None,
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
        mixture: how often the samples of each part are taken, instead of once.
        rows: that hold several samples each, of any lengths: batches are as many as fit, in the rows' order.

    Raises:
        DataError: there are fewer samples than `microbatches`.
    """
    taken = _taken(shard, seed, epoch, mixture)
    shard, seconds = taken.shard, seconds[taken.samples]
    if len(shard) < microbatches:
        raise DataError(
            f"the split has {len(shard)} samples an epoch, fewer than the {microbatches} microbatches of one step; "
            "use fewer microbatches, or build a larger set"
        )
    # Raw bits rather than a Generator's permutation: their sequence is the same in every version of NumPy.
    bits = np.random.PCG64([seed, epoch])
    window = _windows(bits, shard)
    bucket = np.floor(np.log(np.maximum(seconds, 1e-3)) / np.log(BUCKET_RATIO)).astype(np.int64)
    bucket -= bucket.min()
    blocks = _block_order(bits, shard, window)
    if rows is not None:
        order, begins = _in_rows(window[blocks], seconds[blocks], rows)
        return _shuffled(bits, taken, window, blocks[order], (begins, np.append(begins[1:], len(order))), microbatches)
    group = (window * (bucket.max() + 1) + bucket)[blocks]
    order = blocks[np.argsort(group, kind="stable")]
    cut = _cut(window[order], bucket[order], seconds[order], budget_s)
    return _shuffled(bits, taken, window, order, cut, microbatches)


def rank_rows(n_batches: int, start: int, rank: int, ranks: int) -> range:
    """Returns which batches of an epoch a rank takes from global batch `start` on: every `ranks`-th."""
    return range(start + rank, n_batches, ranks)


def _shuffled(
    bits: np.random.PCG64,
    taken: Turns,
    window: Indices,
    order: Indices,
    cut: tuple[Indices, Indices],
    microbatches: int,
) -> EpochPlan:
    """Returns batches, shuffled inside their window, as many as steps can be made of."""
    begins, ends = _round_up(*cut, microbatches)
    shuffled = np.lexsort((_random(bits, len(begins)), window[order][begins]))
    shuffled = shuffled[: len(begins) - len(begins) % microbatches]
    return EpochPlan(taken.samples[order], taken.turn[order], begins[shuffled], ends[shuffled])


def _in_rows(window: Indices, seconds: npt.NDArray[np.float32], rows: Rows) -> tuple[Indices, Indices]:
    """Returns an order of samples that are sorted by window, and where batches of full rows begin in it."""
    borders = np.flatnonzero(np.diff(window)) + 1
    orders, begins = [], []
    for first, end in zip((0, *borders.tolist()), (*borders.tolist(), len(window)), strict=True):
        order, of_window = pack(seconds[first:end], rows)
        orders.append(first + order)
        begins.append(first + of_window)
    return np.concatenate(orders), np.concatenate(begins)


def _random(bits: np.random.PCG64, n: int) -> npt.NDArray[np.uint64]:
    return np.asarray(bits.random_raw(n), dtype=np.uint64)


def _taken(shard: Indices, seed: int, epoch: int, mixture: Sequence[Part]) -> Turns:
    """Returns the samples of an epoch; a tar whose samples are taken again counts as another tar.

    So the second time comes elsewhere in the epoch, with other neighbours.
    """
    if not mixture or all(part.weight == 1 for part in mixture):
        return Turns(np.arange(len(shard)), np.zeros(len(shard), np.int64), shard)
    pieces = [(np.arange(0), 0)]
    for number, part in enumerate(mixture):
        whole, share = int(part.weight), part.weight % 1
        pieces += [(np.arange(part.begin, part.end), turn) for turn in range(whole)]
        stretch = _stretch(shard[part.begin : part.end], (seed, number), share, epoch)
        pieces.append((part.begin + stretch, whole))
    samples = np.concatenate([indices for indices, _ in pieces])
    turn = np.concatenate([np.full(len(indices), turn) for indices, turn in pieces])
    _, counted = np.unique(turn * (shard[-1] + 1) + shard[samples], return_inverse=True)
    order = np.argsort(counted, kind="stable")
    return Turns(samples[order], turn[order], counted[order])


def _stretch(shard: Indices, seed: tuple[int, int], share: float, epoch: int) -> Indices:
    """Returns a share of the samples, ascending: whole tars, one after the other in an order that all epochs have.

    Epochs go on where the last one ended, so over many of them each sample is taken equally often.
    """
    n_shards = int(shard[-1]) + 1
    place = _random(np.random.PCG64([*seed, 2**32]), n_shards)[shard]
    order = np.argsort(place, kind="stable")
    begin, end = (int(share * len(shard) * e) for e in (epoch, epoch + 1))
    return np.sort(order[np.arange(begin, end) % len(shard)])


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
