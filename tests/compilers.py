"""Tests that compile."""

from collections.abc import Callable
from shutil import which
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])

OF_PYTORCH = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""PyTorch's compiler uses what PyTorch itself deprecates."""


def compiles(test: Test) -> Test:
    """Marks a test that compiles: it takes half a minute, and needs a compiler of C++."""
    has_none = pytest.mark.skipif(which("g++") is None, reason="PyTorch's compiler needs one of C++")
    return pytest.mark.slow(OF_PYTORCH(has_none(test)))
