"""Starting Ray changes nothing for the process that starts it."""

import os
import signal
from typing import Any

import pytest

from autosing.cluster.session import ray_session
from autosing.cluster.stop import TERM, stop_signals


def test_sigterm_still_reaches_who_listened_before_ray_started(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def init(*arguments: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: pytest.fail("Ray ends the process"))

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with stop_signals(TERM) as stopping, ray_session(None):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.wait(10)
