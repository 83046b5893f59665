"""The catalogue spares planning the footers, is never believed against the files, and is never needed."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_stages import column_values, toy_dataset, toy_graph

from autosing.pipeline.catalogue import CATALOGUE, Catalogue
from autosing.pipeline.dataset import Dataset, Partition
from autosing.pipeline.listing import list_partitions, mark_of
from autosing.pipeline.outcomes import Models
from autosing.pipeline.passes import Pass
from autosing.pipeline.plan import plan_partition
from autosing.pipeline.progress import Progress
from autosing.pipeline.record import Record
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from autosing.pipeline.snapshot import Snapshot
from autosing.pipeline.store import Store
from autosing.pipeline.work import Group
from autosing.signal.errors import AutosingError, DataError

ALL = ["probe", "letters", "level", "doubled", "above"]
HOUR_NS = 3600 * 10**9


def run(url: str, **settings: Any) -> RunReport:
    graph = toy_graph(url, **settings)
    return process(Dataset(url), graph, ALL, RunOptions(executor="local"), progress=Progress(0, quiet=True))


def age(path: Path) -> None:
    """Makes a file look an hour older, as if it had been written then."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - HOUR_NS))


def states(url: str, **settings: Any) -> dict[str, set[str]]:
    """Returns the instances by state, as a new snapshot plans them."""
    found: dict[str, set[str]] = {}
    for partition in Snapshot(Dataset(url)).partitions():
        for f in plan_partition(partition, toy_graph(url, **settings), ALL).findings:
            found.setdefault(f.state, set()).add(f"{partition.number}/{f.instance}")
    return found


def catalogue(url: str) -> None:
    """Writes the catalogue of a data set, however small that is."""
    store = Store(url)
    listing = list_partitions(store)
    written = Catalogue(store, {})
    for partition in Dataset(url).partitions:
        for name in partition.instances():
            record = partition.record(name)
            assert record is not None
            written.add(partition.number, name, listing[partition.number][name], record)
    written.save(listing)


def gut(url: str) -> None:
    """Takes everything out of the column files without its being seen from outside: only a catalogue can tell then."""
    for path in Path(url).glob("[0-9]*/*.parquet"):
        status = path.stat()
        if path.stem != "index":
            path.write_bytes(b"\0" * status.st_size)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = toy_dataset(str(tmp_path / "set"))
    for path in Path(made).glob("*/index.parquet"):
        age(path)
    run(made)
    for path in Path(made).glob("[0-9]*/*.parquet"):
        if path.stem != "index":
            age(path)
    return made


def test_an_unchanged_data_set_is_planned_without_opening_a_file(url: str) -> None:
    catalogue(url)
    gut(url)
    assert states(url) == {"fresh": {f"{n}/{i}" for n in (0, 1) for i in ALL}}


def test_records_come_back_as_they_were_but_for_when_and_where_they_were_computed(url: str) -> None:
    catalogue(url)
    for partition in Dataset(url).partitions:
        for name in partition.instances():
            known, stored = Snapshot(Dataset(url)).record(partition.number, name), partition.record(name)
            assert known is not None and stored is not None
            assert vars(known) == vars(stored) | {"run": {}, "crc32": ""}


def test_what_is_stale_is_told_by_the_catalogue_as_by_the_files(url: str) -> None:
    expected = states(url, gain=2.0)
    catalogue(url)
    gut(url)
    assert states(url, gain=2.0) == expected
    assert {"0/level", "1/doubled"} <= expected["due"]


def told(partition: Partition) -> Record | str | None:
    """Returns the record of a partition's level, or what is wrong with its file."""
    try:
        return partition.record("level")
    except AutosingError as error:
        return str(error)


def rewritten(path: Path) -> None:
    """Puts another column in a file's place: same size, same time, a new inode, as a run of other settings would."""
    status = path.stat()
    raw = path.read_bytes()
    new = path.with_name("new")
    new.write_bytes(raw.replace(b'"gain": 1.0', b'"gain": 9.0').replace(b'"key": "', b'"key": "0')[: len(raw)])
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(new, path)


@pytest.mark.parametrize(
    "change", [rewritten, Path.unlink, lambda path: path.write_bytes(b"x"), lambda path: os.utime(path, ns=(0, 1))]
)
def test_an_entry_is_not_believed_once_its_file_is_another(url: str, change: Callable[[Path], Any]) -> None:
    catalogue(url)
    change(Path(url, "0", "level.parquet"))
    assert told(Snapshot(Dataset(url)).partition(0)) == told(Dataset(url).partitions[0])


