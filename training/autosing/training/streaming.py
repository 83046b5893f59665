"""Plain WebDataset streams, read from beginning to end: for pipes and servers that give no ranges.

A stream has no index, so there is no plan: the order is shuffled within a pool of samples only, every process reads
all of it and keeps its share, and a resumed run begins a new pass. Where the tars can be read by ranges, `Reading` is
better in every way. The only file of training that imports webdataset.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, islice
from types import TracebackType

import numpy as np

from autosing.signal.errors import DataError, SchemaMismatch
from autosing.training.loader import AHEAD, Batch, Collate, Delivery
from autosing.training.manifest import Manifest
from autosing.training.order import Position, plan_epoch
from autosing.training.sample import Sample, of_members

# Samples that are held to be shuffled and sorted by length.
POOL = 512


@dataclass(frozen=True)
class StreamReading:
    """How the samples of WebDataset URLs become batches.

    Attributes:
        urls: as `webdataset` takes them: paths with braces, `https://...`, `pipe:COMMAND`. A pipe runs its command, so
            they come from who starts the run and from no file.
        manifest: of the set that the URLs hold a split of.
        columns: the series that are read.
        collate: lays samples side by side.
        seed: of the order and of each sample's randomness.
        budget_s: the most seconds in a batch, padding included.
        crop_s: longer samples are read as a random stretch of this length; 0 reads them whole.
    """

    urls: Sequence[str]
    manifest: Manifest
    columns: tuple[str, ...]
    collate: Collate
    seed: int
    budget_s: float
    crop_s: float = 0.0

    def open(self, start: Position, workers: int = 0, rank: int = 0, ranks: int = 1) -> "StreamLoader":
        """Returns an endless iterator of batches; one thread reads, whatever the number of workers."""
        return StreamLoader(self, start, rank, ranks)

    def spread(self, n: int) -> Iterator[Sample]:
        """Yields the first `n` samples."""
        return islice(self.samples(0), n)

    def samples(self, epoch: int) -> Iterator[Sample]:
        """Yields the samples of one pass.

        Raises:
            DataError: a stream breaks off or cannot be opened.
            SchemaMismatch: a sample lacks a member or a column.
        """
        import webdataset as wds

        urls = [url for pattern in self.urls for url in wds.shardlists.expand_urls(pattern)]
        shuffle = len(urls) if len(urls) > 1 else False
        stream = iter(
            wds.WebDataset(urls, shardshuffle=shuffle, detshuffle=bool(shuffle), seed=self.seed, nodesplitter=_whole)
        )
        while True:
            try:
                found = next(stream)
            except StopIteration:
                return
            except (OSError, ValueError, EOFError, zlib.error) as error:
                raise DataError(f"the stream {', '.join(self.urls)} broke off: {error}; look at its source") from error
            yield self._sample(found, epoch)

    def _sample(self, found: dict[str, object], epoch: int) -> Sample:
        key = str(found["__key__"])
        files = {f"{key}.{name}": content for name, content in found.items() if isinstance(content, bytes)}
        try:
            sample = of_members(key, files, self.columns)
        except (KeyError, ValueError) as error:
            raise SchemaMismatch(f"{found.get('__url__')}: sample {key} cannot be read ({error!r})") from error
        sample = replace(sample, entropy=(self.seed, epoch, 0))
        return sample.cropped(self.crop_s, self.manifest.columns) if self.crop_s else sample


class StreamLoader:
    """An endless iterator of batches that reads ahead in a thread.

    Args:
        reading: what to read.
        start: where a run was; a pass that was begun is not gone on with.
        rank: which of `ranks` equal readers this is.
        ranks: how many readers share the samples.
    """

    def __init__(self, reading: StreamReading, start: Position, rank: int, ranks: int) -> None:
        self._batches = _deliveries(reading, start.epoch + (start.batches > 0), rank, ranks)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._waiting: deque[Future[Delivery]] = deque()

    def __iter__(self) -> Iterator[Delivery]:
        return self

    def __next__(self) -> Delivery:
        take: Callable[[Iterator[Delivery]], Delivery] = next
        while len(self._waiting) <= AHEAD:
            self._waiting.append(self._pool.submit(take, self._batches))
        return self._waiting.popleft().result()

    def __enter__(self) -> "StreamLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _deliveries(reading: StreamReading, epoch: int, rank: int, ranks: int) -> Iterator[Delivery]:
    for number in count(epoch):
        taken = 0
        own = islice(reading.samples(number), rank, None, ranks)
        while pool := list(islice(own, POOL)):
            for batch in _batches(reading, pool, number, taken):
                yield Delivery(batch, Position(number, (taken + 1) * ranks), taken * ranks + rank)
                taken += 1
        if not taken:
            raise DataError(f"the stream {', '.join(reading.urls)} holds no sample for process {rank} of {ranks}")


def _batches(reading: StreamReading, pool: Sequence[Sample], epoch: int, taken: int) -> Iterator[Batch]:
    """Yields the samples of a pool in batches of like length, by the same rules as with an index."""
    seconds = np.array([sample.info["seconds"] for sample in pool], np.float32)
    plan = plan_epoch(np.zeros(len(pool), np.int64), seconds, reading.seed + taken, epoch, reading.budget_s)
    return (reading.collate([pool[k] for k in plan.batch(i)]) for i in range(len(plan)))


def _whole(urls: Iterator[object], group: object = None) -> Iterator[object]:
    """Leaves every process all URLs; each keeps its share of the samples, so a single pipe serves any number."""
    return urls
