"""Songs that hang, eat memory or crash: each gets an error that says so, and its neighbours their values."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dangerous_stages import ALL, dangerous_graph
from toy_stages import column_values, toy_dataset

from autosing.pipeline.bounds import Bounds, machine_bytes, used_bytes
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.isolation import IsolatedWorker
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport, Task
from autosing.pipeline.settings import parse_project
from autosing.signal.errors import DataError, UsageError
from on_ray import ON_RAY
from said import Autosing

EXECUTORS = ["child", pytest.param("ray", marks=[*ON_RAY, pytest.mark.slow])]
BOUNDS = Bounds(memory_gb=0.6)
HURRIED = {"child": Bounds(song_s=8, song_lengths=0.1), "ray": Bounds(song_s=40, song_lengths=0.1)}
"""A lot for a tone, but not for what is imported on the way: workers on Ray make way for all others on a machine."""
TASK = Task(0, tuple(ALL))
ORPHAN = """
import sys
from dangerous_stages import ALL, dangerous_graph
from autosing.pipeline.isolation import IsolatedWorker
from autosing.pipeline.schedule import Task
worker = IsolatedWorker(sys.argv[1])
worker.run(dangerous_graph(sleeps="song 2.wav", log=sys.argv[2]), Task(0, tuple(ALL)), {})
"""


class Heard(Progress):
    """What a run said."""

    def __init__(self) -> None:
        super().__init__(0, quiet=True)
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(autouse=True)
def toys_on_the_workers_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return toy_dataset(str(tmp_path / "set"), 2, 5)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


def run(url: str, executor: str, heard: Progress | None = None, **settings: Any) -> RunReport:
    bounds = HURRIED[executor] if "sleeps" in settings else BOUNDS
    options = RunOptions(executor=executor, workers=2, bounds=bounds)  # type: ignore[arg-type]
    graph = dangerous_graph(**settings)
    return process(Dataset(url), graph, ALL, options, progress=heard or Progress(0, quiet=True))


def errors(url: str, instance: str = "level") -> dict[str, str]:
    rows = Dataset(url).read(["level.level", "doubled.doubled", "letters.letters"])
    return {row.id: row.errors[instance] for row in rows if instance in row.errors}


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, Any]:
    url = toy_dataset(str(tmp_path / "undisturbed"), 2, 5)
    run(url, "local")
    return column_values(url)


def test_a_child_gives_the_same_values_as_this_process(url: str, expected: dict[str, Any]) -> None:
    assert run(url, "child").exit_code == 0
    assert column_values(url) == expected


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("sleeps", r"the process took more than (8|40) s while this song was being processed; raise limits\.song_s in"),
        ("eats", r"the process took more than 0\.6 GB of memory while this song was being processed; raise limits\.m"),
        ("crashes", r"the process died \(SIGSEGV\) while this song was being processed"),
    ],
)
def test_a_song_that_does_harm_gets_an_error_and_its_neighbours_go_on(
    url: str, executor: str, harm: str, message: str
) -> None:
    heard = Heard()
    report = run(url, executor, heard, **{harm: "song 7.wav"})
    assert report.failed == {} and report.exit_code == 0
    assert list(errors(url)) == ["song 7.wav"] and re.match(message, errors(url)["song 7.wav"])
    assert errors(url, "doubled") == {"song 7.wav": f"input: level: {errors(url)['song 7.wav']}"}
    assert errors(url, "letters") == {}
    assert any("at the song 'song 7.wav'; it is left out" in said for said in heard.said)
    assert not any("its worker died" in said for said in heard.said)
    assert (
        process(
            Dataset(url), dangerous_graph(), ALL, RunOptions("local"), {1: ["level"]}, Progress(0, quiet=True)
        ).exit_code
        == 0
    )
    assert errors(url) == {}


def test_a_process_that_is_killed_once_is_nobody_s_fault(url: str, log: Path, expected: dict[str, Any]) -> None:
    heard = Heard()
    run(url, "child", heard, unlucky="song 1.wav", luck=str(log))
    assert column_values(url) == expected
    assert heard.said == [
        "partition 0: level: its process died (exit code 9) at the song 'song 1.wav'; it is tried again"
    ]


def test_of_a_micro_batch_each_song_is_tried_alone(url: str, log: Path) -> None:
    heard = Heard()
    run(url, "child", heard, sleeps="song 2.wav", batch_s=100.0, log=str(log))
    assert list(errors(url)) == ["song 2.wav"]
    assert heard.said == [
        "partition 0: level: its process took more than 8 s at 5 songs; each is tried alone",
        "partition 0: level: its process took more than 8 s at the song 'song 2.wav'; it is left out",
    ]
    assert log.read_text().splitlines() == ["0 1 2 3 4", "0", "1", "2", "0", "1", "3", "4", "5 6 7 8 9"]


def test_a_process_that_dies_where_no_song_is_fails_its_partition(url: str) -> None:
    report = run(url, "child", crashes="setup")
    (told,) = set(report.failed.values())
    assert told.startswith("its process died (exit code 9), and no song is the cause; run the same command again")


def test_a_worker_whose_child_can_not_start_ends_the_run(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    outcome = IsolatedWorker(url).run(dangerous_graph(), TASK, {})
    assert isinstance(outcome.fatal, DataError) and "workers can't be started" in str(outcome.fatal)


def test_a_worker_tells_whether_a_process_outlives_songs(url: str) -> None:
    worker = IsolatedWorker(url, BOUNDS)
    graph = dangerous_graph(crashes="song 1.wav")
    assert not worker.survive(graph, TASK, ["song 0.wav", "song 1.wav"])
    assert worker.survive(graph, TASK, ["song 0.wav", "song 2.wav"])
    worker.close()


@pytest.fixture
def orphaned(url: str, log: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process whose child is at a song."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    started = subprocess.Popen([sys.executable, "-c", ORPHAN, url, str(log)], env=environment, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (log.exists() and "2" in log.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield started
    finally:
        started.kill()
        started.wait()


def test_a_child_does_not_outlive_its_worker(orphaned: "subprocess.Popen[str]") -> None:
    psutil = pytest.importorskip("psutil")
    (child,) = psutil.Process(orphaned.pid).children()
    orphaned.send_signal(signal.SIGKILL)
    orphaned.wait()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()


def test_limits_are_told_by_the_settings_and_the_command_line(autosing: Autosing, tmp_path: Path) -> None:
    assert parse_project("limits: {song_s: 60, memory_gb: 2}").limits == Bounds(60, memory_gb=2)
    with pytest.raises(
        UsageError, match=r"datasets\.yaml:1: limits\.song: unknown; known: journal_s, memory_gb, song_"
    ):
        parse_project("limits: {song: 60}")
    with pytest.raises(UsageError, match=r"limits\.memory_gb: 0 is not more than 0"):
        parse_project("limits: {memory_gb: 0}")
    toy_dataset(str(tmp_path / "songs"), 1, 2)
    said = autosing("process", "songs", "energy", "--executor", "child", "--memory-gb", "0.001")
    assert said.code == 3
    assert "its process took more than 0.001 GB of memory, and no song is the cause; raise limits.mem" in said.out
    (tmp_path / "datasets.yaml").write_text("limits: {memory_gb: 0.001}\n")
    assert autosing("process", "songs", "energy", "--executor", "child").code == 3
    assert autosing("process", "songs", "energy", "--executor", "child", "--memory-gb", "4").code == 0


def test_a_long_song_may_take_as_much_longer() -> None:
    bounds = Bounds()
    assert (bounds.time_s(10), bounds.time_s(60)) == (600, 1200)


def test_memory_is_measured(url: str) -> None:
    before = used_bytes(os.getpid())
    held = bytearray(os.urandom(1 << 20)) * 64
    assert 60e6 < used_bytes(os.getpid()) - before < 80e6 and held
    assert 1e8 < before + 1e8 < machine_bytes() == 2 * Bounds().memory_bytes
