"""Reads batches ahead, in a thread or in processes; where a run is depends only on what it has consumed."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import AutosingError
from autosing.training.order import EpochPlan, Indices, Position, plan_epoch, rank_rows
from autosing.training.sample import Sample
from autosing.training.shards import ShardSet

# Batches that wait per worker: one being consumed elsewhere, one ready, so a slow read stalls nobody.
AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """Samples laid side by side.

    Attributes:
        arrays: by name, the first axis is the batch (B, ...).
        counts: by loss, how many elements it sums over; known from the data alone, before any model runs.
        keys: of the samples.
        seconds: of audio, without padding.
        tokens: that a sequence model reads, without padding; 0 where it reads none.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    counts: Mapping[str, int]
    keys: tuple[str, ...]
    seconds: float
    tokens: int = 0


class Delivery(NamedTuple):
    """A batch, where the run is once every rank has consumed one, and which of the epoch's batches it is."""

    batch: Batch
    after: Position
    row: int


Collate = Callable[[Sequence[Sample]], Batch]


@dataclass(frozen=True)
class Reading:
    """How the samples of a split become batches; the same fields give the same batches everywhere.

    Attributes:
        shards: the split.
        columns: the series that are read.
        collate: lays samples side by side.
        seed: of the order and of each sample's randomness.
        budget_s: the most seconds in a batch, padding included.
        microbatches: batches per step over all ranks.
        crop_s: longer samples are read as a random stretch of this length; 0 reads them whole.
    """

    shards: ShardSet
    columns: tuple[str, ...]
    collate: Collate
    seed: int
    budget_s: float
    microbatches: int = 1
    crop_s: float = 0.0

    def plan(self, epoch: int) -> EpochPlan:
        """Returns the batches of an epoch."""
        shards = self.shards
        seconds = np.minimum(shards.seconds, np.float32(self.crop_s)) if self.crop_s else shards.seconds
        mixture = shards.mixture
        return plan_epoch(shards.shard, seconds, self.seed, epoch, self.budget_s, self.microbatches, mixture)

    def load(self, indices: Indices, turns: Indices, epoch: int) -> Batch:
        """Returns one batch of samples, each read for the `turns`-th time in the epoch."""
        return self.collate(
            [self.sample(*which, epoch) for which in zip(indices.tolist(), turns.tolist(), strict=True)]
        )

    def sample(self, index: int, turn: int, epoch: int) -> Sample:
        """Returns one sample, cropped if it is to be."""
        sample = self.shards.read(index, self.columns, (self.seed, epoch, turn))
        return sample.cropped(self.crop_s, self.shards.manifest.columns) if self.crop_s else sample

    def open(self, start: Position, workers: int = 0, rank: int = 0, ranks: int = 1) -> "Loader":
        """Returns an endless iterator of batches from a position on."""
        return Loader(self, start, workers, rank, ranks)

    def spread(self, n: int) -> Iterator[Sample]:
        """Yields `n` samples, or all where there are fewer, from all over the split."""
        chosen = np.linspace(0, len(self.shards) - 1, min(len(self.shards), n)).astype(int)
        return (self.shards.read(int(i), self.columns) for i in chosen)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yields the batches of one epoch, read one after the other."""
        plan = self.plan(epoch)
        return (self.load(plan.batch(i), plan.turns(i), epoch) for i in range(len(plan)))


class Loader:
    """An endless iterator of batches that reads ahead, from a position on.

    The order is the same for every number of workers. `Delivery.after` is the state to store with what was computed
    from the batch; a loader started there goes on with the next batch.

    Args:
        reading: what to read.
        start: the position of the first batch.
        workers: processes that read; 0 is one thread of this process.
        rank: which of `ranks` equal readers this is.
        ranks: how many readers share the batches.
    """

    def __init__(self, reading: Reading, start: Position, workers: int = 0, rank: int = 0, ranks: int = 1) -> None:
        self._tickets = _tickets(reading, start, rank, ranks)
        self._pool = _pool(reading, workers)
        self._waiting: deque[tuple[Future[Batch], Position, int]] = deque()
        self._ahead = AHEAD * max(workers, 1)
        self._load: Callable[[Indices, Indices, int], Batch] = _load_in_worker if workers else reading.load

    def __iter__(self) -> Iterator[Delivery]:
        return self

    def __next__(self) -> Delivery:
        while len(self._waiting) <= self._ahead:
            ticket = next(self._tickets)
            future = self._pool.submit(self._load, ticket.indices, ticket.turns, ticket.epoch)
            self._waiting.append((future, ticket.after, ticket.row))
        future, after, row = self._waiting.popleft()
        try:
            return Delivery(future.result(), after, row)
        except BrokenExecutor as error:
            raise AutosingError(
                "a reading process died, perhaps for want of memory; resume with fewer readers (readers=0 is none)"
            ) from error

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Ticket(NamedTuple):
    """One batch to be read."""

    indices: Indices
    turns: Indices
    epoch: int
    after: Position
    row: int


def _tickets(reading: Reading, start: Position, rank: int, ranks: int) -> Iterator[_Ticket]:
    epoch, consumed = start
    while True:
        plan = reading.plan(epoch)
        for row in rank_rows(len(plan), consumed, rank, ranks):
            yield _Ticket(plan.batch(row), plan.turns(row), epoch, Position(epoch, row - rank + ranks), row)
        epoch, consumed = epoch + 1, 0


def _pool(reading: Reading, workers: int) -> Executor:
    if not workers:
        return ThreadPoolExecutor(1, thread_name_prefix="reader")
    # Spawned, not forked: a fork of a process with threads (TensorBoard, CUDA) may deadlock.
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker, initargs=(reading,))


_reading_of_worker: list[Reading] = []


def _start_worker(reading: Reading) -> None:
    """Prepares a reading process: it ends with its parent and leaves it to it when to stop."""
    _reading_of_worker.append(reading)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _load_in_worker(indices: Indices, turns: Indices, epoch: int) -> Batch:
    return _reading_of_worker[0].load(indices, turns, epoch)
