"""Hosts with addresses of their own on this machine: network namespaces on one switch, whose cables can be pulled out.

Nothing of it is seen by the rest of the machine: the switch, too, is in a namespace, so that the addresses, which are
the same everywhere, meet no others.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from autosing.signal.errors import UsageError

NAMES = Path("/var/run/netns")
ADDRESS = "10.0.0.{}"
MOST_HOSTS = 250


class Network:
    """A switch and what hangs on it.

    Args:
        name: how the names of its namespaces begin: at most eight letters and digits.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def _switch(self) -> str:
        return f"{self.name}-switch"

    def make(self) -> None:
        """Makes the switch, and one host.

        Raises:
            UsageError: this user may not, or there is no program for it.
        """
        if not shutil.which("ip"):
            raise UsageError("hosts of their own need the program `ip`; install iproute2, or leave --hosts out")
        try:
            _ip("netns", "add", self._switch)
            self._in_switch("link", "add", "switch", "type", "bridge")
            self._in_switch("link", "set", "switch", "up")
            self.add()
        except subprocess.CalledProcessError as error:
            self.remove()
            raise UsageError(
                f"hosts of their own need network namespaces, which only root on Linux may make "
                f"({error.stderr.strip()}); leave --hosts out"
            ) from error

    def add(self) -> int:
        """Adds a host and returns its number; the first is 1."""
        number = max(self._numbers(), default=0) + 1
        if number > MOST_HOSTS:
            raise UsageError(f"one network has at most {MOST_HOSTS} hosts; begin another")
        host, cable = f"{self.name}-{number}", f"cable{number}"
        _ip("netns", "add", host)
        self._in_switch("link", "add", cable, "type", "veth", "peer", "name", "net", "netns", host)
        self._in_switch("link", "set", cable, "master", "switch", "up")
        _ip("-n", host, "address", "add", f"{self.address(number)}/24", "dev", "net")
        for device in ("lo", "net"):
            _ip("-n", host, "link", "set", device, "up")
        return number

    def address(self, number: int) -> str:
        """Returns the address of a host."""
        return ADDRESS.format(number)

    def inside(self, number: int, command: Sequence[str]) -> list[str]:
        """Returns the command that runs a command on a host."""
        return ["ip", "netns", "exec", f"{self.name}-{number}", *command]

    def host_of(self, pid: int) -> int:
        """Returns the number of the host on which a process runs."""
        named = re.fullmatch(rf"{self.name}-(\d+)", _ip("netns", "identify", str(pid)).strip())
        if not named:
            raise UsageError(f"process {pid} is on no host of this network")
        return int(named[1])

    def pull_out(self, number: int) -> None:
        """Pulls out the cable of a host: whatever is sent to it or by it is lost, and all on it goes on."""
        self._in_switch("link", "set", f"cable{number}", "down")

    def remove(self) -> None:
        """Removes all of it; what still runs there has no network."""
        for number in self._numbers():
            _ip("netns", "delete", f"{self.name}-{number}")
        if (NAMES / self._switch).exists():
            _ip("netns", "delete", self._switch)

    def _numbers(self) -> list[int]:
        found = (re.fullmatch(rf"{self.name}-(\d+)", path.name) for path in NAMES.glob(f"{self.name}-*"))
        return [int(named[1]) for named in found if named]

    def _in_switch(self, *command: str) -> None:
        _ip("-n", self._switch, *command)


def _ip(*command: str) -> str:
    return subprocess.run(["ip", *command], check=True, capture_output=True, text=True).stdout
