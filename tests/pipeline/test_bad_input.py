"""Tables, column files and disks that are not as they should be: one message each, and nothing half-written."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_stages import Level, column_values, tone, toy_dataset, toy_graph, toy_songs

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.graph import Graph, Instance
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.progress import Progress
from autosing.pipeline.record import RECORD_KEY
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row
from autosing.pipeline.stages.probe import Probe
from autosing.pipeline.status import errors_of, partitions_with_errors, plans
from autosing.signal.decode import encode
from autosing.signal.errors import DataError, MissingColumn, RowError, SchemaMismatch, UsageError

ALL = ["probe", "letters", "level", "doubled", "above"]
WAV = tone(100)
READ_ALL = """
import sys
from pathlib import Path
from autosing.pipeline.dataset import Dataset
(partition,) = Dataset(sys.argv[1]).partitions
n_bytes = sum(len(row.values["index.audio"]) for row in partition.rows(["index.audio"]))
(peak_kb,) = (line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))
print(n_bytes, int(peak_kb) // 1024)
"""
"""Reads every song and tells how many bytes they have and the peak of memory in MB (the parent's is not in it)."""


def run(url: str, graph: Graph | None = None, targets: Sequence[str] = ALL) -> RunReport:
    options, quiet = RunOptions(executor="local"), Progress(0, quiet=True)
    return process(Dataset(url), graph or toy_graph(url), targets, options, progress=quiet)


def scratch_files(url: str) -> list[Path]:
    return [p for p in Path(url).rglob("*") if p.name.startswith(".tmp-")]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A data set of two partitions with three songs each, all of it computed."""
    made = toy_dataset(str(tmp_path / "set"))
    run(made)
    return made


def indexed(url: str, content: pa.Table | bytes) -> str:
    """Gives partition 1 another index."""
    path = Path(url, "1", "index.parquet")
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)
    return url


def index(**columns: Any) -> pa.Table:
    return pa.table({"id": ["a"], "audio": pa.array([WAV], pa.large_binary())} | columns)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a readable Parquet file"),
        (b"id,audio\na,b\n" * 99, "is not a readable Parquet file"),
        (b"PAR1" + bytes(99) + b"PAR1", "is not a readable Parquet file"),
        (index(id=[""]), "row 0 has an empty id"),
        (index(id=pa.array([None], pa.null())), "row 0 has no id"),
        (index(id=pa.array([b"\xff"], pa.binary()).view(pa.string())), "is not a readable Parquet file"),
        (index(lrc_lyrics=[3]), "column 'lrc_lyrics' is int64, expected string"),
        (index(audio=[{"bytes": WAV, "path": "a"}]), "expected large_binary"),
        (pa.Table.from_arrays([pa.array(["a"])] * 2, ["id", "id"]), "'audio' is missing"),
        (index().append_column("id", pa.array(["b"])), "column 'id' is there twice"),
    ],
)
def test_an_index_that_cannot_be_used_fails_its_partition_alone(
    url: str, content: pa.Table | bytes, message: str
) -> None:
    before = {k: v for k, v in column_values(url).items() if k.startswith("0/")}
    report = run(indexed(url, content))
    assert list(report.failed) == [1] and message in report.failed[1] and "\n" not in report.failed[1]
    assert report.exit_code == 3
    assert [p.name for p in Path(url, "1").iterdir()] == ["index.parquet"]
    assert {i: v for i, v in column_values_of_sound_partitions(url).items() if i.startswith("0/")} == before


def column_values_of_sound_partitions(url: str) -> dict[str, Any]:
    sound = [p for p in Dataset(url).partitions if p.instances()]
    return {
        f"{p.number}/{i}": (dict(r.digests), r.rows, r.errors)
        for p in sound
        for i in p.instances()
        if (r := p.record(i))
    }


def test_an_index_without_rows_gets_columns_without_rows(url: str) -> None:
    empty = index().slice(0, 0)
    assert run(indexed(url, empty)).failed == {}
    assert [len(list(p.rows(["level.level", "above.above"]))) for p in Dataset(url).partitions] == [3, 0]


def test_null_audio_is_an_error_of_its_song(url: str) -> None:
    table = pa.concat_tables([index(audio=pa.array([None], pa.large_binary())), index(id=["b"])])
    run(indexed(url, table))
    rows = list(Dataset(url).partition(1).rows(["level.level", "probe.codec"]))
    assert rows[0].errors["probe"] == "index.audio is null: the song has no mix audio"
    assert rows[0].errors["level"].startswith("input: probe: ")
    assert rows[1].errors == {} and rows[1].values["level.level"] is not None


def test_ids_of_any_kind_survive(tmp_path: Path) -> None:
    ids = ["../../x", "a/b.c", "new\nline", "tab\t", " ", "\x00nul", "\N{MICROPHONE}", "\u202eltr", "ä" * 10_000, "0"]
    url = str(tmp_path / "set")
    append_songs(url, [replace(song, id=id) for song, id in zip(toy_songs(len(ids)), ids, strict=True)])
    run(url)
    assert [r.id for r in Dataset(url).read(["level", "above"])] == ids
    assert {p.name for p in tmp_path.iterdir()} == {"set"}


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    table = pq.read_table(path)
    pq.write_table(change(table), path)


def with_record(content: bytes) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata({RECORD_KEY: content})


FOREIGN: list[Callable[[pa.Table], pa.Table]] = [
    lambda table: pa.table({"x": [1]}),
    lambda table: table.replace_schema_metadata({}),
    with_record(b"no json"),
    with_record(b"[]"),
    with_record(b"\xff\xfe"),
    with_record(json.dumps({"format": 1}).encode()),
    with_record(json.dumps({"format": 2, "rows": 3}).encode()),
    with_record(json.dumps({"format": 1, "colour": "red"}).encode()),
]


@pytest.mark.parametrize("change", FOREIGN)
def test_a_foreign_file_under_a_column_file_s_name_is_computed_again(
    url: str, change: Callable[[pa.Table], pa.Table]
) -> None:
    before = column_values(url)
    rewritten(Path(url, "1", "level.parquet"), change)
    assert {f.state for s in plans(Dataset(url), toy_graph(url), ["level"]) if s.plan for f in s.plan.findings} >= {
        "due"
    }
    assert partitions_with_errors(Dataset(url), []) == {}
    assert set(run(url).instances) == {"level"}
    assert column_values(url) == before


def test_a_stranger_s_table_in_a_partition_is_left_alone(url: str) -> None:
    path = Path(url, "0", "notes.parquet")
    pq.write_table(pa.table({"x": [1]}), path)
    assert run(url).tasks == 0
    assert partitions_with_errors(Dataset(url), []) == {}
    assert path.exists()


def test_a_column_file_of_other_songs_is_named_when_read_and_computed_again(url: str) -> None:
    before = column_values(url)
    shutil.copy(Path(url, "0", "level.parquet"), Path(url, "1", "level.parquet"))
    message = (
        r"1/level\.parquet belongs to another index: it has the id 'song 0\.wav' where the index has 'song 3\.wav'"
    )
    with pytest.raises(SchemaMismatch, match=message):
        list(Dataset(url).read(["level"]))
    run(url)
    assert column_values(url) == before


def test_a_column_file_of_fewer_songs_is_named_when_read(url: str) -> None:
    rewritten(Path(url, "1", "level.parquet"), lambda table: table.slice(0, 2))
    with pytest.raises(SchemaMismatch, match=r"1/level\.parquet .*: it has 2 rows and the index 3; compute it again"):
        list(Dataset(url).read(["level"]))


def test_a_missing_column_file_is_told_with_the_command_that_makes_it(url: str) -> None:
    Path(url, "1", "level.parquet").unlink()
    with pytest.raises(MissingColumn, match=r"partition 1 has no level; compute it with: autosing process .* level"):
        list(Dataset(url).read(["level"]))


def test_a_flipped_byte_in_a_page_is_found_and_the_file_named(url: str) -> None:
    path = Path(url, "1", "level.parquet")
    chunk = pq.read_metadata(path).row_group(0).column(1)
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size - 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"1/level\.parquet is not a readable Parquet file .*checksum"):
        list(Dataset(url).read(["level"]))
    Path(url, "1", "doubled.parquet").unlink()
    report = run(url)
    assert list(report.failed) == [1] and "remove it to have it made again" in report.failed[1]
    path.unlink()
    assert run(url).exit_code == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of memory of a process alone")
def test_an_index_in_one_huge_row_group_is_read_with_flat_memory(tmp_path: Path) -> None:
    peaks = [_peak_mb_of_reading(tmp_path / str(n), n) for n in (3_000, 12_000)]
    assert peaks[1] < peaks[0] + 100


def _peak_mb_of_reading(folder: Path, n_songs: int) -> int:
    noise = np.random.default_rng(0).integers(-999, 999, (n_songs, 16_000), np.int16)
    wavs = [encode(wave, 16_000, "WAV") for wave in noise]
    (folder / "0").mkdir(parents=True)
    table = pa.table({"id": [str(i) for i in range(n_songs)], "audio": wavs})
    pq.write_table(table, folder / "0" / "index.parquet", row_group_size=n_songs)
    done = subprocess.run([sys.executable, "-c", READ_ALL, str(folder)], capture_output=True, text=True, check=True)
    n_bytes, peak_mb = map(int, done.stdout.split())
    assert n_bytes == n_songs * len(wavs[0])
    return peak_mb


@dataclass(frozen=True)
class Odd(Level):
    """A stage with a fault."""

    fault: str = ""

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        if self.fault == "settings":
            raise UsageError("the setting x is wrong")
        rows = super().process(songs, model)
        if self.fault == "too few rows":
            return rows[1:]
        return [{"loudness": 1} for _ in rows]


def odd_graph(fault: str) -> Graph:
    stages = {"probe": Probe(), "level": Odd(fault=fault)}
    return Graph({name: Instance(name, name, stage) for name, stage in stages.items()})


def test_a_stage_that_forgets_its_column_leaves_an_error_in_every_row(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    assert run(url, odd_graph("no such column"), ["level"]).instances["level"].own_errors == 6
    assert {e for *_, e in errors_of(Dataset(url), ["level"]).rows()} == {"level: no value was computed"}


def test_a_stage_that_loses_songs_fails_its_partitions_and_leaves_nothing(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    report = run(url, odd_graph("too few rows"), ["level"])
    assert set(report.failed) == {0, 1} and "ValueError at passes.py" in report.failed[0]
    assert [p.name for p in Path(url, "0").iterdir()] == ["index.parquet"]


def test_a_wrong_setting_ends_the_run_at_once(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    with pytest.raises(UsageError, match="the setting x is wrong"):
        run(url, odd_graph("settings"), ["level"])
    assert [p.name for p in Path(url, "0").iterdir()] == ["index.parquet"]


def test_a_damaged_record_of_a_fit_is_told_with_what_to_remove(url: str) -> None:
    Path(url, "models", "above", "fit.json").write_text("{")
    with pytest.raises(DataError, match=r"fit\.json is damaged; restore it, or remove .*models/above"):
        run(url)


def test_a_partition_whose_index_cannot_be_read_does_not_stop_a_fit_on_the_others(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    (tmp_path / "set" / "0" / "index.parquet").write_bytes(b"no Parquet file")
    report = run(url)
    assert report.fits == ["above"] and list(report.failed) == [0]
    assert set(Dataset(url).partition(1).instances()) == set(ALL)
