"""A pass that is killed is taken up where it was: nothing is computed twice, and the values are the same."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_stages import Doubled, Letters, column_values, tone, toy_dataset, toy_songs

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.graph import Graph, Instance
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.journal import MOST_BYTES, Journal, Kept
from autosing.pipeline.listing import list_partitions
from autosing.pipeline.outcomes import Models
from autosing.pipeline.passes import Pass
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Resources, Row, Stage, per_song
from autosing.pipeline.stages.probe import Probe
from autosing.pipeline.store import Store
from autosing.pipeline.upkeep.sweep import sweep
from autosing.pipeline.upkeep.verify import verify
from autosing.pipeline.work import Group
from autosing.signal.errors import DataError, RowError

N = 8
ALL = ["probe", "letters", "level", "doubled"]
IDS = [f"song {i}.wav" for i in range(N)]
KILLED = """
import sys
from test_journal import ALL, graph_of
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.outcomes import Models
from autosing.pipeline.passes import Pass
from autosing.pipeline.work import Group
url, log = sys.argv[1:3]
songs = Pass(Dataset(url).partition(0), graph_of(log, kill="song 5.wav"), ALL)
Group(songs, ALL, journal_s=0).commit(Models())
"""


class Stopped(BaseException):
    """What ends a pass at once, as a kill does."""


@dataclass(frozen=True)
class Heard(Stage):
    """A level at 20 Hz, of sound or of another level; it tells the company, and notes in a file every song it hears.

    One song it refuses, at one it stops, by one it is killed, and at each it may touch a file.
    """

    log: str = field(default="", metadata=NOT_IN_DEFINITION)
    gain: float = 1.0
    refuses: str = ""
    batch_s: float = 0.0
    stop: str = field(default="", metadata=NOT_IN_DEFINITION)
    kill: str = field(default="", metadata=NOT_IN_DEFINITION)
    bias: float = field(default=0.0, metadata=NOT_IN_DEFINITION)
    touches: str = field(default="", metadata=NOT_IN_DEFINITION)
    source: str = ""
    audio: AudioName = "voice"

    def columns(self) -> tuple[Column, ...]:
        return (Column("level", pa.float32(), Fraction(20)),)

    def reads(self) -> tuple[str, ...]:
        return (f"{self.source}.level",) if self.source else ()

    def resources(self) -> Resources:
        return Resources(batch_s=self.batch_s)

    def setup(self) -> int:
        with Path(self.log).open("a") as file:
            file.write("loaded\n")
        return 0

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: self._row(song, len(songs)))

    def _row(self, song: Song, company: int) -> Row:
        if song.id == self.stop:
            raise Stopped
        if song.id == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        with Path(self.log).open("a") as file:
            file.write(f"{song.id}\n")
        if song.id == self.refuses:
            raise RowError("it is refused")
        if self.touches:
            os.utime(self.touches)
        heard = song["level.level"] if self.source else np.abs(song.mono("voice")).mean() * self.gain + self.bias
        return {"level": heard + np.full(round(song.duration_s * 20), company)}


def graph_of(log: str, keep: bool = True, **settings: Any) -> Graph:
    stages: dict[str, Stage] = {
        "probe": Probe(),
        "letters": Letters(),
        "level": Heard(log, **settings),
        "doubled": Doubled(),
    }
    return Graph({n: Instance(n, n, s, keep or n != "level") for n, s in stages.items()})


@dataclass
class Runs:
    """Passes over a data set of one partition, and what they heard."""

    url: str
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "heard.txt"

    def attempt(self, names: Sequence[str] = ALL, extra: Sequence[str] = (), journal_s: float = 0.0, **of: Any) -> None:
        """Makes a pass; nobody is told where it ends."""
        again = of.pop("again", ())
        graph = graph_of(str(self.log), **of)
        group = Group(Pass(Dataset(self.url).partition(0), graph, {*names, *extra}), names, again, journal_s)
        try:
            group.commit(Models())
        except Stopped:
            assert "stop" in of

    def heard(self) -> list[str]:
        """Returns what was heard since this was asked last."""
        found = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line for line in found if line != "loaded"]

    def segments(self) -> list[str]:
        """Returns the segments of the journal that are there."""
        return [n for n in Store(self.url).files("0") if n.startswith((".journal-", ".tmp-.journal-"))]

    def undisturbed(self, **of: Any) -> dict[str, Any]:
        """Returns the values of a pass in peace over the songs as they are now."""
        peace = Runs(str(self.folder / uuid.uuid4().hex), self.folder / "peace")
        peace.folder.mkdir(exist_ok=True)
        with Store(self.url).open("0", "index.parquet") as source:
            Path(peace.url, "0").mkdir(parents=True)
            Path(peace.url, "0", "index.parquet").write_bytes(source.read())
        peace.attempt(journal_s=60, **of)
        return column_values(peace.url)


@pytest.fixture(params=["local", "memory"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Runs:
    url = str(tmp_path / "set") if request.param == "local" else f"memory://{uuid.uuid4().hex}/set"
    return Runs(toy_dataset(url, 1, N), tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> Runs:
    return Runs(toy_dataset(str(tmp_path / "set"), 1, N), tmp_path)


def test_a_pass_that_is_killed_goes_on_and_computes_only_the_rest(local: Runs) -> None:
    arguments = [sys.executable, "-c", KILLED, local.url, str(local.log)]
    folder = str(Path(__file__).parent)
    search = ":".join([folder, *sys.path])
    assert subprocess.run(arguments, env={"PYTHONPATH": search}, check=False).returncode == -9
    assert local.heard() == IDS[:5]
    assert len(local.segments()) >= 2 * len(ALL)
    local.attempt()
    assert local.heard() == IDS[5:]
    assert column_values(local.url) == local.undisturbed()
    assert local.segments() == []


def test_however_often_it_is_stopped_nothing_is_computed_twice(runs: Runs) -> None:
    for stop in ("song 2.wav", "song 3.wav", "song 7.wav"):
        runs.attempt(stop=stop)
    runs.attempt()
    assert runs.heard() == IDS
    assert column_values(runs.url) == runs.undisturbed()
    assert runs.segments() == []


def test_a_song_with_an_error_keeps_it_until_it_is_retried(runs: Runs) -> None:
    runs.attempt(stop="song 6.wav", refuses="song 3.wav")
    runs.attempt(refuses="song 3.wav")
    assert runs.heard() == IDS
    assert column_values(runs.url) == runs.undisturbed(refuses="song 3.wav")
    runs.attempt(["level"], again=["level"], refuses="song 3.wav", stop="song 6.wav")
    runs.heard()
    runs.attempt(["level"], again=["level"], refuses="song 3.wav")
    assert runs.heard() == ["song 3.wav", "song 6.wav", "song 7.wav"]


def test_what_is_not_stored_is_kept_until_the_end(runs: Runs) -> None:
    runs.attempt(keep=False, stop="song 6.wav")
    runs.attempt(keep=False)
    assert runs.heard() == IDS
    assert column_values(runs.url) == runs.undisturbed(keep=False)


def test_what_is_computed_for_another_stage_alone_is_kept_too(runs: Runs) -> None:
    expected = runs.undisturbed(keep=False)
    runs.attempt(["probe", "letters", "level"], keep=False)
    runs.heard()
    runs.attempt(["doubled"], ["level"], keep=False, stop="song 6.wav")
    runs.attempt(["doubled"], ["level"], keep=False)
    assert runs.heard() == IDS
    assert column_values(runs.url) == expected and runs.segments() == []


def test_other_stages_in_the_next_pass_take_up_what_is_theirs(runs: Runs) -> None:
    runs.attempt(["probe", "level"], stop="song 6.wav")
    runs.attempt()
    assert runs.heard() == IDS
    assert column_values(runs.url) == runs.undisturbed()


def test_other_settings_take_up_nothing_and_leave_nothing(runs: Runs) -> None:
    runs.attempt(stop="song 6.wav")
    runs.heard()
    runs.attempt(gain=2.0)
    assert runs.heard() == IDS
    assert column_values(runs.url) == runs.undisturbed(gain=2.0)
    assert runs.segments() == []


def test_a_song_that_was_changed_meanwhile_is_computed_again_and_the_others_are_not(local: Runs) -> None:
    local.attempt(stop="song 6.wav")
    local.heard()
    path = Path(local.url, "0", "index.parquet")
    rows = pq.read_table(path).to_pylist()
    rows[2]["audio"] = tone(300, 0.7)
    rows[4]["lrc_lyrics"] = "[00:01.00]other words"
    pq.write_table(pa.Table.from_pylist([*rows[:1], *rows[2:]], pq.read_schema(path)), path)
    local.attempt()
    assert local.heard() == ["song 2.wav", "song 6.wav", "song 7.wav"]
    assert column_values(local.url) == local.undisturbed()


def test_what_was_computed_of_other_values_is_computed_again(runs: Runs) -> None:
    def graph(stop: str = "", bias: float = 0.0) -> Graph:
        level, above = Heard(str(runs.folder / "level.txt"), bias=bias), Heard(str(runs.log), source="level", stop=stop)
        stages: dict[str, Stage] = {"probe": Probe(), "level": level, "above": above}
        return Graph({n: Instance(n, n, s) for n, s in stages.items()})

    def attempt(name: str, graph: Graph, again: bool = False) -> None:
        Group(Pass(Dataset(runs.url).partition(0), graph, [name]), [name], [name] * again, 0.0).commit(Models())

    for name in ("probe", "level"):
        attempt(name, graph())
    with pytest.raises(Stopped):
        attempt("above", graph(stop="song 6.wav"))
    assert runs.heard() == IDS[:6]
    attempt("level", graph(bias=1.0), again=True)
    attempt("above", graph(bias=1.0))
    assert runs.heard() == IDS
    rows = Dataset(runs.url).partition(0).rows(["level.level", "above.level"])
    assert all(np.allclose(row.values["above.level"], row.values["level.level"] + 1) for row in rows)


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-40], lambda raw: b"", lambda raw: raw[:900] + bytes([raw[900] ^ 255]) + raw[901:]]
)
def test_a_damaged_segment_is_ignored(local: Runs, damage: Callable[[bytes], bytes]) -> None:
    local.attempt(stop="song 6.wav")
    local.heard()
    for name in local.segments():
        if name.startswith(".journal-level"):
            path = Path(local.url, "0", name)
            path.write_bytes(damage(path.read_bytes()))
    local.attempt()
    assert local.heard() == IDS
    assert column_values(local.url) == local.undisturbed()
    assert local.segments() == []


def test_songs_are_computed_in_the_company_that_they_would_have_had_in_peace(runs: Runs) -> None:
    runs.attempt(stop="song 5.wav", batch_s=1.6)
    assert runs.heard()[-1] == "song 4.wav"
    runs.attempt(batch_s=1.6)
    assert len(set(runs.heard())) < N
    assert column_values(runs.url) == runs.undisturbed(batch_s=1.6)


def test_a_pass_that_takes_less_than_a_minute_writes_nothing(local: Runs) -> None:
    before = set(Store(local.url).files("0"))
    local.attempt(stop="song 7.wav", journal_s=60)
    assert set(Store(local.url).files("0")) == before


def test_no_model_is_loaded_where_all_is_known(local: Runs) -> None:
    with pytest.raises(DataError, match="changed meanwhile"):
        local.attempt(touches=str(Path(local.url, "0", "index.parquet")))
    assert local.heard() == IDS
    local.attempt()
    assert not local.log.exists()
    assert column_values(local.url) == local.undisturbed()


def test_readers_do_not_see_it(local: Runs) -> None:
    graph = graph_of(str(local.log))
    process(Dataset(local.url), graph, ["probe"], RunOptions("local"), progress=Progress(0, quiet=True))
    before = list_partitions(Store(local.url))
    local.attempt(["letters", "level", "doubled"], stop="song 6.wav")
    assert local.segments()
    assert list_partitions(Store(local.url)) == before
    assert Dataset(local.url).partition(0).instances() == ["probe"]
    assert verify(local.url).findings == []
    assert list(sweep(local.url)) == []


def test_it_is_removed_once_it_is_old_or_its_column_was_written_since(local: Runs) -> None:
    local.attempt(stop="song 6.wav")
    kept = Path(local.folder, "kept")
    shutil.copytree(Path(local.url, "0"), kept)
    names = local.segments()
    assert {o.parts[1] for o in sweep(local.url, older_than_h=0, dry_run=True)} == set(names)
    time.sleep(0.02)
    local.attempt(["probe", "level"])
    for name in names:
        shutil.copy2(kept / name, Path(local.url, "0", name))
    done = {n for n in names if n.startswith((".journal-level-", ".journal-probe-"))}
    assert {f.file.rpartition("/")[2] for f in verify(local.url).findings} == done
    assert {o.parts[1] for o in sweep(local.url)} == done
    assert set(local.segments()) == set(names) - done


def test_what_is_too_much_for_memory_is_written_before_its_time_unless_the_pass_is_soon_over(tmp_path: Path) -> None:
    kept = Kept("x", "0" * 32, (Column("x", pa.large_binary()),))
    half = bytes(MOST_BYTES // 2 + 1)
    for n_songs, is_written in ((4, False), (10**9, True)):
        journal = Journal(Store(str(tmp_path)), "0", [kept], n_songs, every_s=0.5)
        for n in range(2):
            journal.note("x", [bytes([n] * 16)], [{"x": half}])
            journal.passed(n + 1)
        assert bool(Store(str(tmp_path)).files("0")) == is_written
        journal.close()
        assert Store(str(tmp_path)).files("0") == []


def test_a_journal_that_can_not_be_written_is_given_up(tmp_path: Path) -> None:
    kept = Kept("x", "0" * 32, (Column("x", pa.int32()),))
    (tmp_path / "0").write_text("no folder")
    store = Store(str(tmp_path))
    with pytest.raises(OSError, match="0"):
        store.draft("0", "file")
    store.remove("0")
    journal = Journal(store, "0", [kept], 2, every_s=0)
    (tmp_path / "0").write_text("no folder")
    for n in range(2):
        journal.note("x", [bytes([n] * 16)], [{"x": n}])
        journal.passed(n + 1)
    (tmp_path / "0").unlink()
    journal.note("x", [bytes([2] * 16)], [{"x": 2}])
    journal.passed(2)
    assert not (tmp_path / "0").exists()


def test_a_run_takes_up_what_was_left(local: Runs) -> None:
    local.attempt(stop="song 6.wav")
    graph = graph_of(str(local.log))
    append_songs(local.url, [replace(song, id=f"other {song.id}") for song in toy_songs(2)])
    process(Dataset(local.url), graph, ALL, RunOptions("local"), progress=Progress(0, quiet=True))
    heard = local.heard()
    assert [id for id in heard if not id.startswith("other")] == IDS and len(heard) == N + 2


def test_a_retry_does_not_take_an_error_from_a_journal_that_was_not_removed(local: Runs) -> None:
    local.attempt(stop="song 6.wav", refuses="song 3.wav")
    kept = shutil.copytree(Path(local.url, "0"), local.folder / "kept")
    local.attempt(refuses="song 3.wav")
    for path in kept.glob(".journal-level-*"):
        shutil.copy2(path, Path(local.url, "0", path.name))
    local.heard()
    graph = graph_of(str(local.log), refuses="song 3.wav")
    process(Dataset(local.url), graph, ALL, RunOptions("local"), {0: ["level"]}, Progress(0, quiet=True))
    assert local.heard() == ["song 3.wav", "song 6.wav", "song 7.wav"]
    assert column_values(local.url) == local.undisturbed(refuses="song 3.wav")
    assert local.segments() == []
