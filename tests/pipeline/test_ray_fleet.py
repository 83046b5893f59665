"""What Ray's errors mean for a worker, without a cluster."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_stages import toy_dataset, toy_graph

from autosing.pipeline.cluster import RayFleet
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.fleet import Death
from autosing.pipeline.schedule import Scheduler, Task


class Method:
    """A method of an actor: calling it gives a ticket."""

    def remote(self, *arguments: Any) -> object:
        return object()


def test_a_worker_that_rays_memory_monitor_ends_has_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def get(ticket: object, **options: Any) -> None:
        raise ray.exceptions.OutOfMemoryError("memory on the node was 0.96 used; Ray killed this worker")

    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "wait", lambda tickets, **options: (tickets, []))
    url = toy_dataset(str(tmp_path / "set"), partitions=1)
    fleet, task = RayFleet(Scheduler(Dataset(url), toy_graph(url), ["probe"])), Task(0, ("probe",))
    worker = SimpleNamespace(run=Method(), fit=Method(), survive=Method(), passed=Method())
    for call in (lambda: fleet.outcome(fleet.submit(worker, task, {})), lambda: fleet.fit(worker, "above")):
        with pytest.raises(Death, match="Ray killed this worker") as death:
            call()
        assert not death.value.lost_its_node and not death.value.never_lived
    assert not fleet.survives(worker, task, ["song 0.wav"])
    assert fleet.passed([worker]) == [None]
