"""One thread, and a small built set with models of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_sing import Studio, build_studio


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def singing_studio(
    tmp_path_factory: pytest.TempPathFactory,
    save_codec: Callable[[Path, int], str],
    save_semantic: Callable[..., str],
) -> Studio:
    """A built set of two singers, whose models are made as they are asked for."""
    return build_studio(tmp_path_factory.mktemp("singing"), save_codec, save_semantic)
