"""The event log of a run, and `status --watch`, which looks at it."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from toy_stages import toy_dataset, toy_graph

from autosing.cli.data import show_status
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.events import EVENTS, RUNS, last_run
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from autosing.pipeline.store import Store
from autosing.pipeline.upkeep.verify import verify
from said import Autosing

ALL = ["probe", "letters", "level", "doubled", "above"]


def run(url: str, artefacts: str | None = None) -> RunReport:
    graph, quiet = toy_graph(artefacts or url), Progress(0, quiet=True)
    return process(Dataset(url), graph, ALL, RunOptions("local"), progress=quiet)


def events(url: str) -> list[dict[str, Any]]:
    """Returns the events of the only run."""
    store = Store(url)
    (name,) = store.folders(RUNS)
    return [json.loads(line) for line in (store.read_text(RUNS, name, EVENTS) or "").splitlines()]


def test_a_run_tells_what_it_did_and_one_with_nothing_to_do_tells_nothing(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    run(url)
    told = events(url)
    assert [e["event"] for e in told] == ["begun", "done", "done", "fitted", "done", "done", "finished"]
    assert told[0]["targets"] == ALL and told[0]["partitions"] == 2 and told[0]["options"]["executor"] == "local"
    assert told[1]["partition"] == 0 and told[1]["instances"]["level"]["rows"] == 3
    assert sorted(e["time_s"] for e in told) == [e["time_s"] for e in told]
    run(url)
    assert events(url) == told
    assert verify(url).findings == []


def test_a_partition_that_failed_is_told_with_the_reason(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    (tmp_path / "set" / "0" / "index.parquet").write_bytes(b"no Parquet file")
    run(url)
    (failed,) = [e for e in events(url) if e["event"] == "failed"]
    assert failed["partition"] == 0 and "not a readable Parquet file" in failed["reason"]
    seen = last_run(Store(url))
    assert seen is not None and list(seen.failed) == [0] and seen.done == 2
    assert "2 passes, 0.00 h of audio, 0 errors, 1 partitions failed; finished 0 s ago" in str(seen)


def test_a_run_that_is_stopped_says_so(tmp_path: Path) -> None:
    class Stopping(Progress):
        def add(self, result: Any) -> None:
            raise KeyboardInterrupt

    url = toy_dataset(str(tmp_path / "set"))
    with pytest.raises(KeyboardInterrupt):
        process(Dataset(url), toy_graph(url), ALL, RunOptions("local"), progress=Stopping(0, quiet=True))
    assert events(url)[-1]["event"] == "stopped" and events(url)[-1]["error"] == "KeyboardInterrupt: "


def test_a_log_on_an_object_store_is_there_when_the_run_ends(tmp_path: Path) -> None:
    url = toy_dataset(f"memory://{uuid.uuid4().hex}/set")
    run(url, str(tmp_path))
    assert [e["event"] for e in events(url)].count("done") == 4 and events(url)[-1]["event"] == "finished"


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    (tmp_path / "set" / "runs").write_text("somebody's file")
    assert run(url).exit_code == 0


def test_lines_that_are_half_written_or_no_events_are_passed_over(tmp_path: Path) -> None:
    assert last_run(Store(str(tmp_path))) is None
    folder = tmp_path / "runs" / "20260101T000000Z-host-1"
    folder.mkdir(parents=True)
    done = {"event": "done", "time_s": 1.0, "audio_s": 7200.0, "instances": {"f0": {"own_errors": 3}}}
    (folder / "events.jsonl").write_text(f'3\n{{}}\n{json.dumps(done)}\n{{"event": "done", "time_s": 2')
    seen = last_run(Store(str(tmp_path)))
    assert seen is not None and str(seen).startswith(
        "20260101T000000Z-host-1, 1 passes, 2.00 h of audio, 3 errors; done "
    )


def test_watching_ends_when_nothing_is_left_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    graph = toy_graph(url)
    assert show_status(url, graph, as_json=False)
    run(url)
    capsys.readouterr()
    assert not show_status(url, graph, as_json=False)
    assert capsys.readouterr().out.splitlines()[-1].startswith("last run: 2")


def test_status_goes_on_looking_until_it_is_stopped(
    autosing: Autosing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([None, None])

    def sleep(seconds: float) -> None:
        assert seconds == 2.0
        if next(looks, "end") == "end":
            raise KeyboardInterrupt

    toy_dataset(str(tmp_path / "set"))
    monkeypatch.setattr("time.sleep", sleep)
    said = autosing("status", "set", "--watch", "--every-s", "2")
    assert said.out.count("set: 2 partitions") == 3 and said.code == 130
