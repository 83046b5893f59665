"""Verifies a built set: the manifest against its own digest, tars and their indexes against the manifest."""

import hashlib
import io
import json
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.pipeline.construct.manifest import MANIFEST, Manifest, Shard, SplitTotals
from autosing.pipeline.construct.shards import DROPS
from autosing.pipeline.construct.tar import end
from autosing.pipeline.construct.target import SHARD_FILE
from autosing.pipeline.store import Store
from autosing.pipeline.upkeep.findings import UNREADABLE, Checked, reason
from autosing.pipeline.upkeep.orphans import Orphans
from autosing.signal.errors import DataError

AGAIN = "copy the set again, or build it again: autosing build"
INDEX_DTYPES = {"key": "S40", "offset": "int64", "bytes": "int64", "seconds": "float32", "crc32": "uint32"}
MOST_MANIFEST_BYTES, MOST_INDEX_BYTES = 256 << 20, 1 << 30

Index = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ShardTask:
    """The work on one tar: what the manifest says of it, and whether the tar itself is left unread."""

    url: str
    shard: Shard
    quick: bool


def verify_manifest(store: Store, quick: bool, older_than_h: float) -> tuple[Checked, list[ShardTask]]:
    """Returns what is wrong with the manifest and beside the tars, and the work that is left on each tar."""
    found, where = Checked(files=1), store.path(MANIFEST)
    shards: list[Shard] = []
    try:
        stamp = store.stamp(MANIFEST)
        if stamp is None:
            found.find(where, "it is gone: nothing says what the tars hold", AGAIN)
            return found, []
        found.bytes += stamp.size
        manifest = _read_manifest(store, stamp.size)
        if told := _contradiction(manifest):
            found.find(where, told, AGAIN)
        if told := _other_drops(store, manifest):
            found.find(store.path(DROPS), told, AGAIN)
        for shard in (shard for split in manifest.splits.values() for shard in split.shards):
            if _is_named(shard):
                shards.append(shard)
            else:
                found.find(where, f"it names {shard.path!r} and {shard.index!r}, which build never writes", AGAIN)
    except UNREADABLE as error:
        found.find(where, f"it is no manifest: {reason(error, where)}", AGAIN)
        return found, []
    own = [name for shard in shards for name in (shard.path, shard.index)]
    found.findings += [orphan.finding(store) for orphan in Orphans(store, older_than_h).of_built_set(own)]
    return found, [ShardTask(store.url, shard, quick) for shard in shards]


def _read_manifest(store: Store, size: int) -> Manifest:
    if size > MOST_MANIFEST_BYTES:
        raise DataError(f"{store.path(MANIFEST)} has {size} bytes, more than any manifest; build the set again")
    return Manifest.of_json(store.read_text(MANIFEST) or "")


def _contradiction(manifest: Manifest) -> str:
    """Returns in what a manifest contradicts itself."""
    if manifest.signed().digest != manifest.digest:
        return "it was edited: its digest is another"
    for name, split in manifest.splits.items():
        if (told := _sums(split)) != (split.samples, round(split.seconds * 1000)):
            return f"its split {name} has {split.samples} samples, and its tars {told[0]}"
    return ""


def _other_drops(store: Store, manifest: Manifest) -> str:
    """Returns in what the list of drops is not what the manifest counts."""
    if store.stamp(DROPS) is None:
        return "it is gone: nothing says which cuts are no samples"
    counted: Counter[str] = Counter()
    try:
        with store.open(DROPS) as file:
            for line in io.TextIOWrapper(io.BufferedReader(file), encoding="utf-8"):
                counted[json.loads(line)["reason"]] += 1
    except UNREADABLE as error:
        return reason(error, store.path(DROPS))
    return "" if counted == manifest.drops else "the drops that it lists are not those that the manifest counts"


def _sums(split: SplitTotals) -> tuple[int, int]:
    return sum(s.samples for s in split.shards), sum(round(s.seconds * 1000) for s in split.shards)


def _is_named(shard: Shard) -> bool:
    """Whether a tar and its index are named as `build` names them: files directly in the set's folder."""
    return bool(SHARD_FILE.fullmatch(shard.path) and SHARD_FILE.fullmatch(shard.index))


def verify_shard(task: ShardTask) -> Checked:
    """Returns what is wrong with a tar and its index; whatever is there is found, nothing is raised."""
    store, shard, found = Store(task.url), task.shard, Checked(files=2)
    name = shard.index
    try:
        index = _read_index(store, shard, found)
        name = shard.path
        told = _other_tar(store, shard, index, task.quick, found)
        if told:
            found.find(store.path(shard.path), told, AGAIN)
    except Exception as error:  # the worker boundary: whatever a tar holds, its neighbours are verified
        found.find(store.path(name), reason(error, store.path(name)), AGAIN)
    return found


def _read_index(store: Store, shard: Shard, found: Checked) -> Index | None:
    """Returns the index of a tar, where it is the one that the manifest names."""
    stamp, where = store.stamp(shard.index), store.path(shard.index)
    if stamp is None:
        found.find(where, f"it is gone: nothing says where the samples of {shard.path} are", AGAIN)
        return None
    if stamp.size > MOST_INDEX_BYTES:
        found.find(where, f"it has {stamp.size} bytes, more than any index", AGAIN)
        return None
    with store.open(shard.index) as file:
        raw = bytes(file.read())
    found.bytes += len(raw)
    if hashlib.blake2b(raw, digest_size=16).hexdigest() != shard.digest:
        found.find(where, "it is not the index that the manifest names (its digest is another)", AGAIN)
        return None
    with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
        index = {name: arrays[name].astype(dtype) for name, dtype in INDEX_DTYPES.items()}
    found.rows += len(index["key"])
    if any(len(array) != shard.samples for array in index.values()):
        found.find(where, f"it has {len(index['key'])} samples, and the manifest says {shard.samples}", AGAIN)
        return None
    return index


def _other_tar(store: Store, shard: Shard, index: Index | None, quick: bool, found: Checked) -> str:
    """Returns in what a tar is not what manifest and index say."""
    stamp = store.stamp(shard.path)
    if stamp is None:
        return "it is gone, and the manifest names it"
    found.bytes += stamp.size
    if stamp.size != shard.bytes:
        return f"it has {stamp.size} bytes, and the manifest says {shard.bytes}: it was cut short or written again"
    return "" if quick or index is None else _other_samples(store, shard, index)


def _other_samples(store: Store, shard: Shard, index: Index) -> str:
    """Returns in what the samples of a tar are not those of its index; only one is ever in memory."""
    at = 0
    with store.open(shard.path) as file:
        for key, offset, size, crc32 in zip(
            *(index[n].tolist() for n in ("key", "offset", "bytes", "crc32")), strict=True
        ):
            if offset != at or not 0 <= size <= shard.bytes - at:
                return f"its index is wrong at sample {key.decode()}"
            if zlib.crc32(data := file.read(size)) != crc32:
                return f"its sample {key.decode()} has changed bytes (its checksum differs)"
            if bytes(data[: len(key) + 1]) != key + b".":
                return f"its sample {key.decode()} begins with another file"
            at += size
        rest = bytes(file.read(len(end(at)) + 1))
    return "" if rest == end(at) else "what follows its last sample is not the end of a tar"
