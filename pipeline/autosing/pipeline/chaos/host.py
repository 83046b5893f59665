"""A Ray cluster of several nodes on this machine, in a process of its own, that loses and gains nodes when told to.

    python -m autosing.pipeline.chaos.host PORT

It says `READY` and its address once it is there and after each command of its standard input, and ends with that.
"""

import itertools
import sys
from typing import Any

NODES = 2
STORE_BYTES = 100 << 20


class Host:
    """Nodes of one core, and a head that computes nothing.

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
        """Where drivers find the cluster; empty once the head is lost."""
        return self._cluster.address or ""

    def obey(self, command: str) -> None:
        """Does what a line of the standard input says."""
        if command == "lose the head":
            self._cluster.remove_node(self._cluster.head_node, allow_graceful=False)
        elif command == "replace the lost":
            for node in [node for node in self._cluster.worker_nodes if not node.remaining_processes_alive()]:
                self._cluster.remove_node(node, allow_graceful=False)
                self._cluster.add_node(**self._node(num_cpus=1))

    def _node(self, **options: Any) -> dict[str, Any]:
        own = {"node_ip_address": next(self._addresses)} if sys.platform == "linux" else {}
        return {"object_store_memory": STORE_BYTES, **own, **options}


def main() -> None:
    """Starts the cluster and does what the standard input says."""
    # Whatever Ray prints goes where errors go, so that what is said here stands alone.
    answers, sys.stdout = sys.stdout, sys.stderr
    host = Host(int(sys.argv[1]))
    print("READY", host.address, file=answers, flush=True)
    for line in sys.stdin:
        host.obey(line.strip())
        print("READY", host.address, file=answers, flush=True)


if __name__ == "__main__":
    main()
