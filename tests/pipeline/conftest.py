"""Where the ingest tests have their source and the data set that they make of it, and a server of S3."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_faults import FaultyS3
from s3_server import CREDENTIALS, PROGRAM, faulty_bucket, s3_server


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def url(tmp_path: Path) -> Path:
    return tmp_path / "set"


@pytest.fixture(scope="session")
def moto_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server in a process of its own, where moto is installed."""
    program = shutil.which(PROGRAM)
    if program is None:
        pytest.skip(f"{PROGRAM} is not installed")
    with s3_server(program, tmp_path_factory.mktemp("moto") / "log.txt") as port:
        yield port


@pytest.fixture
def s3(moto_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """A proxy before an S3 server, without faults yet, and a new bucket behind it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with faulty_bucket(moto_port) as proxy:
        yield proxy
