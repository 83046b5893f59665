"""One thread, and small built sets."""

from pathlib import Path

import pytest
import torch
from toy_shards import toy_samples, write_set


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 training samples in three shards and 4 validation samples."""
    samples = toy_samples(28)
    shards = [samples[0:9], samples[9:17], samples[17:24]]
    return write_set(tmp_path_factory.mktemp("toy"), {"train": shards, "valid": [samples[24:]]})
