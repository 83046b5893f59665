"""A data set at one moment: one listing, and the commit records of its files, from the catalogue where that knows."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

from autosing.pipeline.catalogue import Catalogue, Entry
from autosing.pipeline.columnfile import read_record
from autosing.pipeline.dataset import INDEX, Dataset, Partition
from autosing.pipeline.listing import ENDING, Mark, list_partition, mark_of
from autosing.pipeline.record import Record
from autosing.pipeline.store import Stamp
from autosing.signal.errors import AutosingError

WORTH_SAVING = 256
"""So many footers were read since the catalogue was written, or fewer, are as quickly read again."""
READERS, AHEAD = 32, 64
"""How many footers are read at once from an object store, and for how many partitions at a time."""


@dataclass(frozen=True)
class Commit:
    """A column file that was just written: its record, and its mark, which was taken before the record was read."""

    mark: Mark
    record: Record


@dataclass(frozen=True)
class ListedPartition(Partition):
    """A partition as a snapshot shows it."""

    snapshot: "Snapshot" = field(compare=False, repr=False)

    def instances(self) -> list[str]:
        return sorted(self.snapshot.files(self.number).keys() - {INDEX})

    def record(self, instance: str) -> Record | None:
        return self.snapshot.record(self.number, instance)

    def index_stamp(self) -> Stamp | None:
        mark = self.snapshot.files(self.number).get(INDEX)
        return mark.stamp if mark else None


class Snapshot:
    """What the files of a data set are, and what they say of themselves.

    Args:
        dataset: listed once, when the snapshot is made.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._store, self._listing = dataset.store, dataset.list_files()
        self._order = list(self._listing)
        self._at = -1
        self._entries: dict[str, Entry] = {}

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue(self._store, self._listing)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the partitions, in order."""
        return self._order

    def partition(self, number: int) -> ListedPartition:
        """Returns a partition."""
        return ListedPartition(self._store, number, self)

    def partitions(self) -> Iterator[ListedPartition]:
        """Yields the partitions in order."""
        return map(self.partition, self._order)

    def files(self, number: int) -> dict[str, Mark]:
        """Returns the marks of a partition's files by instance."""
        return self._listing[number]

    def record(self, number: int, instance: str) -> Record | None:
        """Returns the commit record of a file, or None where there is none.

        Raises:
            DataError: the file is damaged or was not written by autosing.
        """
        if instance not in self._listing[number]:
            return None
        if (known := self._from_catalogue(number, instance)) is not None:
            return known
        if not self._store.is_local:
            self._read_ahead(number)
            if (known := self._from_catalogue(number, instance)) is not None:
                return known
        record = read_record(self._store, str(number), instance)
        if record is not None:
            self._add(number, instance, record)
        return record

    def committed(self, number: int, commits: Mapping[str, Commit]) -> None:
        """Takes in what a worker has just written."""
        for instance, commit in commits.items():
            self._listing[number][instance] = commit.mark
            self._add(number, instance, commit.record)

    def look_again(self, number: int) -> None:
        """Lists a partition anew, since somebody may have changed it.

        A listing may lag behind: a known file that it does not show, or shows otherwise, is looked at itself.
        """
        listed = list_partition(self._store, number)
        for instance, known in self._listing[number].items():
            if listed.get(instance) != known:
                found = mark_of(self._store, str(number), f"{instance}{ENDING}")
                if found:
                    listed[instance] = found
                else:
                    listed.pop(instance, None)
        self._listing[number] = listed

    def save(self) -> None:
        """Writes the catalogue where so many records were read that this spares the next run more than it costs."""
        if self._catalogue.n_new >= WORTH_SAVING:
            self._catalogue.save(self._listing)

    def _from_catalogue(self, number: int, instance: str) -> Record | None:
        if self._at != number:
            self._at, self._entries = number, self._catalogue.find(number)
        entry = self._entries.get(instance)
        return entry.record() if entry and entry.mark == self._listing[number][instance] else None

    def _add(self, number: int, instance: str, record: Record) -> None:
        self._catalogue.add(number, instance, self._listing[number][instance], record)
        self._at = -1

    def _read_ahead(self, number: int) -> None:
        """Reads the footers of a partition and some after it at once; one that can't be read is left for later."""
        first = bisect_left(self._order, number)
        wanted = [(n, i) for n in self._order[first : first + AHEAD] for i in self._unknown(n)]
        with ThreadPoolExecutor(READERS) as readers:
            for (n, instance), record in zip(wanted, readers.map(self._footer, wanted), strict=True):
                if record is not None:
                    self._add(n, instance, record)

    def _unknown(self, number: int) -> list[str]:
        entries = self._catalogue.find(number)
        listed = self._listing[number].items()
        return [i for i, mark in listed if i != INDEX and (i not in entries or entries[i].mark != mark)]

    def _footer(self, place: tuple[int, str]) -> Record | None:
        try:
            return read_record(self._store, str(place[0]), place[1])
        except (AutosingError, OSError):
            return None
