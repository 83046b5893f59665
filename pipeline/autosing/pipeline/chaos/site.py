"""Where runs are disturbed: a folder, the processes that were started in it, and a Ray cluster where one is needed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from autosing.pipeline.chaos.network import Network
from autosing.pipeline.chaos.process_tree import RAYLET, TOKEN, carriers, is_named, kill, kill_tree
from autosing.pipeline.chaos.state import below
from autosing.pipeline.faults import VARIABLE, Orders
from autosing.pipeline.store import Store
from autosing.signal.errors import DataError

STAGES = ("f0", "energy", "units")
"""What is computed: decoded audio, a network, a column made of a column, and an artefact that is fitted in between."""
WORKERS = 2
PATIENCE_S = 240.0
LOOK_EVERY_S = 0.03
RAY = {
    # Others who use this machine would keep workers that let everybody go first from their work for minutes.
    "RAY_worker_niceness": "0",
    # A head is missed after 5 s, in place of 60.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_gcs_server_request_timeout_seconds": "5",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    # A node that does not answer is missed after some 15 s, in place of a minute.
    "RAY_health_check_timeout_ms": "3000",
}
SKEWED = "autosing.pipeline.chaos.skewed"
WORKER, AT_WORK = "ray::IsolatedWorker", "ray::IsolatedWorker."
"""How processes of Ray call themselves."""


class Site:
    """Starts commands and a cluster, and finds their processes again.

    Args:
        folder: for everything; nothing else is in it.
        store: an address below which data sets lie; "": in the folder.
        hosts: whether every node of the cluster is on a host of its own, and drivers on that of the head.

    Raises:
        UsageError: there can be no such hosts here.
    """

    def __init__(self, folder: Path, store: str = "", hosts: bool = False) -> None:
        self.folder, self.token = folder, uuid.uuid4().hex
        place = store if "://" in store else os.path.abspath(store)
        self.store = below(place, f"autosing-chaos-{self.token}") if store else ""
        self.scratch = folder / "scratch"
        (folder / "orders").mkdir(parents=True)
        self.scratch.mkdir()
        self.orders = Orders(folder / "orders")
        self._cluster: _Cluster | None = None
        self._port = _free_port()
        self._started: list[subprocess.Popen[str]] = []
        self.network: Network | None = None
        if hosts:
            network = Network(self.token[:8])
            network.make()
            self.network = network
            self._of_hosts = tempfile.mkdtemp(prefix="ray-")

    @contextmanager
    def lend(self, name: str) -> Iterator[tuple[str, str]]:
        """Gives the address of a data set to be, and a folder for its artefacts: its own, where that is one."""
        folder = self.folder / name
        url = below(self.store, name) if self.store else str(folder / "set")
        try:
            yield url, str(folder / "artefacts") if "://" in url else url
        finally:
            if self.store:
                _remove(url)
            shutil.rmtree(folder, ignore_errors=True)

    def process(
        self, url: str, executor: str, home: str = "", skew_s: float = 0.0, workers: int = WORKERS
    ) -> "subprocess.Popen[str]":
        """Starts `autosing process`, on the cluster where it is to be on Ray.

        Args:
            url: the data set.
            executor: of the run.
            home: the folder in whose `models/` its artefacts lie; "" for its own.
            skew_s: by how much the clock of the run is ahead.
            workers: on Ray.
        """
        options = ["--executor", executor]
        if home not in ("", url):
            options += ["--set", f"units.codebook={Path(home, 'models', 'units')}"]
        on_ray = executor == "ray"
        if on_ray:
            options += ["--address", self.cluster().address, "--workers", str(workers)]
        command = [*([SKEWED, str(skew_s)] if skew_s else ["autosing.cli.main"]), "process", url, *STAGES, *options]
        with self.log_path.open("a") as log:
            return self._start(*command, host=1 if on_ray and self.network else None, stdout=log, stderr=log)

    @property
    def log_path(self) -> Path:
        """Where all runs print to."""
        return self.folder / "log.txt"

    def log_since(self, offset: int) -> str:
        """Returns what runs have printed from a place of the log on."""
        with self.log_path.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    def cluster(self) -> "_Cluster":
        """Returns the cluster, which is started where there is none."""
        if self._cluster is None:
            of_hosts = [self.network.name, self._of_hosts] if self.network else []
            self._cluster = _Cluster([str(self._port), *of_hosts], self._start)
        return self._cluster

    def new_cluster(self) -> None:
        """Starts a cluster at the address of one whose head is dead; what else lives of that goes on."""
        self._cluster = None
        self.cluster()

    def clear_away(self) -> None:
        """Kills what lives of a cluster whose head was lost."""
        kept = set() if self._cluster is None else {p.pid for p in self._cluster.tree()}
        for process in carriers(self.token):
            if process.pid not in kept:
                kill(process)

    def open_below(self, folder: str) -> bool:
        """Whether a process that was started here has a file below a folder open."""
        return any(_has_open(process, folder) for process in carriers(self.token))

    def kill_all(self) -> None:
        """Kills everything that was started, and what that starts meanwhile."""
        kill_tree(self.token)
        for started in self._started:
            with started:  # Closes its pipes and waits for it.
                pass
        self._started = []
        self._cluster = None

    def remove(self) -> None:
        """Kills everything that was started, and leaves nothing outside of the folder."""
        self.kill_all()
        if self.store:
            _remove(self.store)
        if self.network:
            self.network.remove()
            shutil.rmtree(self._of_hosts, ignore_errors=True)

    def _start(self, module: str, *arguments: str, host: int | None = None, **pipes: Any) -> "subprocess.Popen[str]":
        # Ray's sockets would have names that are too long where others have their scratch.
        places = {"TMPDIR": str(self.scratch), "RAY_TMPDIR": tempfile.gettempdir()}
        environment = os.environ | RAY | places | {TOKEN: self.token, VARIABLE: str(self.orders.folder)}
        command = [sys.executable, "-m", module, *arguments]
        command = self.network.inside(host, command) if self.network and host else command
        started = subprocess.Popen(
            command, cwd=self.folder, env=environment, start_new_session=True, text=True, **pipes
        )
        self._started.append(started)
        return started


@contextmanager
def site(folder: Path, store: str = "", hosts: bool = False) -> Iterator[Site]:
    """Gives a site; whatever was started there is dead afterwards, also where SIGTERM is what ends it."""
    made = Site(folder, store, hosts)
    former = signal.signal(signal.SIGTERM, _leave)
    try:
        yield made
    finally:
        made.remove()
        signal.signal(signal.SIGTERM, former)


def _remove(url: str) -> None:
    """Removes a data set; where its store does not answer, it stays."""
    with suppress(OSError):
        Store(url).remove_folder()


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


class _Cluster:
    """Ray nodes on this machine.

    Args:
        arguments: of the process that has them.
        start: starts a module as a process.
    """

    def __init__(self, arguments: Sequence[str], start: Callable[..., "subprocess.Popen[str]"]) -> None:
        self._host = start(
            "autosing.pipeline.chaos.host",
            *arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.address = self._hear()

    def lose_head(self) -> None:
        """Kills all processes of the head."""
        self._say("lose the head")

    def replace_lost(self) -> None:
        """Adds as many nodes as have died."""
        self._say("replace the lost")

    def tree(self) -> list[psutil.Process]:
        """Returns the processes of all nodes."""
        host = psutil.Process(self._host.pid)
        return [host, *host.children(recursive=True)]

    def nodes(self) -> list[psutil.Process]:
        """Returns the raylets that compute, the head's aside, which was started first."""
        raylets = [p for p in self.tree() if is_named(p, RAYLET)]
        return sorted(raylets, key=lambda p: p.create_time())[1:]

    def _say(self, command: str) -> None:
        assert self._host.stdin is not None
        print(command, file=self._host.stdin, flush=True)
        self._hear()

    def _hear(self) -> str:
        assert self._host.stdout is not None
        said, _, address = self._host.stdout.readline().strip().partition(" ")
        if said != "READY":
            raise DataError("the Ray cluster on this machine does not start, or ended; look at Ray's logs in /tmp/ray")
        return address


def worker_of(pid: int) -> psutil.Process:
    """Returns the worker that a process is, or is a child of."""
    process = psutil.Process(pid)
    while (parent := process.parent()) is not None and not is_named(parent, RAYLET):
        process = parent
    return psutil.Process(pid) if parent is None else process


def _has_open(process: psutil.Process, folder: str) -> bool:
    with suppress(psutil.Error):
        return any(file.path.startswith(folder) for file in process.open_files())
    return False


def wait_until(happens: Callable[[], Any], run: "subprocess.Popen[str]", what: str) -> None:
    """Waits until something is so.

    Raises:
        DataError: the run ended before, or it takes too long.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not happens():
        if run.poll() is not None:
            raise DataError(f"the run ended, with {run.returncode}, before {what}")
        if time.monotonic() > deadline:
            raise DataError(f"{what}: not within {PATIENCE_S:.0f} s")
        time.sleep(LOOK_EVERY_S)


def end_of(run: "subprocess.Popen[str]") -> int:
    """Returns the exit code of a run.

    Raises:
        DataError: it does not end.
    """
    try:
        return run.wait(PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        os.killpg(run.pid, signal.SIGKILL)
        raise DataError(f"a run did not end within {PATIENCE_S:.0f} s") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
