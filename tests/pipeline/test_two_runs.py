"""Two runs at work on one data set: each file is made once, and neither changes what the other has made."""

import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3_faults import Fault, FaultyS3
from toy_stages import AboveMean, Doubled, Level, column_values, toy_dataset, toy_graph, toy_songs

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.fit import fit
from autosing.pipeline.graph import Graph, Instance
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.leftovers import DRAFT, TEMPORARY
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport, Scheduler
from autosing.pipeline.song import Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, FitSource, Row
from autosing.pipeline.store import Store
from autosing.pipeline.worker import Worker
from autosing.signal.errors import RowError

ALL = ["probe", "letters", "level", "doubled", "above"]

DRIVER = """
import json, sys
from pathlib import Path
from toy_stages import toy_graph
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
url, artefacts, gain = sys.argv[1:]
graph = toy_graph(artefacts, gain=float(gain), pause_s=0.05)
dataset = Dataset(url)
print("READY", flush=True)
sys.stdin.readline()
targets = ["probe", "letters", "level", "doubled", "above"]
report = process(dataset, graph, targets, RunOptions(executor="local"), progress=Progress(0, quiet=True))
rows = {name: total.rows for name, total in report.instances.items()}
print(json.dumps({"rows": rows, "found": report.found, "failed": report.failed}))
sys.exit(report.exit_code)
"""
SONGS = 24


def many_partitions(url: str) -> str:
    """Makes a data set of eight partitions."""
    append_songs(url, toy_songs(SONGS), partition_bytes=100_000)
    return url


def two_drivers(url: str, artefacts: Path, gain: float = 1.0) -> list[dict[str, Any]]:
    """Returns what two drivers report that begin at one moment."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", DRIVER, url, str(artefacts), str(gain)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    drivers = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for driver in drivers:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "READY\n"
    for driver in drivers:
        assert driver.stdin is not None
        driver.stdin.write("\n")
        driver.stdin.flush()
    told = [driver.communicate(timeout=100)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], told
    return [json.loads(t) for t in told]


def check_shared_work(reports: list[dict[str, Any]]) -> None:
    """Checks that each file was made by one of two drivers, that both worked, and that each saw the other's work."""
    for name in ALL:
        assert sum(r["rows"].get(name, 0) for r in reports) == SONGS
    assert all(r["found"] and r["rows"] and not r["failed"] for r in reports)


@pytest.mark.slow
@pytest.mark.parametrize("faults", [[], [Fault("lost", 0.05), Fault("503", 0.05)]], ids=["quiet", "bad day"])
def test_two_drivers_share_a_data_set_on_s3(s3: FaultyS3, tmp_path: Path, faults: list[Fault]) -> None:
    local = many_partitions(str(tmp_path / "local"))
    many_partitions(s3.url)
    for gain in (1.0, 2.0):  # All is missing; then much is stale.
        s3.faults, s3.puts = faults, type(s3.puts)()
        reports = two_drivers(s3.url, tmp_path / "artefacts", gain)
        s3.faults = []
        run(local, toy_graph(str(tmp_path / "apart"), gain=gain))
        assert column_values(s3.url) == column_values(local)
        written = [n for path, n in s3.puts.items() if path.endswith(("level.parquet", "doubled.parquet"))]
        assert written == [1] * 2 * len(Dataset(local).partitions)
        if gain == 1.0:
            check_shared_work(reports)
    assert all(s3.counts[fault.kind] > 0 for fault in faults)


def test_two_drivers_share_a_local_data_set(tmp_path: Path) -> None:
    local = many_partitions(str(tmp_path / "local"))
    shared = many_partitions(str(tmp_path / "shared"))
    for gain in (1.0, 2.0):
        reports = two_drivers(shared, tmp_path / "artefacts", gain)
        run(local, toy_graph(str(tmp_path / "apart"), gain=gain))
        assert column_values(shared) == column_values(local)
        if gain == 1.0:
            check_shared_work(reports)