def test_a_file_that_was_written_just_now_is_not_catalogued(url: str) -> None:
    os.utime(Path(url, "0", "level.parquet"))
    catalogue(url)
    gut(url)
    assert "0/level" in states(url)["due"]
    assert "1/level" in states(url)["fresh"]


def damaged_in_the_middle(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 1
    path.write_bytes(raw)


def of_another_format(path: Path) -> None:
    pq.write_table(pa.table({"partition": [0], "files": ["[]"]}), path)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("harm", [damaged_in_the_middle, of_another_format, cut_off, Path.unlink])
def test_a_damaged_or_missing_catalogue_changes_nothing_and_is_written_again(
    url: str, harm: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autosing.pipeline.snapshot.WORTH_SAVING", 1)
    catalogue(url)
    harm(Path(url, CATALOGUE))
    assert run(url).tasks == 0
    gut(url)
    assert states(url) == {"fresh": {f"{n}/{i}" for n in (0, 1) for i in ALL}}


def test_two_drivers_that_write_the_catalogue_leave_one_that_is_right(url: str) -> None:
    first, second = Snapshot(Dataset(url)), Snapshot(Dataset(url))
    for snapshot in (first, second):
        for partition in snapshot.partitions():
            plan_partition(partition, toy_graph(url), ALL)
    run(url, gain=2.0)
    for snapshot in (first, second):
        snapshot._catalogue.save(snapshot._listing)
    assert states(url, gain=2.0) == {"fresh": {f"{n}/{i}" for n in (0, 1) for i in ALL}}


def test_a_small_data_set_gets_no_catalogue(url: str) -> None:
    run(url)
    assert not Path(url, CATALOGUE).exists()


def test_a_read_only_data_set_is_planned_all_the_same(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autosing.pipeline.snapshot.WORTH_SAVING", 1)
    Path(url, CATALOGUE).mkdir()  # Nothing can be put in a folder's place, whoever runs the test.
    assert run(url).tasks == 0


def test_a_run_knows_what_it_wrote_itself(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autosing.pipeline.snapshot.WORTH_SAVING", 1)
    monkeypatch.setattr("autosing.pipeline.catalogue.SETTLED_S", -60.0)
    expected = column_values(url)
    run(url, gain=2.0)
    run(url)
    assert column_values(url) == expected
    gut(url)
    assert states(url) == {"fresh": {f"{n}/{i}" for n in (0, 1) for i in ALL}}


def test_an_index_that_changes_during_a_run_fails_its_partition(url: str) -> None:
    partition = Dataset(url).partitions[0]
    os.utime(Path(url, "0", "index.parquet"), ns=(0, 1))
    with pytest.raises(DataError, match=r"index\.parquet changed meanwhile; run again"):
        Group(Pass(partition, toy_graph(url), ["level"]), ["level"]).commit(Models())


def test_a_store_in_memory_is_listed_with_marks_that_change_when_an_object_is_written_again() -> None:
    store = Store(f"memory://{uuid.uuid4().hex}/set")
    for _ in range(2):
        for name in ("index", "level"):
            with store.writing("3", f"{name}.parquet") as path:
                path.write_text("same size")
    listing = list_partitions(store)
    assert list(listing) == [3] and set(listing[3]) == {"index", "level"}
    before = listing[3]["level"]
    assert before == mark_of(store, "3", "level.parquet") and before.tag
    with store.writing("3", "level.parquet") as path:
        path.write_text("same size")
    assert mark_of(store, "3", "level.parquet") != before


def test_a_listing_that_lags_makes_no_known_file_forgotten(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Snapshot(Dataset(url)).files(0)
    late = {name: before[name] for name in ("index", "level")}
    run(url, gain=2.0)
    snapshot = Snapshot(Dataset(url))
    Path(url, "0", "letters.parquet").unlink()
    monkeypatch.setattr("autosing.pipeline.snapshot.list_partition", lambda store, number: dict(late))
    snapshot.look_again(0)
    monkeypatch.undo()
    assert snapshot.files(0) == Snapshot(Dataset(url)).files(0)


def test_files_deeper_down_are_no_partitions(tmp_path: Path) -> None:
    for place in ("7/index.parquet", "models/8/index.parquet", "7/9/index.parquet", "07/index.parquet", "6/f0.parquet"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    assert list(list_partitions(Store(str(tmp_path)))) == [7]
    assert list(list_partitions(Store(f"local://{tmp_path}"))) == [7]
