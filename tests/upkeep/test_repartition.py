"""`repartition`: the same rows in partitions of another size, as fresh as they were, whatever stops it in between."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_stages import column_values, toy_dataset, toy_graph, toy_songs

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from autosing.pipeline.upkeep.repartition import repartition
from autosing.pipeline.upkeep.verify import verify
from autosing.signal.errors import DataError, UsageError
from said import Autosing

ALL = ["probe", "letters", "level", "doubled", "above"]
BROKEN = NewSong("broken.wav", b"RIFF, but no more", {"lrc_lyrics": None})
N_SONGS = 10
SCRIPT = """
import os, signal, sys
from autosing.pipeline.upkeep.repartition import repartition

left = [int(sys.argv[3])]
def told(name):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)

repartition(sys.argv[1], sys.argv[2], hours=SECONDS / 3600, told=told)
"""
SECONDS = 3.0
"""Of a partition in these tests: four or five tones."""


def run(url: str, artefacts: str | None = None, keep_level: bool = True, targets: Sequence[str] = ALL) -> RunReport:
    graph, quiet = toy_graph(artefacts or url, keep_level=keep_level), Progress(0, quiet=True)
    return process(Dataset(url), graph, targets, RunOptions("local"), progress=quiet)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of four small partitions with every column, and a song that can't be decoded."""
    url = toy_dataset(str(tmp_path_factory.mktemp("repartition") / "set"), partitions=3)
    append_songs(url, [BROKEN])
    run(url)
    return Path(url)


@pytest.fixture
def songs(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "set"))


def rows(url: str | Path) -> dict[str, Any]:
    """Returns every value of every column of every song, series as bytes, and its errors."""
    found: dict[str, Any] = {}
    for partition in Dataset(str(url)).partitions:
        index = [f"index.{c}" for c in partition.index_columns()]
        columns = [f"{i}.{c.name}" for i in partition.instances() for c in partition.columns(i)]
        for row in partition.rows([*index, *columns, *(f"{i}.error" for i in partition.instances())]):
            values = {a: v.tobytes() if isinstance(v, np.ndarray) else v for a, v in row.values.items()}
            assert row.id not in found
            found[row.id] = (values, row.errors)
    return found


def schemas(url: str | Path) -> dict[str, pa.Schema]:
    paths = Path(url).glob("*/*.parquet")
    return {path.name: pq.read_schema(path).remove_metadata() for path in paths}


def sizes(url: str | Path) -> list[int]:
    return [partition.n_songs() for partition in Dataset(str(url)).partitions]


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in paths}


@pytest.mark.parametrize("keep_level", [True, False])
def test_small_partitions_become_one_and_that_becomes_small_ones_with_every_row_the_same_and_fresh(
    songs: Path, tmp_path: Path, keep_level: bool
) -> None:
    run(str(songs), keep_level=keep_level)
    one, few = tmp_path / "one", tmp_path / "few"
    before, told = state(songs), repartition(str(songs), str(one))
    assert (told.before, told.after, told.songs, told.left) == (4, 1, N_SONGS, {})
    assert repartition(str(one), str(few), hours=SECONDS / 3600).after == 3
    assert sizes(one) == [N_SONGS] and sizes(few) == [4, 3, 3]
    for url in (one, few):
        assert rows(url) == rows(songs) and schemas(url) == schemas(songs)
        assert verify(str(url)).findings == []
        assert run(str(url), keep_level=keep_level).instances == {}
    assert state(songs) == before


def test_dividing_again_by_the_same_limits_changes_nothing(songs: Path, tmp_path: Path) -> None:
    run(str(songs), keep_level=False)
    repartition(str(songs), str(tmp_path / "few"), hours=SECONDS / 3600)
    repartition(str(tmp_path / "few"), str(tmp_path / "same"), hours=SECONDS / 3600)
    assert column_values(str(tmp_path / "same")) == column_values(str(tmp_path / "few"))


def test_truth_exclusions_artefacts_and_where_it_comes_from_go_along(tmp_path: Path) -> None:
    for song in SyntheticSource(3, 1.5).songs():
        append_songs(str(tmp_path / "set"), [song], REFERENCE_COLUMNS)
    run(str(tmp_path / "set"))
    (tmp_path / "set" / "exclude.txt").write_text("somebody\n")
    (tmp_path / "set" / "models" / ".tmp-above").mkdir()
    repartition(str(tmp_path / "set"), str(tmp_path / "one"))
    assert rows(tmp_path / "one") == rows(tmp_path / "set")
    assert Dataset(str(tmp_path / "one")).excluded == {"somebody"}
    assert {p.name for p in (tmp_path / "one" / "models").rglob("*")} == {"above", "mean.txt", "fit.json"}
    assert run(str(tmp_path / "one")).instances == {}
    partition = Dataset(str(tmp_path / "one")).partition(0)
    record = partition.record("level")
    assert record is not None and record.run["from"] == [[0, 0, 1], [1, 0, 1], [2, 0, 1]]
    assert record.run["repartitioned"] == str(tmp_path / "set") and record.run["audio_s"] == pytest.approx(4.5)
    assert partition.claimed_s() == pytest.approx(4.5)
    assert json.loads((tmp_path / "one" / "repartition.json").read_text())["before"] == 3


