"""A built set as training sees it: its manifest, the indexes of one split, and samples read by their offset."""

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import DataError, MissingColumn, SchemaMismatch

MANIFEST = "manifest.json"
FORMAT = 1

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Column:
    """One column of the samples: a series with a rate in frames per second, or one value per sample."""

    name: str
    dtype: str
    rate: Fraction | None
    dim: int | None
    definition: str


@dataclass(frozen=True)
class Shard:
    """One tar of a split, its index beside it, and what both must hold."""

    path: Path
    index: Path
    samples: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a built set says of itself; `singers` is the one global table of the set."""

    folder: Path
    columns: Mapping[str, Column]
    artefacts: Mapping[str, Any]
    contracts: Mapping[str, Any]
    singers: tuple[str, ...]
    splits: Mapping[str, tuple[Shard, ...]]
    digest: str

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Returns the manifest of a built set.

        Raises:
            DataError: there is none.
            SchemaMismatch: it is of another format or incomplete.
        """
        file = folder / MANIFEST
        try:
            content = json.loads(file.read_text())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(f"{folder} has no {MANIFEST}; give a folder that `autosing build` wrote") from error
        except ValueError as error:
            raise SchemaMismatch(f"{file} is not JSON ({error}); build the set again") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else None
            raise SchemaMismatch(f"{file} is of format {found!r}, not {FORMAT}; build the set again with this version")
        try:
            return cls._parsed(folder, content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SchemaMismatch(f"{file} is incomplete ({error!r}); build the set again") from error

    @classmethod
    def _parsed(cls, folder: Path, content: Mapping[str, Any]) -> "Manifest":
        columns = {
            name: Column(name, c["dtype"], Fraction(c["rate"]) if c["rate"] else None, c["dim"], c["definition"])
            for name, c in content["columns"].items()
        }
        splits = {
            split: tuple(Shard(folder / s["path"], folder / s["index"], s["samples"], s["bytes"]) for s in c["shards"])
            for split, c in content["splits"].items()
        }
        singers = tuple(content["singers"])
        return cls(folder, columns, content["artefacts"], content["contracts"], singers, splits, content["digest"])

    def has(self, split: str) -> bool:
        """Says whether a split exists and holds a sample."""
        return any(shard.samples for shard in self.splits.get(split, ()))

    def require(self, columns: Sequence[str]) -> None:
        """Raises MissingColumn unless every one of `columns` is in the set."""
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise MissingColumn(
                f"{self.folder} has no column {', '.join(missing)}; it has {', '.join(sorted(self.columns))}: "
                "name the column in the samples' spec and build again, or choose settings that do without it"
            )


@dataclass(frozen=True)
class Sample:
    """Every asked-for column restricted to one cut.

    Attributes:
        key: unique in the set.
        series: arrays (F,) or (F, dim) by column name.
        info: the sample's JSON: id, seconds, singer, text, values, residual_s.
        entropy: seed and epoch of the run that reads it.
    """

    key: str
    series: Mapping[str, Array]
    info: Mapping[str, Any]
    entropy: tuple[int, int] = (0, 0)

    def rng(self) -> np.random.Generator:
        """Returns the sample's own randomness: it depends on seed, epoch and key, never on who reads it or when."""
        text = "/".join((*map(str, self.entropy), self.key))
        return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()))


@dataclass(frozen=True)
class ShardSet:
    """The samples of one split, as arrays over samples (N,) in the order of the shards."""

    manifest: Manifest
    split: str
    shards: tuple[Shard, ...]
    keys: npt.NDArray[np.bytes_]
    shard: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float32]
    crc32: npt.NDArray[np.uint32]

    @classmethod
    def open(cls, folder: Path, split: str) -> "ShardSet":
        """Returns the samples of a split, after a look at the size of every tar.

        Raises:
            DataError: no such split, an empty one, a tar or index that is gone or changed.
        """
        manifest = Manifest.read(folder)
        if not manifest.has(split):
            held = ", ".join(
                f"{name} ({sum(s.samples for s in shards)} samples)" for name, shards in manifest.splits.items()
            )
            raise DataError(
                f"{folder} has no sample in the split {split!r}; it has {held or 'no split'}: "
                f"build again with more songs or with `--{split}-songs N`"
            )
        shards = manifest.splits[split]
        indexes = [_read_index(shard) for shard in shards]
        joined = {name: np.concatenate([index[name] for index in indexes]) for name in INDEX_DTYPES}
        owner = np.repeat(np.arange(len(shards)), [shard.samples for shard in shards])
        return cls(
            manifest,
            split,
            shards,
            joined["key"],
            owner,
            joined["offset"],
            joined["bytes"],
            joined["seconds"],
            joined["crc32"],
        )

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int, columns: Sequence[str], entropy: tuple[int, int] = (0, 0)) -> Sample:
        """Returns one sample with the series `columns`.

        Raises:
            DataError: the tar is cut short or its bytes have changed; names shard and key.
            SchemaMismatch: the sample lacks a column that the manifest promises.
        """
        key, shard = self.keys[index].decode(), self.shards[self.shard[index]]
        raw = _read_range(shard.path, int(self.offset[index]), int(self.bytes[index]))
        if len(raw) != self.bytes[index] or zlib.crc32(raw) != self.crc32[index]:
            what = "is cut short" if len(raw) != self.bytes[index] else "has changed bytes (its checksum differs)"
            raise DataError(f"{shard.path} {what} at sample {key}; copy the set again or build it again")
        members = _members(raw)
        try:
            info = json.loads(members[f"{key}.json"])
            with np.load(io.BytesIO(members[f"{key}.npz"]), allow_pickle=False) as arrays:
                series = {name: arrays[name] for name in columns}
        except KeyError as error:
            raise SchemaMismatch(f"{shard.path}: sample {key} has no {error}; build the set again") from error
        return Sample(key, series, info, entropy)


INDEX_DTYPES = {"key": "S40", "offset": "int64", "bytes": "int64", "seconds": "float32", "crc32": "uint32"}


def _read_index(shard: Shard) -> dict[str, Array]:
    for file in (shard.path, shard.index):
        if not file.is_file():
            raise DataError(f"{file} is gone, but the manifest names it; copy the set again or build it again")
    size = shard.path.stat().st_size
    if size != shard.bytes:
        raise DataError(f"{shard.path} has {size} bytes, the manifest says {shard.bytes}; copy or build the set again")
    try:
        with np.load(shard.index, allow_pickle=False) as arrays:
            index = {name: arrays[name].astype(dtype) for name, dtype in INDEX_DTYPES.items()}
    except (KeyError, ValueError, OSError, EOFError, zlib.error) as error:
        raise SchemaMismatch(f"{shard.index} is no index of a tar ({error}); build the set again") from error
    if any(len(array) != shard.samples for array in index.values()):
        raise SchemaMismatch(
            f"{shard.index} has {len(index['key'])} samples, the manifest says {shard.samples}; build the set again"
        )
    return index


def _read_range(path: Path, offset: int, length: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


def _members(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {member.name: stream.read() for member in tar if (stream := tar.extractfile(member))}
