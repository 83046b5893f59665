"""Where the ingest tests have their source and the data set that they make of it, and a server of S3."""

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_faults import FaultyS3


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def url(tmp_path: Path) -> Path:
    return tmp_path / "set"


@pytest.fixture(scope="session")
def moto_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server in a process of its own, where moto is installed."""
    program = shutil.which("moto_server")
    if program is None:
        pytest.skip("moto_server is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with (tmp_path_factory.mktemp("moto") / "log.txt").open("w") as log:
        server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        yield port
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def s3(moto_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """A proxy before an S3 server, without faults yet, and a new bucket behind it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    bucket = f"songs-{uuid.uuid4().hex}"
    _make_bucket(f"http://127.0.0.1:{moto_port}/{bucket}")
    with FaultyS3(moto_port, bucket) as proxy:
        yield proxy


def _make_bucket(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(address, method="PUT")):
                return
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
