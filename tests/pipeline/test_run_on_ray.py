"""Runs on Ray: the same values as in one process, and nothing lost when workers or nodes die."""

import os
from pathlib import Path
from typing import Any

import pytest
from toy_stages import column_values, toy_dataset, toy_graph

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from on_ray import ON_RAY

pytestmark = ON_RAY
ALL = ["probe", "letters", "level", "doubled", "above"]


def run(url: str, executor: str, **settings: Any) -> RunReport:
    options = RunOptions(executor=executor, workers=2)  # type: ignore[arg-type]
    return process(Dataset(url), toy_graph(url, **settings), ALL, options, progress=Progress(0, quiet=True))


@pytest.fixture(autouse=True)
def toys_on_the_workers_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, Any]:
    url = toy_dataset(str(tmp_path / "undisturbed"), partitions=4)
    run(url, "local")
    return column_values(url)


def test_ray_and_one_process_give_identical_values(tmp_path: Path, expected: dict[str, Any]) -> None:
    url = toy_dataset(str(tmp_path / "set"), partitions=4)
    report = run(url, "ray")
    assert report.exit_code == 0 and report.fits == ["above"]
    assert column_values(url) == expected


def test_the_song_that_kills_its_worker_is_found_and_recorded_and_its_neighbours_are_done(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "set"), partitions=2)
    report = run(url, "ray", killer="song 4.wav")
    assert report.failed == {}
    rows = {r.id: r for p in Dataset(url).partitions for r in p.rows(["level.level", "doubled.doubled"])}
    assert {id for id, r in rows.items() if r.errors} == {"song 4.wav"}
    assert "process died" in rows["song 4.wav"].errors["level"]
    assert rows["song 3.wav"].values["doubled.doubled"] is not None
