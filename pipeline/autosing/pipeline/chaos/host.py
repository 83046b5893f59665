"""A Ray cluster of several nodes on this machine, in a process of its own, that loses and gains nodes when told to.

    python -m autosing.pipeline.chaos.host PORT [NETWORK FOLDER]

It says `READY` and its address once it is there and after each command of its standard input, and ends with that.
"""

import itertools
import os
import subprocess
import sys
from contextlib import suppress
from typing import Any, Protocol

import psutil

from autosing.pipeline.chaos.network import Network
from autosing.pipeline.chaos.process_tree import RAYLET, is_named, kill_family

NODES = 2
STORE_BYTES = 100 << 20
# A host that is cut off goes on until others have done its work.
PATIENT = {"RAY_gcs_rpc_server_reconnect_timeout_s": "240"}
STARTED = "Ray runtime started"


class Nodes(Protocol):
    """A head that computes nothing, and nodes of one core."""

    @property
    def address(self) -> str:
        """Where drivers find the cluster; empty once the head is lost."""

    def lose_head(self) -> None:
        """Kills all processes of the head."""

    def replace_lost(self) -> None:
        """Adds as many nodes as have died."""


class OneNetwork:
    """Nodes on the network that this machine has.

    Every node has an address of its own where the whole of 127.0.0.0/8 is this machine's, as it is on Linux.

    Args:
        port: of the head.
    """

    def __init__(self, port: int) -> None:
        from ray.cluster_utils import Cluster

        self._addresses = (f"127.0.0.{n}" for n in itertools.count(2))
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=self._node(num_cpus=0, gcs_server_port=port))
        for _ in range(NODES):
            self._cluster.add_node(**self._node(num_cpus=1))

    @property
    def address(self) -> str:
        return self._cluster.address or ""

    def lose_head(self) -> None:
        self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)

    def replace_lost(self) -> None:
        for node in [node for node in self._cluster.worker_nodes if not node.remaining_processes_alive()]:
            self._cluster.remove_node(node, allow_graceful=False)
            self._cluster.add_node(**self._node(num_cpus=1))

    def _node(self, **options: Any) -> dict[str, Any]:
        own = {"node_ip_address": next(self._addresses)} if sys.platform == "linux" else {}
        return {"object_store_memory": STORE_BYTES, **own, **options}


class Hosts:
    """Nodes of which each is alone on a host of its own; the head is on the first, where drivers are, too.

    Args:
        port: of the head.
        network: of the hosts, of which there is one.
        folder: in which each host has its own for what Ray writes; its name is short, since sockets lie there.
    """

    def __init__(self, port: int, network: Network, folder: str) -> None:
        self._network, self._folder = network, folder
        self.address = f"{network.address(1)}:{port}"
        self._head = self._start(1, "--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
        self._nodes = [self._add() for _ in range(NODES)]

    def lose_head(self) -> None:
        kill_family(psutil.Process(self._head.pid))
        self.address = ""

    def replace_lost(self) -> None:
        lost = [node for node in self._nodes if not _has_raylet(node)]
        for node in lost:
            kill_family(psutil.Process(node.pid))
            node.wait()
        self._nodes = [node for node in self._nodes if node not in lost] + [self._add() for _ in lost]

    def _add(self) -> "subprocess.Popen[str]":
        return self._start(self._network.add(), f"--address={self.address}", "--num-cpus=1")

    def _start(self, number: int, *options: str) -> "subprocess.Popen[str]":
        """Starts a node and waits for it; it ends as soon as one of its processes does."""
        usual = [f"--node-ip-address={self._network.address(number)}", f"--object-store-memory={STORE_BYTES}"]
        usual += [f"--temp-dir={self._folder}/{number}", "--disable-usage-stats", "--block"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *usual]
        command, environment = self._network.inside(number, command), os.environ | ({} if number == 1 else PATIENT)
        node = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert node.stdout is not None
        if not any(STARTED in line for line in node.stdout):
            raise RuntimeError(f"the node on {self._network.address(number)} does not start")
        return node


def _has_raylet(node: "subprocess.Popen[str]") -> bool:
    """Whether a node lives; the process that started it sees a second later that it does not."""
    with suppress(psutil.NoSuchProcess):
        return any(is_named(process, RAYLET) for process in psutil.Process(node.pid).children())
    return False


def main() -> None:
    """Starts the cluster and does what the standard input says."""
    # Whatever Ray prints goes where errors go, so that what is said here stands alone.
    answers, sys.stdout = sys.stdout, sys.stderr
    port, of_hosts = int(sys.argv[1]), sys.argv[2:]
    nodes: Nodes = Hosts(port, Network(of_hosts[0]), of_hosts[1]) if of_hosts else OneNetwork(port)
    print("READY", nodes.address, file=answers, flush=True)
    for line in sys.stdin:
        {"lose the head": nodes.lose_head, "replace the lost": nodes.replace_lost}[line.strip()]()
        print("READY", nodes.address, file=answers, flush=True)


if __name__ == "__main__":
    main()
