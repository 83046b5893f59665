"""Runs that are killed at any moment: the same command again gives the same values as if nothing had happened."""

import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from toy_stages import column_values

from autosing.pipeline.chaos.process_tree import TOKEN, carriers, kill, kill_tree
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource

STAGES = ("f0", "energy", "cuts", "units")
KILLS = 5
PATIENCE_S = 200
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
node = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
cluster.wait_for_nodes()
print("READY", cluster.address, cluster.head_node.get_session_dir_path(), flush=True)
sys.stdin.readline()
cluster.remove_node(node, allow_graceful=False)
sys.stdin.read()
"""
"""A cluster of two nodes that loses one when told to, and ends with its standard input."""


class Processes:
    """Starts processes that can all be found again, with everything that they start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._token = uuid.uuid4().hex
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, **pipes: Any) -> "subprocess.Popen[str]":
        """Starts Python in a session of its own, outside the checkout."""
        environment = os.environ | {TOKEN: self._token, "PYTHONPATH": ""}
        command = [sys.executable, *arguments]
        started = subprocess.Popen(
            command, cwd=self._folder, env=environment, start_new_session=True, text=True, **pipes
        )
        self._started.append(started)
        return started

    def run(self, url: str, *options: str) -> "subprocess.Popen[str]":
        """Starts `autosing process`."""
        log = (self._folder / "log.txt").open("a")
        with log:
            return self.start("-m", "autosing.cli.main", "process", url, *STAGES, *options, stdout=log, stderr=log)

    def log(self) -> str:
        """Returns what all runs have printed so far."""
        return (self._folder / "log.txt").read_text()

    def alive(self) -> list[psutil.Process]:
        """Returns what was started and lives."""
        return carriers(self._token)

    def kill_all(self) -> None:
        """Kills everything that was started, and what that starts meanwhile."""
        kill_tree(self._token)
        for started in self._started:
            started.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path)
    try:
        yield started
    finally:
        started.kill_all()


@dataclass(frozen=True)
class Undisturbed:
    """A data set before and after a run in peace.

    songs: the data set without columns.
    values: the digests of its columns after the run.
    pass_s: seconds that the stages took for a partition.
    """

    songs: Path
    values: dict[str, Any]
    pass_s: float


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    sung = list(SyntheticSource(2, seconds=20).songs())
    for partition in range(6):
        songs = [replace(sung[i % 2], id=f"{partition}/{i}", reference={}) for i in range(4)]
        append_songs(str(folder / "songs"), songs)
    url = str(shutil.copytree(folder / "songs", folder / "set"))
    processes = Processes(folder)
    assert processes.run(url, "--executor", "local").wait(PATIENCE_S) == 0, processes.log()
    records = [[p.record(name) for name in STAGES] for p in Dataset(url).partitions]
    busy_s = [sum(record.run["busy_s"] for record in partition if record) for partition in records]
    return Undisturbed(folder / "songs", column_values(url), statistics.median(busy_s))


@pytest.fixture
def url(tmp_path: Path, undisturbed: Undisturbed) -> str:
    return str(shutil.copytree(undisturbed.songs, tmp_path / "set"))


def scratch_files(url: str) -> list[Path]:
    return [p for p in Path(url).rglob("*") if p.name.startswith(".tmp-")]


def is_at_work(url: str) -> Callable[[], bool]:
    """Returns a question: whether something is being written that was not when the question was made."""
    before = set(scratch_files(url))
    return lambda: bool(set(scratch_files(url)) - before)


def wait_until(happens: Callable[[], Any], run: "subprocess.Popen[str]", processes: Processes) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        assert run.poll() is None, f"the run ended before it was to be disturbed: {processes.log()}"
        assert time.monotonic() < deadline, processes.log()
        time.sleep(0.02)


@pytest.mark.parametrize(
    "executor",
    [
        pytest.param("child", marks=pytest.mark.slow),
        pytest.param("ray", marks=(pytest.mark.ray, pytest.mark.slow)),
    ],
)
def test_killing_the_whole_process_tree_five_times_changes_nothing(
    processes: Processes, url: str, undisturbed: Undisturbed, executor: str
) -> None:
    moments = random.Random(executor)
    for _ in range(KILLS):
        is_working = is_at_work(url)
        run = processes.run(url, "--executor", executor)
        wait_until(is_working, run, processes)
        time.sleep(moments.uniform(0, undisturbed.pass_s))
        os.killpg(run.pid, signal.SIGKILL)
        processes.kill_all()
        assert run.wait() == -signal.SIGKILL, processes.log()
    assert column_values(url) != undisturbed.values
    assert processes.run(url, "--executor", executor).wait(PATIENCE_S) == 0, processes.log()
    assert column_values(url) == undisturbed.values
    assert scratch_files(url) == []


def running(processes: Processes) -> list[psutil.Process]:
    """Returns the workers that are at a task."""
    return [p for p in processes.alive() if "".join(p.cmdline()).startswith("ray::IsolatedWorker.run")]


@pytest.mark.ray
@pytest.mark.slow
def test_a_worker_killed_on_a_living_node_changes_nothing(
    processes: Processes, url: str, undisturbed: Undisturbed
) -> None:
    run = processes.run(url, "--executor", "ray", "--workers", "2")
    wait_until(is_at_work(url), run, processes)
    # Between two tasks, no worker says that it runs.
    wait_until(lambda: bool(running(processes)), run, processes)
    kill(running(processes)[0])
    assert run.wait(PATIENCE_S) == 0, processes.log()
    assert "its worker died (time 1)" in processes.log()
    assert column_values(url) == undisturbed.values
    assert scratch_files(url) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_node_lost_by_a_cluster_that_gets_the_code_from_the_driver_changes_nothing(
    processes: Processes, url: str, undisturbed: Undisturbed
) -> None:
    cluster = processes.start("-c", CLUSTER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert cluster.stdin is not None and cluster.stdout is not None
    with cluster.stdin, cluster.stdout:
        _, address, session = next(line for line in cluster.stdout if line.startswith("READY")).split()
        run = processes.run(url, "--executor", "ray", "--address", address)
        wait_until(lambda: list(Path(url).glob("*/f0.parquet")), run, processes)
        print("remove", file=cluster.stdin, flush=True)
        assert run.wait(PATIENCE_S) == 0, processes.log()
        assert list(Path(session).glob("runtime_resources/py_modules_files/*/autosing/pipeline/run.py"))
    assert "its node is gone" in processes.log()
    assert column_values(url) == undisturbed.values
    assert scratch_files(url) == []
