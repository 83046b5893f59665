"""Removes what is provably ours and used by nothing: leftovers of killed runs and, if asked for, unlisted columns."""

from collections.abc import Collection, Iterator

from autosing.pipeline.columnfile import read_record
from autosing.pipeline.construct.manifest import MANIFEST
from autosing.pipeline.dataset import RESERVED, Partition
from autosing.pipeline.store import Store, explained_refusals
from autosing.pipeline.upkeep.findings import UNREADABLE
from autosing.pipeline.upkeep.orphans import LEFTOVER_H, Orphan, Orphans, partition_folders
from autosing.pipeline.upkeep.verify import is_built_set


def sweep(
    url: str, older_than_h: float = LEFTOVER_H, listed: Collection[str] | None = None, dry_run: bool = False
) -> Iterator[Orphan]:
    """Removes leftovers, and yields each as it goes.

    Args:
        url: a data set or a built set.
        older_than_h: they must be so many hours old, as a run may still be going on.
        listed: the instances of the settings, where columns of others are to go, too.
        dry_run: whether nothing is removed.

    Raises:
        DataError: there is neither a data set nor a built set, or it can't be written.
    """
    store = Store(url)
    found = _of_built_set if is_built_set(store) else _of_dataset
    with explained_refusals(url):
        for orphan in found(store, Orphans(store, older_than_h), listed):
            if not dry_run:
                remove = store.remove_folder if orphan.is_folder else store.remove
                remove(*orphan.parts)
            yield orphan


def _of_built_set(store: Store, orphans: Orphans, listed: Collection[str] | None) -> Iterator[Orphan]:
    is_complete = store.stamp(MANIFEST) is not None
    for orphan in orphans.of_built_set(()):
        # Without a manifest the same command goes on with the scratch of the build that was killed.
        if orphan.is_ours and (is_complete or not orphan.is_folder):
            yield orphan


def _of_dataset(store: Store, orphans: Orphans, listed: Collection[str] | None) -> Iterator[Orphan]:
    yield from (orphan for orphan in orphans.of_dataset() if orphan.is_ours)
    for folder in partition_folders(store):
        yield from (orphan for orphan in orphans.of_partition(folder) if orphan.is_ours)
        if listed is not None:
            yield from _unlisted(Partition(store, int(folder)), listed)


def _unlisted(partition: Partition, listed: Collection[str]) -> Iterator[Orphan]:
    """Yields the column files, by their own records, of instances that the settings don't name."""
    for name in partition.instances():
        if name in RESERVED or name in listed or not _is_column(partition, name):
            continue
        parts = partition.folder, f"{name}.parquet"
        if stamp := partition.store.stamp(*parts):
            yield Orphan(parts, False, stamp.size, "no instance of the settings", True)


def _is_column(partition: Partition, name: str) -> bool:
    try:
        record = read_record(partition.store, partition.folder, name)
    except UNREADABLE:
        return False
    return record is not None and record.instance == name and bool(record.stage)