@dataclass(frozen=True)
class Interrupted(Level):
    """A level; when it is first computed, another run gets its turn. Where it is uneven, as what a GPU computes may be,
    it is another one each time."""

    meanwhile: list[Callable[[], object]] = field(default_factory=list, metadata=NOT_IN_DEFINITION, hash=False)
    is_uneven: bool = field(default=False, metadata=NOT_IN_DEFINITION)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        rows = super().process(songs, model)
        if self.meanwhile:
            self.meanwhile.pop()()
        more = np.random.default_rng().random() if self.is_uneven else 0.0
        return [row if isinstance(row, RowError) else {"level": row["level"] + more} for row in rows]


def graph_of(level: Level, artefacts: Path) -> Graph:
    instances = toy_graph(str(artefacts)).instances
    return Graph({**instances, "level": Instance("level", "level", level)})


def run(url: str, graph: Graph) -> RunReport:
    return process(Dataset(url), graph, ALL, RunOptions(executor="local"), progress=Progress(0, quiet=True))


@pytest.fixture(params=["local", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a data set of two partitions in each kind of store."""
    if request.param == "local":
        return toy_dataset(str(tmp_path / "set"))
    if request.param == "memory":
        return toy_dataset(f"memory://{uuid.uuid4().hex}/set")
    return toy_dataset(request.getfixturevalue("s3").url)


def versions(url: str) -> dict[str, str | None]:
    store = Store(url)
    return {f"{n}/{i}": store.version(str(n), f"{i}.parquet") for n in range(2) for i in ALL}


def test_what_another_run_has_made_meanwhile_stays(url: str, tmp_path: Path) -> None:
    seen: list[dict[str, str | None]] = []

    def other() -> None:
        assert run(url, toy_graph(str(tmp_path / "artefacts"))).exit_code == 0
        seen.append(versions(url))

    report = run(url, graph_of(Interrupted(meanwhile=[other]), tmp_path / "artefacts"))
    assert report.exit_code == 0
    assert report.found == {"probe": 1, "letters": 1, "level": 1, "doubled": 1}
    assert versions(url) == seen[0]


def test_a_run_with_other_settings_at_the_same_time_is_told(url: str, tmp_path: Path) -> None:
    def other() -> None:
        assert run(url, toy_graph(str(tmp_path / "other"), gain=3.0)).exit_code == 0

    report = run(url, graph_of(Interrupted(meanwhile=[other]), tmp_path / "artefacts"))
    assert report.exit_code == 3
    assert "level.parquet was written meanwhile by a run with other settings or inputs; end one" in report.failed[0]


def test_what_reads_a_column_is_made_of_the_column_that_is_there(url: str, tmp_path: Path) -> None:
    def other() -> None:
        process(
            Dataset(url),
            graph_of(Interrupted(is_uneven=True), tmp_path / "artefacts"),
            ["level"],
            RunOptions(executor="local"),
            progress=Progress(0, quiet=True),
        )

    graph = graph_of(Interrupted(meanwhile=[other], is_uneven=True), tmp_path / "artefacts")
    report = run(url, graph)
    assert (report.exit_code, report.found["level"]) == (0, 1)
    for row in Dataset(url).read(["level", "doubled"]):
        np.testing.assert_array_equal(row.values["doubled.doubled"], 2 * row.values["level.level"])
    assert run(url, graph).tasks == 0


@dataclass(frozen=True)
class LateDoubled(Doubled):
    """Twice the level; when it is first computed, another run gets its turn."""

    meanwhile: list[Callable[[], object]] = field(default_factory=list, metadata=NOT_IN_DEFINITION, hash=False)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        if self.meanwhile:
            self.meanwhile.pop()()
        return super().process(songs, model)


def test_a_column_whose_input_is_made_anew_meanwhile_is_computed_from_that(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autosing.pipeline.schedule.BACK_OFF_S", (0.0,))
    graph = graph_of(Interrupted(is_uneven=True), tmp_path / "artefacts")
    quiet, local = Progress(0, quiet=True), RunOptions(executor="local")
    process(Dataset(url), graph, ["level"], local, progress=quiet)

    def other() -> None:
        assert process(Dataset(url), graph, ["level"], local, {0: ["level"], 1: ["level"]}, quiet).exit_code == 0

    late = Graph({**graph.instances, "doubled": Instance("doubled", "doubled", LateDoubled(meanwhile=[other]))})
    process(Dataset(url), late, ["doubled"], local, progress=quiet)
    process(Dataset(url), late, ["doubled"], local, progress=quiet)
    for row in Dataset(url).read(["level", "doubled"]):
        np.testing.assert_array_equal(row.values["doubled.doubled"], 2 * row.values["level.level"])


def test_what_is_asked_for_again_is_computed_though_another_run_makes_what_else_is_due(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "set"), partitions=1)
    graph = toy_graph(url)
    run(url, graph)
    Store(url).remove("0", "letters.parquet")
    scheduler, worker = Scheduler(Dataset(url), graph, ALL, {0: ["level"]}), Worker(url)
    run(url, graph)
    computed: list[str] = []
    while task := scheduler.next_task():
        result = worker.run(graph, task, {}).result
        assert result
        scheduler.finished(task, result)
        computed += result.instances
    assert "level" in computed and not scheduler.report.failed


def test_an_artefact_that_another_run_has_fitted_meanwhile_stays(tmp_path: Path) -> None:
    url, artefacts = toy_dataset(str(tmp_path / "set")), tmp_path / "artefacts"
    run(url, toy_graph(str(artefacts)))
    record = artefacts / "models" / "above" / "fit.json"
    before = record.stat().st_ino
    graph = graph_of(Interrupted(), artefacts)
    stage = replace(graph["above"].stage, hours=2.0)
    assert isinstance(stage, AboveMean)

    @dataclass(frozen=True)
    class Late(AboveMean):
        def fit(self, songs: FitSource, folder: Path) -> None:
            fit(Dataset(url), Graph({**graph.instances, "above": Instance("above", "above", stage)}), "above")
            super().fit(songs, folder)

    late = Late(hours=2.0, codebook=stage.codebook)
    fit(Dataset(url), Graph({**graph.instances, "above": Instance("above", "above", late)}), "above")
    assert record.stat().st_ino != before
    assert [p.name for p in (artefacts / "models").iterdir()] == ["above"]


def test_what_a_fit_that_was_killed_left_beside_its_artefact_goes_with_the_next_fit(tmp_path: Path) -> None:
    url, models = toy_dataset(str(tmp_path / "set")), tmp_path / "artefacts" / "models"
    host, nobody = socket.gethostname(), 2**22 + 1
    dead, foreign = (f"{TEMPORARY}above.{of}.{nobody}-01234567" for of in (host, "elsewhere"))
    for name in (dead, foreign, "below"):
        (models / name).mkdir(parents=True)
    run(url, toy_graph(str(models.parent)))
    assert {path.name for path in models.iterdir()} == {foreign, "below", "above"}


def test_what_a_living_process_is_making_stays(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with subprocess.Popen(["sleep", "100"]) as living:
        names = [
            f"{TEMPORARY}a.parquet.{host}.{pid}-01234567"
            for host, pid in ((socket.gethostname(), living.pid), ("elsewhere", 1), (socket.gethostname(), 2**22 + 1))
        ]
        for name in names:
            (tmp_path / "0").mkdir(exist_ok=True)
            (tmp_path / "0" / name).touch()
        store.remove_leftovers("0", ["a.parquet"])
        living.kill()
    assert store.files("0") == sorted(names[:2])
    assert all(DRAFT.fullmatch(name) for name in names)
