"""`verify` on data sets: silent where all is well, one line per damage with the file, what is wrong and what to do."""

import json
import os
import random
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_stages import toy_dataset, toy_graph, toy_songs

from autosing.pipeline.columnfile import ColumnWriter, read_record
from autosing.pipeline.dataset import Dataset, Partition
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.progress import Progress
from autosing.pipeline.record import RECORD_KEY
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.store import Store
from autosing.pipeline.upkeep.findings import Finding
from autosing.pipeline.upkeep.partition import PartitionTask, verify_partition
from autosing.pipeline.upkeep.verify import verify
from autosing.signal.errors import DataError, RowError
from said import Autosing

ALL = ["probe", "letters", "level", "doubled", "above"]
BROKEN = NewSong("broken.wav", b"RIFF, but no more")
DAYS_AGO_NS = time.time_ns() - 3 * 86_400 * 10**9


def run(url: str, artefacts: str | None = None, keep_level: bool = True) -> None:
    graph = toy_graph(artefacts or url, keep_level=keep_level)
    process(Dataset(url), graph, ALL, RunOptions(executor="local"), progress=Progress(0, quiet=True))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two partitions with every column, and a song that can't be decoded."""
    url = toy_dataset(str(tmp_path_factory.mktemp("verify") / "set"))
    append_songs(url, [*toy_songs(2, 6), BROKEN])
    run(url)
    return Path(url)


@pytest.fixture
def songs(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "set"))


def found(songs: Path, quick: bool = False) -> list[Finding]:
    return verify(str(songs), quick).findings


def only(songs: Path, file: str, quick: bool = False) -> str:
    """Returns what is wrong with a file and what to do, where it is the only one that is found."""
    (finding,) = found(songs, quick)
    assert finding.file == str(songs / file)
    return f"{finding.problem}; {finding.way_out}"


def edit_record(path: Path, edit: Callable[[dict[str, object]], object]) -> None:
    """Changes the commit record of a column file that has no seal, and nothing else."""
    table = pq.read_table(path)
    metadata = pq.read_metadata(path).metadata
    record = json.loads(metadata[RECORD_KEY])
    record.pop("crc32")
    edit(record)
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({RECORD_KEY.decode(): json.dumps(record)})


def test_a_set_without_damage_is_silent(autosing: Autosing, songs: Path) -> None:
    said = autosing("verify", songs)
    assert (said.code, said.out, said.err) == (0, "", "")
    told = autosing("verify", songs, "--json", "--workers", "2").json
    assert told["findings"] == [] and (told["files"], told["rows"], told["errors"]) == (18, 45, 5)
    assert found(songs, quick=True) == []


def test_a_set_on_an_object_store_is_verified_there(tmp_path: Path) -> None:
    url = toy_dataset(f"memory://{uuid.uuid4().hex}/set")
    run(url, str(tmp_path))
    assert verify(url).findings == []
    store = Store(url)
    with store.writing("1", "notes.txt") as path:
        path.write_text("mine")
    store.remove("0", "index.parquet")
    assert [Path(f.file).name for f in verify(url).findings] == ["index.parquet", "notes.txt"]


def test_a_column_whose_values_are_not_kept_is_no_damage(songs: Path) -> None:
    run(str(songs), keep_level=False)
    assert found(songs) == []


def test_a_flipped_byte_is_found_wherever_in_a_column_file_it_is(songs: Path) -> None:
    places = random.Random(1)
    for name in ("level", "letters", "probe"):
        path = songs / "1" / f"{name}.parquet"
        whole = path.read_bytes()
        for at in [0, len(whole) - 1, *(places.randrange(len(whole)) for _ in range(12))]:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << places.randrange(8)]) + whole[at + 1 :])
            told, _ = verify_partition(PartitionTask(str(songs), 1))
            assert [f.file for f in told.findings] == [str(path)], at
            assert "autosing process" in told.findings[0].way_out
        path.write_bytes(whole)
    assert found(songs) == []


def test_a_flipped_byte_of_a_song_is_found(songs: Path) -> None:
    path = songs / "0" / "index.parquet"
    whole = path.read_bytes()
    at = whole.index(b"data") + 2000
    path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
    assert "restore it from a copy" in only(songs, "0/index.parquet")


