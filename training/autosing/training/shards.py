"""The samples of a split: the indexes of its tars, and each sample read by its offset and checked."""

import io
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import DataError, RowError, SchemaMismatch
from autosing.training.files import Cache, Files, RemoteFiles, open_files
from autosing.training.manifest import Manifest, Shard, joined
from autosing.training.order import Part
from autosing.training.sample import Sample, parsed

INDEX_DTYPES = {"key": "S40", "offset": "int64", "bytes": "int64", "seconds": "float32", "crc32": "uint32"}
TRAIN, VALID = "train", "valid"
BUILD_AGAIN, COPY_AGAIN = "build the set again", "copy the set again or build it again"
# Indexes of a remote set that are fetched at a time.
FETCHES = 16

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class SetFiles:
    """One built set: its files, its manifest, and how often its samples are taken per epoch."""

    files: Files
    manifest: Manifest
    weight: float = 1.0


@dataclass(frozen=True)
class Data:
    """What a run is trained on: one built set or several, and what they have in common.

    Attributes:
        sets: the built sets.
        manifest: of the set, or what the manifests of several agree on.
    """

    sets: tuple[SetFiles, ...]
    manifest: Manifest

    @classmethod
    def open(cls, urls: str | Path | Sequence[str | Path], weights: Sequence[float] = ()) -> "Data":
        """Returns the sets at some folders or URLs; their manifests are read, no tar is.

        Args:
            urls: of the built sets.
            weights: how often the samples of each are taken per epoch; 1 each where there are none.

        Raises:
            DataError: there is no manifest, or it is damaged.
            UsageError: not as many weights as sets.
        """
        named = [urls] if isinstance(urls, str | Path) else list(urls)
        weights = list(weights) or [1.0] * len(named)
        files = [open_files(url) for url in named]
        manifests = [Manifest.of_files(each) for each in files]
        manifest = joined(manifests, weights)
        sets = map(SetFiles, map(_versioned, files, manifests), manifests, weights)
        return cls(tuple(sets), manifest)

    def cached(self, cache_gb: float) -> "Data":
        """Returns the same sets with a limit to what remote ones take of the local disk."""
        return replace(self, sets=tuple(replace(each, files=_cached(each.files, cache_gb)) for each in self.sets))

    def split(self, name: str) -> "ShardSet":
        """Returns the samples of a split over all sets, after a look at the size of every tar.

        Raises:
            DataError: no such split, an empty one, a tar or index that is gone or changed.
        """
        if not self.manifest.has(name):
            splits = self.manifest.splits.items()
            held = ", ".join(f"{split} ({sum(s.samples for s in shards)} samples)" for split, shards in splits)
            raise DataError(
                f"{self.manifest.url} has no sample in the split {name!r}; it has {held or 'no split'}: "
                f"build again with more songs or with `--{name}-songs N`"
            )
        return _joined_split(self.manifest, name, [s for s in self.sets if s.manifest.has(name)])


class Place(NamedTuple):
    """Where a sample lies: its key, its tar, the bytes there and their checksum."""

    key: str
    shard: int
    offset: int
    length: int
    crc32: int


@dataclass(frozen=True)
class Tars:
    """The tars of a split: all that a reading process needs, whatever the number of samples."""

    shards: tuple[tuple[Files, Shard], ...]

    def read(self, place: Place, columns: Sequence[str], entropy: tuple[int, int, int] = (0, 0, 0)) -> Sample:
        """Returns one sample with the series `columns`.

        Raises:
            DataError: the tar is cut short or its bytes have changed; names shard and key.
            SchemaMismatch: the sample lacks a column that the manifest promises.
        """
        files, shard = self.shards[place.shard]
        where = files.where(shard.path)
        raw = self._checked(place, where)
        try:
            sample = parsed(raw, place.key, columns)
        except KeyError as error:
            raise SchemaMismatch(f"{where}: sample {place.key} has no {error}; {BUILD_AGAIN}") from error
        except (ValueError, RowError) as error:
            raise SchemaMismatch(f"{where}: sample {place.key} cannot be read ({error}); {BUILD_AGAIN}") from error
        return replace(sample, entropy=entropy)

    def _checked(self, place: Place, where: str) -> bytes:
        """Returns the bytes of a sample; a damaged local copy of a remote tar heals."""
        files, shard = self.shards[place.shard]
        try:
            raw = files.read_range(shard.path, place.offset, place.length, shard.bytes)
            if _is_whole(raw, place):
                return raw
            if files.forget(shard.path):
                raw = files.read_range(shard.path, place.offset, place.length, shard.bytes)
        except FileNotFoundError as error:
            raise DataError(f"{where} is gone; {COPY_AGAIN}") from error
        if not _is_whole(raw, place):
            what = "is cut short" if len(raw) != place.length else "has changed bytes (its checksum differs)"
            raise DataError(f"{where} {what} at sample {place.key}; {COPY_AGAIN}")
        return raw


