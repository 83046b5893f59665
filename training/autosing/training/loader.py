"""Reads batches ahead, in a thread or in processes; where a run is depends only on what it has consumed."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import AutosingError
from autosing.training.manifest import Column
from autosing.training.order import EpochPlan, Position, plan_epoch, rank_rows
from autosing.training.packing import Rows
from autosing.training.sample import Sample
from autosing.training.shards import Place, ShardSet, Tars

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
class Reader:
    """How a sample is read and samples become a batch; it travels to reading processes, the index does not.

    Attributes:
        tars: of the split.
        names: the series that are read.
        columns: of the set.
        collate: lays samples side by side.
        seed: of each sample's randomness.
        crop_s: longer samples are read as a random stretch of this length; 0 reads them whole.
    """

    tars: Tars
    names: tuple[str, ...]
    columns: Mapping[str, Column]
    collate: Collate
    seed: int
    crop_s: float

    def load(self, places: Sequence[Place], turns: Sequence[int], epoch: int) -> Batch:
        """Returns one batch of samples, each read for the `turns`-th time in the epoch."""
        return self.collate([self._sample(*which, epoch) for which in zip(places, turns, strict=True)])

    def _sample(self, place: Place, turn: int, epoch: int) -> Sample:
        sample = self.tars.read(place, self.names, (self.seed, epoch, turn))
        return sample.cropped(self.crop_s, self.columns) if self.crop_s else sample


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
        rows: that a batch's samples share; None lays each in one of its own.
    """

    shards: ShardSet
    columns: tuple[str, ...]
    collate: Collate
    seed: int
    budget_s: float
    microbatches: int = 1
    crop_s: float = 0.0
    rows: Rows | None = None

    @property
    def reader(self) -> Reader:
        """What reads the batches."""
        columns = self.shards.manifest.columns
        return Reader(self.shards.tars, self.columns, columns, self.collate, self.seed, self.crop_s)

    def plan(self, epoch: int) -> EpochPlan:
        """Returns the batches of an epoch."""
        shards = self.shards
        seconds = np.minimum(shards.seconds, np.float32(self.crop_s)) if self.crop_s else shards.seconds
        how = self.microbatches, shards.mixture, self.rows
        return plan_epoch(shards.shard, seconds, self.seed, epoch, self.budget_s, *how)

    def open(self, start: Position, workers: int = 0, rank: int = 0, ranks: int = 1) -> "Loader":
        """Returns an endless iterator of batches from a position on.

        The order is the same for every number of workers. `Delivery.after` is the state to store with what was computed
        from the batch; a loader that is opened there goes on with the next batch.

        Args:
            start: the position of the first batch.
            workers: processes that read; 0 is one thread of this process.
            rank: which of `ranks` equal readers this is.
            ranks: how many readers share the batches.
        """
        return Loader(_works(self, start, rank, ranks), _pool(self.reader, workers), AHEAD * max(workers, 1))

    def spread(self, n: int) -> Iterator[Sample]:
        """Yields `n` samples, or all where there are fewer, from all over the split."""
        chosen = np.linspace(0, len(self.shards) - 1, min(len(self.shards), n)).astype(int)
        return (self.shards.read(int(i), self.columns) for i in chosen)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yields the batches of one epoch, read one after the other."""
        plan, reader = self.plan(epoch), self.reader
        return (reader.load(self.places(plan, i), plan.turns(i).tolist(), epoch) for i in range(len(plan)))

    def places(self, plan: EpochPlan, row: int) -> list[Place]:
        """Returns where the samples of a batch lie."""
        return [self.shards.place(i) for i in plan.batch(row).tolist()]


class Work(NamedTuple):
    """One batch to be read: a call, and what becomes of its delivery."""

    read: Callable[..., Batch]
    arguments: tuple[Any, ...]
    after: Position
    row: int


class Loader:
    """An endless iterator of batches that reads ahead.

    Args:
        works: what to read, in order.
        pool: that reads; it is the loader's.
        ahead: batches that may wait.
    """

    def __init__(self, works: Generator[Work, None, None], pool: Executor, ahead: int = AHEAD) -> None:
        self._works, self._pool, self._ahead = works, pool, ahead
        self._waiting: deque[tuple[Future[Batch], Work]] = deque()

    def __iter__(self) -> Iterator[Delivery]:
        return self

    def __next__(self) -> Delivery:
        try:
            while len(self._waiting) <= self._ahead:
                work = next(self._works)
                self._waiting.append((self._pool.submit(work.read, *work.arguments), work))
            future, work = self._waiting.popleft()
            return Delivery(future.result(), work.after, work.row)
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
        self._works.close()


def _works(reading: Reading, start: Position, rank: int, ranks: int) -> Generator[Work, None, None]:
    """Yields the batches of a rank; the next epoch is planned while this one is read."""
    epoch, consumed = start
    with ThreadPoolExecutor(1, thread_name_prefix="planner") as planner:
        plan = reading.plan(epoch)
        while True:
            following = planner.submit(reading.plan, epoch + 1)
            for row in rank_rows(len(plan), consumed, rank, ranks):
                arguments = reading.places(plan, row), plan.turns(row).tolist(), epoch
                yield Work(_load_here, arguments, Position(epoch, row - rank + ranks), row)
            plan, epoch, consumed = following.result(), epoch + 1, 0


def _pool(reader: Reader, workers: int) -> Executor:
    if not workers:
        return ThreadPoolExecutor(1, thread_name_prefix="reader", initializer=_start_thread, initargs=(reader,))
    # Spawned, not forked: a fork of a process with threads (TensorBoard, CUDA) may deadlock.
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker, initargs=(reader,))


_here = threading.local()


def _start_thread(reader: Reader) -> None:
    _here.reader = reader


def _start_worker(reader: Reader) -> None:
    """Prepares a reading process: it ends with its parent and leaves it to it when to stop."""
    _start_thread(reader)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _load_here(places: Sequence[Place], turns: Sequence[int], epoch: int) -> Batch:
    reader: Reader = _here.reader
    return reader.load(places, turns, epoch)
