"""The log of a run beside its data, and what somebody sees who has nothing but the storage."""

import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from toy_stages import toy_dataset, toy_graph

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.events import EVENTS, SILENT_S, EventLog, runs_seen
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.store import Store
from autosing.pipeline.upkeep.verify import verify
from autosing.signal.errors import DataError
from said import Autosing

ALL = ["probe", "letters", "level"]


def run(url: str, **settings: Any) -> None:
    options = RunOptions(executor="local")
    process(Dataset(url), toy_graph(url, **settings), ALL, options, progress=Progress(0, quiet=True))


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


def test_whoever_watches_sees_a_run_at_work_and_ends_when_it_does(autosing: Autosing) -> None:
    autosing("ingest", "synthetic:1x3", "songs")
    autosing("process", "songs", "energy", "--executor", "local")
    log = EventLog(Store("songs"))
    log.note("started", partitions=1)
    threading.Timer(2, log.note, ["ended"], {"exit_code": 3}).start()
    seen = autosing("status", "songs", "--watch", "--every", "0.1")
    log.close()
    assert seen.code == 0 and "energy                1      0" in seen.out
    assert f"run {log.name.removesuffix('.jsonl')}: at work, started" in seen.out
    assert "ended exit_code 3" in seen.out.splitlines()[-1]