def _is_whole(raw: bytes, place: Place) -> bool:
    return len(raw) == place.length and zlib.crc32(raw) == place.crc32


@dataclass(frozen=True)
class ShardSet:
    """The samples of one split, as arrays over samples (N,) in the order of the tars."""

    manifest: Manifest
    split: str
    tars: Tars
    mixture: tuple[Part, ...]
    keys: npt.NDArray[np.bytes_]
    shard: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float32]
    crc32: npt.NDArray[np.uint32]

    @classmethod
    def open(cls, url: str | Path, split: str) -> "ShardSet":
        """Returns the samples of a split of one set; see `Data.split`."""
        return Data.open(url).split(split)

    def __len__(self) -> int:
        return len(self.keys)

    def place(self, index: int) -> Place:
        """Returns where a sample lies."""
        numbers = (int(array[index]) for array in (self.shard, self.offset, self.length, self.crc32))
        return Place(self.keys[index].decode(), *numbers)

    def read(self, index: int, columns: Sequence[str], entropy: tuple[int, int, int] = (0, 0, 0)) -> Sample:
        """Returns one sample; see `Tars.read`."""
        return self.tars.read(self.place(index), columns, entropy)

    def songs(self) -> npt.NDArray[np.bytes_]:
        """Returns the songs of the samples, sorted: what stands before the last `_` of a key."""
        cut = np.char.rfind(self.keys, b"_")
        cut = np.where(cut < 0, np.char.str_len(self.keys), cut)
        widest = int(cut.max())
        letters = self.keys.view("S1").reshape(len(self.keys), -1)[:, :widest].copy()
        letters[np.arange(widest) >= cut[:, None]] = b""
        return np.unique(letters.view(f"S{widest}").ravel())


def refuse_leaks(train: ShardSet, held_out: ShardSet) -> None:
    """Raises DataError where a song is on both sides, as with sets that were split with different salts."""
    both = np.intersect1d(train.songs(), held_out.songs(), assume_unique=True)
    if len(both):
        raise DataError(
            f"{len(both)} songs are in {train.split!r} and in {held_out.split!r} of {train.manifest.url}, such as "
            f"{both[0].decode()}: a metric of {held_out.split!r} would be too good. Build the sets in one go, or with "
            "the same salt and shares"
        )


def _versioned(files: Files, manifest: Manifest) -> Files:
    return replace(files, version=manifest.digest) if isinstance(files, RemoteFiles) else files


def _cached(files: Files, cache_gb: float) -> Files:
    if not isinstance(files, RemoteFiles):
        return files
    return replace(files, cache=Cache(files.cache.folder, int(cache_gb * 1e9)))


def _joined_split(manifest: Manifest, split: str, sets: Sequence[SetFiles]) -> ShardSet:
    shards = [(each.files, shard) for each in sets for shard in each.manifest.splits[split]]
    with ThreadPoolExecutor(FETCHES) as pool:
        indexes = list(pool.map(_read_index, *zip(*shards, strict=True)))
    arrays = {name: np.concatenate([index[name] for index in indexes]) for name in INDEX_DTYPES}
    owner = np.repeat(np.arange(len(shards)), [shard.samples for _, shard in shards])
    ends = np.cumsum([sum(shard.samples for shard in each.manifest.splits[split]) for each in sets]).tolist()
    parts = zip([0, *ends], ends, [each.weight for each in sets], strict=False)
    return ShardSet(
        manifest,
        split,
        Tars(tuple(shards)),
        # What is held out is looked at once, whatever it weighs in training.
        tuple(Part(*part) for part in parts) if split == TRAIN else (),
        keys=arrays["key"],
        shard=owner,
        offset=arrays["offset"],
        length=arrays["bytes"],
        seconds=arrays["seconds"],
        crc32=arrays["crc32"],
    )


def _read_index(files: Files, shard: Shard) -> dict[str, Array]:
    for name in (shard.path, shard.index):
        size = files.size(name)
        if size is None:
            raise DataError(f"{files.where(name)} is gone, but the manifest names it; {COPY_AGAIN}")
        if name == shard.path and size != shard.bytes:
            raise DataError(f"{files.where(name)} has {size} bytes, the manifest says {shard.bytes}; {COPY_AGAIN}")
    where = files.where(shard.index)
    try:
        with np.load(io.BytesIO(files.read(shard.index)), allow_pickle=False) as arrays:
            index = {name: arrays[name].astype(dtype) for name, dtype in INDEX_DTYPES.items()}
    except (KeyError, ValueError, OSError, EOFError, zlib.error) as error:
        raise SchemaMismatch(f"{where} is no index of a tar ({error}); {BUILD_AGAIN}") from error
    if any(len(array) != shard.samples for array in index.values()):
        raise SchemaMismatch(
            f"{where} has {len(index['key'])} samples, the manifest says {shard.samples}; {BUILD_AGAIN}"
        )
    return index
