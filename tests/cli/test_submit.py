"""Jobs submitted to a Ray head: the same columns, exit codes and messages as here, and a token where one is wanted."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
from toy_stages import column_values

from autosing.cluster.jobs import JobServer
from autosing.cluster.meters import COUNTERS
from autosing.cluster.session import shipped_code
from autosing.pipeline.chaos.process_tree import TOKEN, kill_tree
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.signal.errors import DataError, UsageError
from said import Autosing

SECRET = "a token for the tests of autosing"
TRIES = 3
PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port",
         "ray-client-server-port", "metrics-export-port")  # fmt: skip
PATIENCE_S = 1500
SETTINGS = "datasets: {sung: {path: URL}}\nstages: {units: {k: 16, hours: 1.0}}\n"


def on_ray(test: "Callable[..., None]") -> "Callable[..., None]":
    """Marks a test that needs the head."""
    marked: Callable[..., None] = pytest.mark.ray(pytest.mark.slow(pytest.mark.timeout(PATIENCE_S)(test)))
    return marked


@dataclass(frozen=True)
class Head:
    """A Ray head that wants a token, started as its own process.

    address: of its dashboard.
    metrics: what Prometheus would ask.
    folder: where commands are run; it has a settings file.
    """

    address: str
    metrics: str
    folder: Path

    def submit(self, *arguments: str, token: str | None = SECRET) -> "subprocess.CompletedProcess[str]":
        """Runs `autosing submit` with a token, or without one."""
        environment = os.environ | {"HOME": str(self.folder), "RAY_AUTH_MODE": "disabled" if token is None else "token"}
        environment |= {} if token is None else {"RAY_AUTH_TOKEN": token}
        command = [sys.executable, "-m", "autosing.cli.main", "submit", "--address", self.address, *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
        )


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head that runs; Ray gives up after 30 s where a machine is busy, so it gets several tries."""
    token, folder = uuid.uuid4().hex, tmp_path_factory.mktemp("head")
    # The names of Ray's sockets are long already.
    scratch = tempfile.mkdtemp(prefix="ray-")
    try:
        for _ in range(TRIES):
            with closed(start_head(folder, scratch, token), token) as (started, head):
                if is_up(head, started):
                    yield head
                    return
        raise AssertionError((folder / "head.log").read_text())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def start_head(folder: Path, scratch: str, token: str) -> "tuple[subprocess.Popen[bytes], Head]":
    # Ray waits 15 s for agents to tell a port of their own choice, too short where a machine is busy.
    options = {name: free_port() for name in PORTS}
    options |= {"num-cpus": 2, "object-store-memory": 100 << 20}
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--no-monitor",
               "--disable-usage-stats", "--node-ip-address=127.0.0.1", f"--temp-dir={scratch}"]  # fmt: skip
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {TOKEN: token, "PATH": path, "PYTHONPATH": "", "HOME": str(folder)}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": SECRET, "RAY_metrics_report_interval_ms": "500"}
    environment |= {"RAY_worker_niceness": "0"}
    environment |= {
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "240",
        "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "120",
    }
    with (folder / "head.log").open("w") as log:
        started = subprocess.Popen(
            [*command, *(f"--{k}={v}" for k, v in options.items())],
            cwd=folder, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    addresses = [f"http://127.0.0.1:{options[port]}" for port in ("dashboard-port", "metrics-export-port")]
    return started, Head(addresses[0], f"{addresses[1]}/metrics", folder)


@contextmanager
def closed(
    started: "tuple[subprocess.Popen[bytes], Head]", token: str
) -> "Iterator[tuple[subprocess.Popen[bytes], Head]]":
    """Kills a head, with all that it started, after a block."""
    try:
        yield started
    finally:
        kill_tree(token)
        started[0].wait()


def is_up(head: Head, started: "subprocess.Popen[bytes]") -> bool:
    """Waits until a head says that it runs, and its dashboard answers; False where it ends instead."""
    asked = urllib.request.Request(f"{head.address}/api/version", headers={"Authorization": f"Bearer {SECRET}"})
    while started.poll() is None:
        with suppress(OSError):
            if "Ray runtime started" in (head.folder / "head.log").read_text():
                urllib.request.urlopen(asked, timeout=5).close()
                return True
        time.sleep(1)
    return False


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two partitions without columns."""
    folder = tmp_path_factory.mktemp("sung")
    sung = list(SyntheticSource(4, seconds=6).songs())
    for some in (sung[:2], sung[2:]):
        append_songs(str(folder / "songs"), some)
    return folder / "songs"


def settings_for(url: Path, folder: Path) -> None:
    (folder / "datasets.yaml").write_text(SETTINGS.replace("URL", str(url)))


@on_ray
def test_a_submitted_run_leaves_the_same_columns_and_a_second_has_nothing_to_do(
    head: Head, songs: Path, autosing: Autosing, tmp_path: Path
) -> None:
    here, there = shutil.copytree(songs, tmp_path / "here"), shutil.copytree(songs, tmp_path / "there")
    settings_for(here, tmp_path)
    assert autosing("process", "sung", "energy", "units", "--executor", "local").code == 0
    settings_for(there, head.folder)
    first = head.submit("process", "sung", "energy", "units", "--workers", "2")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "units            4 songs  0 errors" in first.stdout
    assert column_values(str(there)) == column_values(str(here))
    second = head.submit("process", "sung", "energy", "units")
    assert second.returncode == 0 and second.stdout.endswith("nothing to do\n")


@on_ray
def test_prometheus_sees_what_a_run_counts(head: Head, songs: Path, tmp_path: Path) -> None:
    url = shutil.copytree(songs, tmp_path / "set")
    assert head.submit("process", str(url), "energy", "f0", "--workers", "1").returncode == 0
    told = ""
    for _ in range(60):
        with urllib.request.urlopen(head.metrics, timeout=10) as answer:
            told = answer.read().decode()
        if all(f"ray_{name}_total" in told for name in COUNTERS if name != "autosing_errors"):
            break
        time.sleep(1)
    samples = [line for line in told.splitlines() if line.startswith("ray_autosing_")]
    rows = [line for line in samples if line.startswith("ray_autosing_rows_total") and 'stage="f0"' in line]
    assert rows and float(rows[0].split()[-1]) == 4, samples


@on_ray
def test_a_jobs_exit_code_and_message_are_the_commands(head: Head, tmp_path: Path) -> None:
    failed = head.submit("process", str(tmp_path / "it's; nowhere"))
    assert failed.returncode == 1 and "it's; nowhere has no partitions" in failed.stdout
    wrong = head.submit("status", str(tmp_path), "--set", "f0.methode=praat")
    assert wrong.returncode == 2 and "methode" in wrong.stdout


@on_ray
def test_a_job_goes_on_alone_is_looked_at_again_and_stopped(head: Head, songs: Path, tmp_path: Path) -> None:
    url = shutil.copytree(songs, tmp_path / "set")
    begun = head.submit("--no-follow", "process", str(url), "energy")
    id = begun.stdout.strip()
    assert begun.returncode == 0 and f"autosing submit --attach {id}" in begun.stderr
    again = head.submit("--attach", id)
    assert again.returncode == 0 and "energy           4 songs" in again.stdout
    assert head.submit("--status", id).stdout.startswith("SUCCEEDED")
    assert head.submit("--stop", id).stdout == f"{id} is no longer running\n"
    id = head.submit("--no-follow", "process", str(url), "f0", "mel", "units").stdout.strip()
    assert head.submit("--stop", id).stdout == f"{id} is being stopped\n"
    assert head.submit("--attach", id).returncode == 130
    unknown = head.submit("--attach", "no-such-job")
    assert unknown.returncode == 1 and "no-such-job does not exist" in unknown.stderr


@on_ray
@pytest.mark.parametrize(("token", "told"), [(None, "missing"), ("another", "wrong")])
def test_a_head_that_wants_a_token_refuses_all_others_and_the_message_says_what_to_do(
    head: Head, token: str | None, told: str
) -> None:
    refused = head.submit("process", "/songs", token=token)
    assert refused.returncode == 1 and refused.stdout == ""
    assert f"wants a token, and the one given is {told}; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "submit needs a COMMAND"),
        (["process", "/songs", "--stop", "id"], "submit needs a COMMAND"),
        (["process", "/songs"], "submit needs --address"),
        (["process", "/songs", "--address", "ray://head:10001"], "give one as http://HEAD:8265"),
        (["proces", "/songs", "--address", "http://head:8265"], "there is no command 'proces' to submit; there are"),
        (["process", "songs", "--address", "http://head:8265"], "songs is a path from this folder"),
        (["train", "acoustic", "--data", "s3://b/x", "--out", "run", "--address", "http://head:8265"], "run is a path"),
        (["process", "/songs", "--env", "NO_SUCH", "--address", "http://head:8265"], "--env NO_SUCH: it is not set"),
        (["process", "/songs", "--config", "no.yaml", "--address", "http://head:8265"], "no.yaml does not exist"),
    ],
)
def test_what_can_not_be_submitted_is_told_before_anything_is_asked(
    autosing: Autosing, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    said = autosing("submit", *arguments)
    assert said.code == 2 and message in said.err and said.out == ""


@dataclass
class HeadOnPaper:
    """Job server whose log breaks off after an hour each time, while the clock goes on; from `lost` on it is silent."""

    lost: int
    clock_s: float = 0.0
    asked: int = 0

    def monotonic(self) -> float:
        return self.clock_s

    def sleep(self, seconds: float) -> None:
        self.clock_s += seconds

    async def tail_job_logs(self, id: str) -> AsyncIterator[str]:
        self.asked += 1
        if self.asked >= self.lost:
            raise ConnectionError("refused")
        yield "log"[: self.asked]
        if self.asked < 3:
            self.clock_s += 3600
            raise RuntimeError("closed unexpectedly")

    def get_job_info(self, id: str) -> SimpleNamespace:
        done = SimpleNamespace(value="SUCCEEDED", is_terminal=lambda: self.asked == 3)
        return SimpleNamespace(status=done, message="")


@pytest.mark.parametrize("lost", [99, 3], ids=["there again", "gone for good"])
def test_a_head_is_given_up_only_after_it_was_out_of_reach_for_long(lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    head = HeadOnPaper(lost)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:8265")
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", lambda address: head)
    monkeypatch.setattr("autosing.cluster.jobs.time", head)
    said: list[str] = []
    server = JobServer("http://head:8265")
    if lost > 3:
        assert server.follow("job", said.append) == 0 and "".join(said) == "log"
        return
    with pytest.raises(DataError, match="out of reach since 300 s"):
        server.follow("job", said.append)
    assert 7500 < head.clock_s < 7600


def test_the_code_of_a_wheel_is_shipped_without_what_lies_beside_it(tmp_path: Path) -> None:
    wheel = tmp_path / "autosing-9-py3-none-any.whl"
    with ZipFile(wheel, "w") as packed:
        packed.writestr("autosing/cli/main.py", "print('of the wheel')")
        packed.writestr("autosing-9.dist-info/METADATA", "")
    (code,) = shipped_code(tmp_path / "code", wheel)
    assert sorted(p.name for p in Path(code).parent.iterdir()) == ["autosing"]
    assert Path(code, "cli", "main.py").read_text() == "print('of the wheel')"


def test_a_foreign_wheel_is_refused(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "other.whl", "w") as packed:
        packed.writestr("other/main.py", "")
    with pytest.raises(UsageError, match=r"other\.whl is no wheel of autosing"):
        shipped_code(tmp_path, tmp_path / "other.whl")
    with pytest.raises(UsageError, match=r"none\.whl can't be read as a wheel"):
        shipped_code(tmp_path, tmp_path / "none.whl")