def test_partitions_that_lack_a_column_or_have_a_stale_one_take_nothing_from_the_others(
    songs: Path, tmp_path: Path
) -> None:
    (songs / "1" / "doubled.parquet").unlink()
    shutil.copy(songs / "0" / "letters.parquet", songs / "2" / "letters.parquet")  # Of another index.
    os.truncate(songs / "3" / "level.parquet", 300)
    (songs / "0" / "mine.parquet").write_bytes(b"no Parquet file")
    told = repartition(str(songs), str(tmp_path / "one"))
    assert told.after == 4 and told.left["stale"] == {"letters": 1, "doubled": 1, "above": 1}
    assert sorted(i for why in told.left if why != "stale" for i in told.left[why]) == ["level", "mine"]
    kept = [set(p.instances()) for p in Dataset(str(tmp_path / "one")).partitions]
    assert kept == [set(ALL), set(ALL) - {"doubled"}, set(ALL) - {"letters"}, {"probe", "letters"}]
    assert set(run(str(tmp_path / "one")).instances) == {"doubled", "letters", "level", "above"}
    assert verify(str(tmp_path / "one")).findings == []


def test_truth_of_another_index_is_told_and_never_carried(tmp_path: Path) -> None:
    for song in SyntheticSource(2, 1.0).songs():
        append_songs(str(tmp_path / "set"), [song], REFERENCE_COLUMNS)
    shutil.copy(tmp_path / "set" / "0" / "reference.parquet", tmp_path / "set" / "1" / "reference.parquet")
    with pytest.raises(DataError, match=r"reference of .* belongs to another index.*autosing verify"):
        repartition(str(tmp_path / "set"), str(tmp_path / "one"))


def test_songs_of_a_kind_are_packed_together_though_others_lie_between_them(songs: Path, tmp_path: Path) -> None:
    (songs / "1" / "doubled.parquet").unlink()
    assert repartition(str(songs), str(tmp_path / "two")).after == 2
    assert sizes(tmp_path / "two") == [7, 3]


def test_a_copied_set_whose_files_have_other_times_loses_nothing(songs: Path, tmp_path: Path) -> None:
    os.utime(songs / "0" / "index.parquet", ns=(1, 1))
    assert repartition(str(songs), str(tmp_path / "one")).left == {}
    assert rows(tmp_path / "one") == rows(songs)


def test_an_index_that_changed_since_it_was_probed_is_carried_without_columns(songs: Path, tmp_path: Path) -> None:
    table = pq.read_table(songs / "0" / "index.parquet")
    pq.write_table(
        table.set_column(2, "lrc_lyrics", pa.array(["a", "b", "c"], pa.large_string())), songs / "0/index.parquet"
    )
    told = repartition(str(songs), str(tmp_path / "one"))
    assert told.left["index.parquet was written again"] == {"probe": 1} and set(told.left["stale"]) == set(ALL) - {
        "probe"
    }
    assert sizes(tmp_path / "one") == [3, 7]
    assert run(str(tmp_path / "one")).exit_code == 0 and verify(str(tmp_path / "one")).findings == []


def test_columns_of_somebody_elses_index_stay_as_they_are(tmp_path: Path) -> None:
    tones = toy_songs(6)
    for number in range(2):
        part = tones[3 * number : 3 * number + 3]
        table = pa.table(
            {
                "id": [s.id for s in part],
                "audio": pa.array([s.audio for s in part], pa.binary()),
                "year": pa.array([1999, None, 2001], pa.int16()),
                "tags": [[{"a": 1.5}], [], None],
            }
        ).replace_schema_metadata({"pandas": f"of {number}"})
        (tmp_path / "set" / str(number)).mkdir(parents=True)
        pq.write_table(table, tmp_path / "set" / str(number) / "index.parquet", row_group_size=2)
    run(str(tmp_path / "set"))
    repartition(str(tmp_path / "set"), str(tmp_path / "one"))
    repartition(str(tmp_path / "one"), str(tmp_path / "few"), hours=SECONDS / 3600)
    assert sizes(tmp_path / "few") == [4, 2]
    read = [[pq.read_table(tmp_path / u / str(n) / "index.parquet") for n in range(2)] for u in ("set", "few")]
    first, second = (pa.concat_tables([t.replace_schema_metadata() for t in tables]) for tables in read)
    assert first.equals(second)
    assert run(str(tmp_path / "few")).instances == {} and verify(str(tmp_path / "few")).findings == []


