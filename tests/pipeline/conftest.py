"""Where the ingest tests have their source and the data set that they make of it."""

from pathlib import Path

import pytest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def url(tmp_path: Path) -> Path:
    return tmp_path / "set"
