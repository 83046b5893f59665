"""Verifies a data set or a built set: derives again what it says of itself, and finds what belongs to nothing."""

import hashlib
from collections.abc import Callable, Iterator

from autosing.pipeline.construct.manifest import MANIFEST
from autosing.pipeline.construct.target import SHARD_FILE
from autosing.pipeline.construct.workers import worker_pool
from autosing.pipeline.dataset import INDEX, UNFINISHED
from autosing.pipeline.store import Store
from autosing.pipeline.upkeep.built import verify_manifest, verify_shard
from autosing.pipeline.upkeep.findings import Checked
from autosing.pipeline.upkeep.orphans import LEFTOVER_H, NUMBER, Orphans, partition_folders
from autosing.pipeline.upkeep.partition import PartitionTask, verify_partition
from autosing.signal.errors import DataError

Report = Callable[[Checked], None]


def verify(
    url: str, quick: bool = False, workers: int = 1, older_than_h: float = LEFTOVER_H, report: Report | None = None
) -> Checked:
    """Returns what is wrong with a data set or a built set.

    Args:
        url: where it is.
        quick: whether values are left unread: footers, ids, errors and indexes of tars alone.
        workers: processes.
        older_than_h: leftovers of killed runs must be so many hours old.
        report: is told what was found in each partition or shard, and beside them.

    Raises:
        DataError: there is neither a data set nor a built set.
    """
    store, found = Store(url), Checked()
    look = _built_set if is_built_set(store) else _dataset
    for part in look(store, quick, workers, older_than_h):
        found.add(part)
        if report:
            report(part)
    return found


def is_built_set(store: Store) -> bool:
    """Returns whether a folder holds what `build` makes, and no data set.

    Raises:
        DataError: it holds neither.
    """
    if store.stamp(MANIFEST) is not None or any(SHARD_FILE.fullmatch(n) for n in store.files()):
        return True
    if not any(NUMBER.fullmatch(n) for n in store.folders()):
        raise DataError(
            f"{store.url} holds neither a data set (<n>/index.parquet) nor a built set ({MANIFEST}); name one of both"
        )
    return False


def _dataset(store: Store, quick: bool, workers: int, older_than_h: float) -> Iterator[Checked]:
    yield _beside_partitions(store, older_than_h)
    numbers = sorted(map(int, partition_folders(store)))
    tasks = [PartitionTask(store.url, n, quick, older_than_h) for n in numbers]
    seen: dict[bytes, int] = {}
    with worker_pool(min(workers, len(tasks))) as pool:
        for number, (found, ids) in zip(numbers, pool.map(verify_partition, tasks), strict=True):
            _check_repeated(store, number, ids, seen, found)
            yield found


def _beside_partitions(store: Store, older_than_h: float) -> Checked:
    found = Checked()
    if store.stamp(UNFINISHED) is not None:
        told = "an `autosing repartition` into this set was stopped"
        found.find(store.path(UNFINISHED), told, "run the same command again")
    for orphan in Orphans(store, older_than_h).of_dataset():
        found.findings.append(orphan.finding(store))
    for folder in set(filter(NUMBER.fullmatch, store.folders())) - set(partition_folders(store)):
        if columns := [n for n in store.files(folder) if n.endswith(".parquet") and n != "reference.parquet"]:
            told = f"it is gone, and {len(columns)} column files are beside its place"
            found.find(store.path(folder, f"{INDEX}.parquet"), told, "restore it from a copy, or delete the folder")
    return found


def _check_repeated(store: Store, number: int, ids: list[str], seen: dict[bytes, int], found: Checked) -> None:
    """Notes the ids of a partition; one that another has is found."""
    for id in ids:
        other = seen.setdefault(hashlib.blake2b(id.encode(), digest_size=16).digest(), number)
        if other != number:
            told = f"its id {id!r} is in partition {other}, too"
            way_out = "keep it out by exclude.txt, and ingest one of both under another id"
            found.find(store.path(str(number), f"{INDEX}.parquet"), told, way_out)
            return


def _built_set(store: Store, quick: bool, workers: int, older_than_h: float) -> Iterator[Checked]:
    found, tasks = verify_manifest(store, quick, older_than_h)
    yield found
    with worker_pool(min(workers, len(tasks))) as pool:
        yield from pool.map(verify_shard, tasks)