@pytest.mark.parametrize("files", [1, 8, 18])
def test_a_killed_run_goes_on_to_the_same_set_and_nobody_reads_half_of_one(
    songs: Path, tmp_path: Path, files: int
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("SECONDS", str(SECONDS)))
    out, peace = tmp_path / "out", tmp_path / "peace"
    killed = subprocess.run([sys.executable, str(script), str(songs), str(out), str(files)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(DataError, match=r"is not whole: .*run the same command again"):
        _ = Dataset(str(out)).partitions
    with pytest.raises(DataError, match="is not whole"):
        append_songs(str(out), toy_songs(1))
    assert [f.way_out for f in verify(str(out)).findings][:1] == ["run the same command again"]
    finished = (files - 1) // 6
    stamps = [{p.name: p.stat().st_mtime_ns for p in (out / str(n)).iterdir()} for n in range(finished)]
    repartition(str(songs), str(out), hours=SECONDS / 3600)
    assert stamps == [{p.name: p.stat().st_mtime_ns for p in (out / str(n)).iterdir()} for n in range(finished)]
    repartition(str(songs), str(peace), hours=SECONDS / 3600)
    assert column_values(str(out)) == column_values(str(peace)) and rows(out) == rows(songs)
    assert {p.relative_to(out) for p in out.rglob("*")} == {p.relative_to(peace) for p in peace.rglob("*")}
    assert verify(str(out)).findings == []


def test_a_run_that_was_stopped_does_not_go_on_from_another_source(songs: Path, tmp_path: Path) -> None:
    def stop(name: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repartition(str(songs), str(tmp_path / "one"), told=stop)
    with pytest.raises(UsageError, match=r"tells of another beginning: .* with 256 MB and 4 h; give the same"):
        repartition(str(songs), str(tmp_path / "one"), partition_mb=1)
    append_songs(str(songs), toy_songs(1, 50))
    with pytest.raises(UsageError, match="tells of another beginning"):
        repartition(str(songs), str(tmp_path / "one"))


def test_a_source_that_is_written_to_meanwhile_is_told(songs: Path, tmp_path: Path) -> None:
    def meddle(name: str) -> None:
        (songs / "3" / "level.parquet").unlink(missing_ok=True)

    with pytest.raises(DataError, match="changed meanwhile; when nothing writes there"):
        repartition(str(songs), str(tmp_path / "one"), hours=SECONDS / 3600, told=meddle)


def test_running_it_twice_is_free(songs: Path, tmp_path: Path) -> None:
    told = repartition(str(songs), str(tmp_path / "one"))
    before = state(tmp_path / "one")
    assert repartition(str(songs), str(tmp_path / "one")) == told
    assert state(tmp_path / "one") == before


def test_a_target_that_holds_something_or_lies_in_the_source_is_refused(songs: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something already; give a new folder"):
        repartition(str(songs), str(tmp_path / "full"))
    for target in (songs, songs / "new", tmp_path):
        with pytest.raises(UsageError, match="lie in each other; give a folder elsewhere"):
            repartition(str(songs), str(target))


@pytest.mark.parametrize("host", [socket.gethostname(), "elsewhere"], ids=["here", "elsewhere"])
def test_a_run_that_was_killed_at_its_first_write_is_begun_again(songs: Path, tmp_path: Path, host: str) -> None:
    left = tmp_path / "out" / f".tmp-repartition-unfinished.json.{host}.{2**22 + 1}-0123abcd"
    left.parent.mkdir()
    left.write_text("{")
    repartition(str(songs), str(tmp_path / "out"))
    assert rows(tmp_path / "out") == rows(songs)
    assert left.exists() == (host == "elsewhere")


def test_an_id_of_two_partitions_is_refused(songs: Path, tmp_path: Path) -> None:
    shutil.copytree(songs / "0", songs / "9")
    with pytest.raises(DataError, match=r"the id 'song 0\.wav' is in the partitions 0 and 9"):
        repartition(str(songs), str(tmp_path / "one"))


def test_a_damaged_song_is_told_and_never_carried(songs: Path, tmp_path: Path) -> None:
    path = songs / "0" / "index.parquet"
    whole, stamp = path.read_bytes(), path.stat()
    at = whole.index(b"data") + 2000
    path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(DataError, match=r"index\.parquet is not a readable Parquet file"):
        repartition(str(songs), str(tmp_path / "one"))


def test_object_stores_give_and_take_the_same(songs: Path, tmp_path: Path) -> None:
    url = f"memory://{uuid.uuid4().hex}/set"
    repartition(str(songs), url, hours=SECONDS / 3600)
    assert rows(url) == rows(songs) and verify(url).findings == []
    assert run(url, str(songs)).instances == {}
    repartition(url, str(tmp_path / "back"))
    assert rows(tmp_path / "back") == rows(songs)
    assert run(str(tmp_path / "back")).instances == {}


def test_the_command_tells_what_it_did_and_what_it_left_behind(autosing: Autosing, songs: Path) -> None:
    (songs / "0" / "level.parquet").unlink()
    said = autosing("repartition", songs, "out", "--hours", SECONDS / 3600)
    assert said.code == 0 and said.out.splitlines() == [
        "10 songs of 4 partitions in 4",
        "left behind: above of 1 partitions (stale); autosing process computes it",
        "left behind: doubled of 1 partitions (stale); autosing process computes it",
    ]
    assert autosing("repartition", songs, "out", "--hours", SECONDS / 3600, "--json").json["after"] == 4
    assert autosing("verify", "out").code == 0
