"""An empty data set to fill by hand."""

from pathlib import Path

import pytest
from hand_made import Made


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A data set without songs."""
    return Made(str(tmp_path / "set"))
