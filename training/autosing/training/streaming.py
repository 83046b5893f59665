"""Plain WebDataset streams, read from beginning to end: for pipes and servers that give no ranges.

A stream has no index, so there is no plan: the order is shuffled within a pool of samples only, every process reads
all of it and keeps its share, and a resumed run begins a new pass. Where the tars can be read by ranges, `Reading` is
better in every way. The only file of training that imports webdataset.
"""

import tarfile
import zlib
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np

from autosing.signal.errors import DataError, RowError, SchemaMismatch
from autosing.training.loader import Batch, Collate, Loader, Work
from autosing.training.manifest import Manifest
from autosing.training.order import Position, plan_epoch
from autosing.training.packing import Rows
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
        rows: that a batch's samples share; None lays each in one of its own.
    """

    urls: Sequence[str]
    manifest: Manifest
    columns: tuple[str, ...]
    collate: Collate
    seed: int
    budget_s: float
    crop_s: float = 0.0
    rows: Rows | None = None

    def open(self, start: Position, workers: int = 0, rank: int = 0, ranks: int = 1) -> Loader:
        """Returns an endless iterator of batches; one thread reads, whatever the number of workers.

        A pass that was begun before `start` is not gone on with.
        """
        works = _works(self, start.batches, rank, ranks)
        return Loader(works, ThreadPoolExecutor(1, thread_name_prefix="reader"))

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
        shuffle, seed = len(urls) if len(urls) > 1 else False, self.seed + epoch
        stream = iter(
            wds.WebDataset(urls, shardshuffle=shuffle, detshuffle=bool(shuffle), seed=seed, nodesplitter=_whole)
        )
        last = "the first sample"
        while True:
            try:
                found = next(stream)
            except StopIteration:
                return
            except (OSError, ValueError, EOFError, zlib.error, tarfile.TarError) as error:
                told, why = ", ".join(self.urls), error.args[0] if error.args else error
                raise DataError(f"the stream {told} broke off after {last}: {why}; look at its source") from error
            last = f"sample {found['__key__']}"
            yield self._sample(found, epoch)

    def _sample(self, found: dict[str, object], epoch: int) -> Sample:
        key = str(found["__key__"])
        files = {f"{key}.{name}": content for name, content in found.items() if isinstance(content, bytes)}
        try:
            sample = of_members(key, files, self.columns)
        except (KeyError, ValueError, RowError) as error:
            raise SchemaMismatch(f"{found.get('__url__')}: sample {key} cannot be read ({error!r})") from error
        sample = replace(sample, entropy=(self.seed, epoch, 0))
        return sample.cropped(self.crop_s, self.manifest.columns) if self.crop_s else sample


def _works(reading: StreamReading, done: int, rank: int, ranks: int) -> Generator[Work, None, None]:
    """Yields calls that each take the next batch of one iterator: only the reading thread touches the stream.

    Positions count the batches of all passes: how many a pass has shows only at its end.
    """
    # Passes are numbered from the batches done on, more than there were passes: none repeats another's order.
    batches = _endless(reading, done, rank, ranks)
    for number in count(done, ranks):
        yield Work(next, (batches,), Position(0, number + ranks), number + rank)


def _endless(reading: StreamReading, epoch: int, rank: int, ranks: int) -> Iterator[Batch]:
    for number in count(epoch):
        taken = 0
        own = islice(reading.samples(number), rank, None, ranks)
        while pool := list(islice(own, POOL)):
            for batch in _batches(reading, pool, number, taken):
                yield batch
                taken += 1
        if not taken:
            raise DataError(f"the stream {', '.join(reading.urls)} holds no sample for process {rank} of {ranks}")


def _batches(reading: StreamReading, pool: Sequence[Sample], epoch: int, taken: int) -> Iterator[Batch]:
    """Yields the samples of a pool in batches of like length, by the same rules as with an index."""
    seconds = np.array([sample.info["seconds"] for sample in pool], np.float32)
    shard, seed = np.zeros(len(pool), np.int64), reading.seed + taken
    plan = plan_epoch(shard, seconds, seed, epoch, reading.budget_s, rows=reading.rows)
    return (reading.collate([pool[k] for k in plan.batch(i)]) for i in range(len(plan)))


def _whole(urls: Iterator[object], group: object = None) -> Iterator[object]:
    """Leaves every process all URLs; each keeps its share of the samples, so a single pipe serves any number."""
    return urls