def test_songs_that_were_written_again_are_found_without_checksums(songs: Path) -> None:
    path = songs / "0" / "index.parquet"
    table = pq.read_table(path)
    audio = [bytes(reversed(a)) for a in table["audio"].to_pylist()]
    pq.write_table(table.set_column(1, "audio", pa.array(audio, pa.large_binary())), path)
    assert "its column audio is not what probe read" in only(songs, "0/index.parquet")


def test_a_truncated_file_is_found_without_reading_values(songs: Path) -> None:
    path = songs / "0" / "level.parquet"
    os.truncate(path, path.stat().st_size // 2)
    assert only(songs, "0/level.parquet", quick=True).endswith(f"delete it and run: autosing process {songs} level")


def test_foreign_files_are_found_wherever_they_are(songs: Path) -> None:
    pq.write_table(pa.table({"id": ["a"]}), songs / "0" / "mine.parquet")
    (songs / "1" / "notes.txt").write_text("mine")
    (songs / "1" / "old").mkdir()
    (songs / "01").mkdir()
    (songs / "readme.md").write_text("mine")
    told = {f.file.removeprefix(f"{songs}/"): f for f in found(songs, quick=True)}
    assert set(told) == {"0/mine.parquet", "1/notes.txt", "1/old", "01", "readme.md"}
    assert {f.way_out for f in told.values()} == {"delete it, or move it elsewhere"}
    assert "it has no commit record" in told["0/mine.parquet"].problem


def test_a_column_of_another_partition_is_found(songs: Path) -> None:
    shutil.copy(songs / "0" / "level.parquet", songs / "1" / "level.parquet")
    told = only(songs, "1/level.parquet", quick=True)
    assert told.startswith(
        "it belongs to another index: row 0 has the id 'song 0.wav' where the index has 'song 3.wav'"
    )


def test_a_column_of_a_set_with_the_same_ids_and_other_songs_is_found(songs: Path, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    append_songs(other, [replace(s, audio=t.audio) for s, t in zip(toy_songs(3), toy_songs(3, 9), strict=True)])
    run(other)
    shutil.copy(Path(other, "0", "letters.parquet"), songs / "0" / "letters.parquet")
    assert found(songs) == []  # The lyrics, which it was computed from, are the same.
    shutil.copy(Path(other, "0", "above.parquet"), songs / "0" / "above.parquet")
    assert "frames, and the song" in only(songs, "0/above.parquet")
    assert "it was computed from another level.level" in only(songs, "0/above.parquet", quick=True)


def test_a_column_under_another_name_is_found(songs: Path) -> None:
    shutil.copy(songs / "0" / "level.parquet", songs / "0" / "level.two.parquet")
    assert "it is the file of level" in only(songs, "0/level.two.parquet", quick=True)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda r: r["settings"].update(gain=2.0), "contradicts itself (definition)"),
        (lambda r: r["input_digests"].update({"index.audio": "0" * 32}), "contradicts itself (key)"),
        (lambda r: r["digests"].update(level="0" * 32), "its column level has other values than were written"),
        (lambda r: r.update(errors=5), "0 rows have an error, 0 of their own, and its record says 5 and 0"),
        (lambda r: r.update(rows=2), "it has 3 rows, and its record says 2"),
        (lambda r: r.update(digests={}), "it has the columns level, and its record "),
        (lambda r: r.update(digests=None), "it can't be read (TypeError"),
        (lambda r: r.pop("key"), "is not of format 1"),
    ],
)
def test_a_record_that_was_edited_is_found(songs: Path, edit: Callable[[dict[str, object]], object], told: str) -> None:
    edit_record(songs / "0" / "level.parquet", edit)
    assert told in only(songs, "0/level.parquet")


