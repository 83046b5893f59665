"""The log of a run beside its data, and what somebody sees who has nothing but the storage."""

import json
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from toy_stages import toy_dataset, toy_graph

from autosing.cli.watch import watch_runs
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.events import EVENTS, SILENT_S, EventLog, runs_seen
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.store import Store
from autosing.pipeline.upkeep.verify import verify
from autosing.signal.errors import DataError

ALL = ["probe", "letters", "level"]


def run(url: str, targets: Sequence[str] = ALL) -> None:
    """Computes some targets of a data set, or all that are computed by default."""
    graph, options = toy_graph(url), RunOptions(executor="local")
    process(Dataset(url), graph, targets or graph.default_targets, options, progress=Progress(0, quiet=True))


def logged(url: str) -> list[list[dict[str, Any]]]:
    return [[json.loads(line) for line in p.read_text().splitlines()] for p in sorted(Path(url, EVENTS).iterdir())]


def test_a_run_tells_what_it_did_and_a_run_without_work_leaves_nothing(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    run(url)
    run(url)
    (events,) = logged(url)
    assert [e["event"] for e in events] == ["started", "done", "done", "ended"]
    assert events[0]["partitions"] == 2 and events[0]["targets"] == ALL and events[-1]["exit_code"] == 0
    assert events[1]["partition"] == 0 and events[1]["instances"]["level"]["rows"] == 3
    assert verify(url).findings == []


def test_a_run_that_ends_with_an_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    monkeypatch.setattr("autosing.pipeline.run.settle", lambda *_: (_ for _ in ()).throw(DataError("the disk is full")))
    with pytest.raises(DataError):
        run(url)
    (events,) = logged(url)
    assert events[-1]["event"] == "ended" and events[-1]["error"] == "DataError: the disk is full"


def test_an_object_store_has_the_log_of_a_run_while_it_goes_on() -> None:
    store = Store(f"memory://{uuid.uuid4().hex}")
    log = EventLog(store, upload_every_s=-1)
    log.note("started", partitions=3)
    (seen,) = runs_seen(store)
    assert seen.is_at_work and seen.last["partitions"] == 3
    log.note("working", songs={7: (3, 10), 8: (1, 10)})
    log.note("done", partition=8)
    (seen,) = runs_seen(store)
    assert seen.working == {"7": [3, 10]} and "partition 7: 3/10 songs" in str(seen)
    log.note("ended", exit_code=3)
    (seen,) = runs_seen(store)
    log.close()
    assert not seen.is_at_work and seen.working == {} and "ended, ended exit_code 3" in str(seen)


def test_the_log_of_a_killed_run_is_read_up_to_its_torn_line(tmp_path: Path) -> None:
    log = EventLog(Store(str(tmp_path)))
    log.note("started", partitions=3)
    file = tmp_path / EVENTS / log.name
    log.close()
    then = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - SILENT_S - 5))
    file.write_text(f'{{"time": "{then}", "event": "started"}}\n{{"time": "2026-')
    (seen,) = runs_seen(Store(str(tmp_path)))
    assert seen.last["event"] == "started" and not seen.is_at_work and "killed?" in str(seen)


def test_where_no_log_can_be_written_the_run_goes_on_without_it(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    Path(url, EVENTS).write_text("a file where the folder should be")
    run(url)
    assert Path(url, "1", "level.parquet").is_file()


def test_whoever_watches_sees_a_run_at_work_and_ends_when_it_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    log = EventLog(Store(url))
    log.note("started", partitions=2)
    watch_runs(Dataset(url), toy_graph(url), lambda: log.note("ended", exit_code=3))
    log.close()
    first, last = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run ")]
    assert "at work, started" in first and "ended, ended exit_code 3" in last


def test_whoever_watches_a_finished_set_looks_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    run(url, [])
    watch_runs(Dataset(url), toy_graph(url), lambda: pytest.fail("it looked again"), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert {stage["fresh"] for stage in told["stages"]} == {2}
    assert [(r["event"], r["at_work"]) for r in told["runs"]] == [("ended", False)]
