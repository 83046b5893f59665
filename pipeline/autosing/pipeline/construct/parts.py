"""Pass 1: the samples of one partition, encoded, in a scratch file that is there whole or not at all."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from autosing.pipeline.construct.inputs import NamedDataset, Needs, digests, fresh_records
from autosing.pipeline.construct.selection import Drop, Sample, Selector
from autosing.pipeline.construct.split import singer_of
from autosing.pipeline.construct.tar import npz
from autosing.pipeline.dataset import Partition, SongRow, split_address
from autosing.pipeline.store import Store
from autosing.signal.errors import StaleColumn
from autosing.signal.fingerprint import Landmarks, landmarks_of

WRITE_BYTES = 1 << 20


@dataclass(frozen=True)
class Part:
    """What pass 1 made of one partition.

    Args:
        name: its name in the scratch folder.
        songs: songs read.
        samples: samples written.
        bytes: their size.
        drops: reason -> songs and cuts that are no samples.
        groups: group and split given by the index, of the songs that have samples.
        singers: singers that have samples.
    """

    name: str
    songs: int
    samples: int
    bytes: int
    drops: Mapping[str, int]
    groups: tuple[tuple[str, str | None], ...]
    singers: tuple[str, ...]

    @property
    def file(self) -> str:
        """The name of the file that holds the samples."""
        return f"{self.name}.bin"

    def index(self, scratch: Store) -> Mapping[str, npt.NDArray[Any]]:
        """Returns `key` S40, `offset`, `bytes`, `length_ms` and `group` (number in `groups`) of each sample.

        Of each song that has samples and a fingerprint: `heard_group` and `heard_landmarks`, the number of its rows in
        `fingerprints`.
        """
        with scratch.open(f"{self.name}.npz") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


@dataclass(frozen=True)
class PartTask:
    """The work of pass 1 on one partition; small, as it travels to a worker.

    Args:
        needs: the columns.
        source: the data set.
        partition: number of the partition.
        digests: address -> digest that its column had when the inputs were checked.
        scratch_url: where the part goes.
        name: of the part.
    """

    needs: Needs
    source: NamedDataset
    partition: int
    digests: Mapping[str, str]
    scratch_url: str
    name: str


def finished_part(scratch: Store, name: str) -> Part | None:
    """Returns what an earlier run of the same build made of a partition; None where it did not finish."""
    told = scratch.read_text(f"{name}.json")
    if told is None:
        return None
    part = json.loads(told)
    groups = tuple((group, given) for group, given in part.pop("groups"))
    found = Part(**part | {"groups": groups, "singers": tuple(part["singers"])})
    stamp = scratch.stamp(found.file)
    return found if stamp and stamp.size == found.bytes else None


def write_part(task: PartTask) -> Part:
    """Encodes the samples of a partition, in the order of its songs, and commits them to the scratch folder.

    The samples are not forced to the disk, which would double the time: what a crash of the machine tears is too short,
    is noticed by that and is done again.

    Raises:
        StaleColumn: a column is another one than when the inputs were checked.
    """
    scratch = Store(task.scratch_url)
    selector = Selector(task.needs, task.source)
    partition = Partition(Store(task.source.dataset.url), task.partition)
    with (
        Path(scratch.path(f"{task.name}.bin")).open("wb", buffering=WRITE_BYTES) as file,
        scratch.writing(f"{task.name}.jsonl") as drops_path,
        drops_path.open("w", encoding="utf-8") as drops_file,
    ):
        writer = _Writer(selector, file, drops_file)
        for row in partition.rows(task.needs.read(task.source)):
            writer.add(row)
    _check_unchanged(task, partition)
    with scratch.writing(f"{task.name}.npz") as path, path.open("wb") as file:
        file.writelines(npz(writer.index()))
    part = writer.part(task.name)
    with scratch.writing(f"{task.name}.json") as path:
        path.write_text(json.dumps(asdict(part)), encoding="utf-8")
    return part


def _check_unchanged(task: PartTask, partition: Partition) -> None:
    now = digests(task.digests, fresh_records(partition, [split_address(a)[0] for a in task.digests]))
    if changed := [address for address, digest in now.items() if digest != task.digests[address]]:
        raise StaleColumn(
            f"partition {partition.number} of {partition.store.url}: {', '.join(changed)} changed while the set was "
            "built from it; build again"
        )


class _Writer:
    """Appends samples to an open file and keeps their index, and drops to another."""

    def __init__(self, selector: Selector, samples: IO[bytes], drops: IO[str]) -> None:
        self._selector, self._samples, self._drops = selector, samples, drops
        self._rows: list[tuple[str, int, int, int]] = []
        self._reasons: Counter[str] = Counter()
        self._groups: dict[tuple[str, str | None], int] = {}
        self._singers: set[str] = set()
        self._heard: list[tuple[int, Landmarks]] = []
        self._songs = 0

    def add(self, row: SongRow) -> None:
        self._songs += 1
        before = len(self._rows)
        for outcome in self._selector.samples(row):
            if isinstance(outcome, Drop):
                self._reasons[outcome.reason] += 1
                self._drops.write(outcome.line(self._selector.source.name, row.id))
            else:
                self._add_sample(row, outcome)
        if (address := self._selector.needs.fingerprint) and len(self._rows) > before:
            self._heard.append((self._rows[-1][-1], landmarks_of(row.values[address])))

    def _add_sample(self, row: SongRow, sample: Sample) -> None:
        text = self._selector.text_of(row)
        group = self._selector.group_of(row), text["split"] or None
        self._samples.writelines(sample.pieces)
        number = self._groups.setdefault(group, len(self._groups))
        self._rows.append((sample.key, sample.size, sample.length_ms, number))
        self._singers |= {singer} if (singer := singer_of(text)) else set()

    def index(self) -> dict[str, npt.NDArray[Any]]:
        keys, sizes, lengths, groups = zip(*self._rows, strict=True) if self._rows else ((), (), (), ())
        size = np.array(sizes, np.int64)
        heard = [landmarks for _, landmarks in self._heard]
        return {
            "key": np.array(keys, "S40"),
            "offset": np.cumsum(size) - size,
            "bytes": size,
            "length_ms": np.array(lengths, np.int32),
            "group": np.array(groups, np.int32),
            "heard_group": np.array([group for group, _ in self._heard], np.int32),
            "heard_landmarks": np.array([len(landmarks) for landmarks in heard], np.int32),
            "fingerprints": np.concatenate([np.empty((0, 2), np.uint32), *heard]),
        }

    def part(self, name: str) -> Part:
        groups, singers = tuple(self._groups), tuple(sorted(self._singers))
        n_bytes = sum(size for _, size, _, _ in self._rows)
        return Part(name, self._songs, len(self._rows), n_bytes, dict(self._reasons), groups, singers)