def test_a_series_that_is_not_as_long_as_its_song_is_found(songs: Path) -> None:
    partition = Partition(Store(str(songs)), 0)
    record = partition.record("doubled")
    assert record is not None
    rows = list(partition.rows(["doubled.doubled"]))
    with partition.store.writing("0", "doubled.parquet") as path:
        writer = ColumnWriter(path, partition.columns("doubled"))
        for row in rows:
            writer.add(row.id, {"doubled": row.values["doubled.doubled"][:-1]})
        writer.close(replace(record, digests=writer.digests()))
    assert "doubled of 'song 0.wav' has 9 frames, and the song 10" in only(songs, "0/doubled.parquet")


def test_columns_that_lost_their_input_or_got_another_are_found_with_the_command_that_mends_them(songs: Path) -> None:
    partition = Partition(Store(str(songs)), 0)
    record = partition.record("level")
    assert record is not None
    with partition.store.writing("0", "level.parquet") as path:
        writer = ColumnWriter(path, partition.columns("level"))
        for id in partition.ids():
            writer.add(id, RowError("lost"))
        writer.close(replace(record, digests=writer.digests(), errors=3, own_errors=3))
    told = found(songs)
    assert [Path(f.file).stem for f in told] == ["above", "doubled"]
    assert {f.problem for f in told} == {"it was computed from another level.level than is there now"}
    assert told[0].way_out == f"run: autosing process {songs} above"
    (songs / "0" / "level.parquet").unlink()
    assert {f.problem for f in found(songs)} == {"it was computed from level, which is gone"}


def test_leftovers_of_killed_runs_are_found_once_they_are_old(songs: Path) -> None:
    left = [songs / "0" / ".tmp-f0.parquet.12-0123abcd", songs / "7" / ".tmp-index.parquet.1-0123abcd"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    fit = songs / "models" / ".tmp-units"
    fit.mkdir()
    (fit / "half.npy").write_bytes(b"half")
    assert found(songs) == []
    for path in (*left, fit / "half.npy", fit):
        os.utime(path, ns=(DAYS_AGO_NS, DAYS_AGO_NS))
    told = found(songs)
    assert {f.file for f in told} == {str(path) for path in (*left, fit)}
    assert {f.way_out for f in told} == {f"delete it: autosing gc {songs}"}


def test_a_partition_that_lost_its_index_is_found(songs: Path) -> None:
    (songs / "1" / "index.parquet").unlink()
    assert "it is gone, and 5 column files are beside its place" in only(songs, "1/index.parquet")


def test_an_id_of_two_partitions_is_found(songs: Path) -> None:
    shutil.copytree(songs / "0", songs / "5")
    assert "its id 'song 0.wav' is in partition 0, too" in only(songs, "5/index.parquet")


def test_whatever_is_in_a_partition_its_neighbours_are_verified(songs: Path) -> None:
    for name in ("index", "probe", "letters"):
        (songs / "0" / f"{name}.parquet").write_bytes(os.urandom(100))
    shutil.copy(songs / "0" / "index.parquet", songs / "2" / "level.parquet")
    told = [f.file.removeprefix(f"{songs}/") for f in found(songs)]
    assert told == ["0/index.parquet", "0/probe.parquet", "0/letters.parquet", "2/level.parquet"]


def test_a_finding_is_one_line_with_the_file_the_problem_and_the_way_out_and_the_exit_code_is_1(
    autosing: Autosing, songs: Path
) -> None:
    (songs / "0" / "notes.txt").write_text("mine")
    said = autosing("verify", songs)
    line = f"{songs}/0/notes.txt: a foreign file: autosing did not write it; delete it, or move it elsewhere\n"
    assert (said.code, said.out, said.err) == (1, line, "")
    said = autosing("verify", songs, "--json")
    assert said.code == 1 and [Finding(**f).file for f in said.json["findings"]] == [f"{songs}/0/notes.txt"]


def test_a_folder_that_holds_neither_is_refused(autosing: Autosing, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds neither a data set"):
        verify(str(tmp_path))
    assert autosing("verify", tmp_path).code == 1


def test_column_files_are_sealed_and_a_file_of_an_older_version_need_not_be(songs: Path) -> None:
    record = read_record(Store(str(songs)), "0", "level")
    assert record is not None and len(record.crc32) == 8 and record.crc32 != "0" * 8
    edit_record(songs / "0" / "level.parquet", lambda r: r)
    assert found(songs) == []
