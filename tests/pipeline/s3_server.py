"""A server of S3 on this machine, moto's, and buckets on it that are reached through a proxy which makes faults."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s3_faults import FaultyS3

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
"""What clients must have in their environment; the server takes any."""
PROGRAM = "moto_server"
START_S = 60.0


@contextmanager
def s3_server(program: str, log: Path) -> Iterator[int]:
    """Gives the port of a server in a process of its own.

    Args:
        program: path of `moto_server`.
        log: a file that it writes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with log.open("w") as said:
        server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=said, stderr=said)
    try:
        yield port
    finally:
        server.kill()
        server.wait()


@contextmanager
def faulty_bucket(port: int, seed: int = 0) -> Iterator[FaultyS3]:
    """Gives a proxy, without faults yet, and a new bucket behind it.

    Args:
        port: of the server, which may be starting.
        seed: of the order in which requests meet faults.
    """
    bucket = f"songs-{uuid.uuid4().hex}"
    _make_bucket(f"http://127.0.0.1:{port}/{bucket}")
    with FaultyS3(port, bucket, seed) as proxy:
        yield proxy


def _make_bucket(address: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(address, method="PUT")):
                return
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
