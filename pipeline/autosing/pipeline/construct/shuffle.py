"""Pass 2: the global order of the samples, its division into shards, and the writing of each shard."""

import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.pipeline.construct.manifest import Shard
from autosing.pipeline.construct.parts import Part
from autosing.pipeline.construct.tar import end, npz
from autosing.pipeline.store import Store
from autosing.signal.errors import DataError

BUCKET_BYTES = 16 << 20
Ints = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Catalogue:
    """Where each sample of pass 1 is, in arrays (N,).

    Args:
        key: its key, S40.
        part: number of the part it is in.
        offset: where it begins there.
        bytes: its size.
        length_ms: its length.
        group: number of its (group, given split) among those of all parts.
    """

    key: npt.NDArray[np.bytes_]
    part: Ints
    offset: Ints
    bytes: Ints
    length_ms: Ints
    group: Ints

    def __len__(self) -> int:
        """Returns the number of samples."""
        return len(self.key)

    def __getitem__(self, chosen: Any) -> "Catalogue":
        """Returns the samples that a numpy index chooses."""
        return Catalogue(*(getattr(self, f.name)[chosen] for f in fields(self)))


def read_catalogue(parts: Sequence[Part], scratch: Store) -> Catalogue:
    """Returns the samples of all parts.

    Raises:
        DataError: two samples have the same key.
    """
    indexes = [part.index(scratch) for part in parts]
    first_group = np.cumsum([0, *(len(part.groups) for part in parts)])
    found = Catalogue(
        key=_joined(indexes, "key"),
        part=np.repeat(np.arange(len(parts), dtype=np.int32), [part.samples for part in parts]),
        offset=_joined(indexes, "offset"),
        bytes=_joined(indexes, "bytes"),
        length_ms=_joined(indexes, "length_ms"),
        group=np.concatenate([i["group"] + first for i, first in zip(indexes, first_group[:-1], strict=True)]),
    )
    keys, counts = np.unique(found.key, return_counts=True)
    if len(keys) < len(found):
        raise DataError(f"two samples have the key {keys[counts > 1][0].decode()}; rename one of their songs")
    return found


def _joined(indexes: Sequence[Mapping[str, npt.NDArray[Any]]], name: str) -> npt.NDArray[Any]:
    return np.concatenate([index[name] for index in indexes])


def shuffled(samples: Catalogue, seed: int) -> Catalogue:
    """Returns the samples in the order of a hash of seed and key."""
    hashes = [hashlib.blake2b(b"%d\0%s" % (seed, key), digest_size=8).digest() for key in samples.key.tolist()]
    return samples[np.lexsort([samples.key, np.frombuffer(b"".join(hashes), "<u8")])]


def divided(samples: Catalogue, shard_bytes: int) -> list[Catalogue]:
    """Returns the samples in runs of about equal size, as few as keep each near `shard_bytes`."""
    if not len(samples):
        return []
    ends = np.cumsum(samples.bytes)
    n_shards = math.ceil(int(ends[-1]) / shard_bytes)
    limits = np.searchsorted(ends, np.arange(1, n_shards) * (int(ends[-1]) / n_shards), side="right")
    bounds = np.unique([0, *limits, len(samples)])
    return [samples[a:b] for a, b in pairwise(bounds)]


@dataclass(frozen=True)
class ShardTask:
    """The work of pass 2 on one shard.

    Args:
        out_url: where the set is built.
        scratch_url: where the parts are.
        parts: file names of the parts.
        name: name of the shard.
        note: name of the file in the scratch folder that says that the shard is finished.
        samples: its samples in order.
    """

    out_url: str
    scratch_url: str
    parts: tuple[str, ...]
    name: str
    note: str
    samples: Catalogue


def finished_shard(task: ShardTask) -> Shard | None:
    """Returns the shard that an earlier run of the same build wrote; None where it did not finish."""
    told = Store(task.scratch_url).read_text(task.note)
    if told is None:
        return None
    shard, out = Shard(**json.loads(told)), Store(task.out_url)
    stamp = out.stamp(shard.path)
    if stamp is None or stamp.size != shard.bytes or out.stamp(shard.index) is None:
        return None
    with out.open(shard.index) as index:
        return shard if _digest(index.read()) == shard.digest else None


def write_shard(task: ShardTask) -> Shard:
    """Writes a tar, its index and the note that it is finished."""
    out, scratch = Store(task.out_url), Store(task.scratch_url)
    crcs: list[int] = []
    with out.writing(f"{task.name}.tar") as path, path.open("wb") as file:
        for data in _read_in_order(task, scratch):
            crcs.append(zlib.crc32(data))
            file.write(data)
        size = int(task.samples.bytes.sum())
        file.write(end(size))
    index = b"".join(npz(_index(task.samples, crcs)))
    with out.writing(f"{task.name}.idx.npz") as path:
        path.write_bytes(index)
    shard = Shard(
        path=f"{task.name}.tar",
        index=f"{task.name}.idx.npz",
        samples=len(task.samples),
        seconds=int(task.samples.length_ms.sum(dtype=np.int64)) / 1000,
        bytes=size + len(end(size)),
        digest=_digest(index),
    )
    with scratch.writing(task.note) as path:
        path.write_text(json.dumps(asdict(shard)))
    return shard


def _digest(index: bytes) -> str:
    """Returns what tells a shard from any other: the index holds the keys and checksums of all its samples."""
    return hashlib.blake2b(index, digest_size=16).hexdigest()


def _index(samples: Catalogue, crcs: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
    size = samples.bytes.astype(np.int64)
    return {
        "key": samples.key,
        "offset": np.cumsum(size) - size,
        "bytes": size,
        "seconds": (samples.length_ms / 1000).astype(np.float32),
        "crc32": np.array(crcs, np.uint32),
    }


def _read_in_order(task: ShardTask, scratch: Store) -> Iterator[bytes]:
    """Yields the tar members of each sample in order; the parts are read from front to back for a bucket at a time."""
    for bucket in divided(task.samples, BUCKET_BYTES):
        data: list[bytes] = [b""] * len(bucket)
        order = np.lexsort([bucket.offset, bucket.part])
        for run in np.split(order, np.flatnonzero(np.diff(bucket.part[order])) + 1):
            name = task.parts[int(bucket.part[run[0]])]
            with open(scratch.path(name), "rb") as file:
                for i in run:
                    file.seek(int(bucket.offset[i]))
                    data[i] = file.read(int(bucket.bytes[i]))
                    if len(data[i]) < bucket.bytes[i]:
                        raise DataError(f"{scratch.path(name)} is damaged; remove its folder and build again")
        yield from data
