"""What a run says while it goes on: also within a partition, which may take an hour."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from toy_stages import toy_dataset, toy_graph, toy_songs

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.passes import Passed
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.work import GroupResult, InstanceResult


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_songs_within_a_partition_count_before_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress(2, line_every_s=-1)
    shown.passed(0, ["f0", "mel"], Passed(5, 10, 600.0))
    first = lines(capsys)
    assert [line.split("  ")[:3] for line in first] == [[n, "0/2 partitions", "5 songs"] for n in ("f0", "mel")]
    assert "ETA ?" not in first[0]
    shown.ended(0)
    shown.add(GroupResult(0, 1200.0, 1.0, {"f0": InstanceResult(10, 1, 1), "mel": InstanceResult(10)}))
    assert lines(capsys)[0].split("  ")[:3] == ["f0", "1/2 partitions", "10 songs"]
    shown.passed(1, ["f0"], Passed(0, 10, 0.0))
    assert lines(capsys)[0].split("  ")[:3] == ["f0", "1/2 partitions", "10 songs"]


def test_a_run_in_this_process_tells_every_song(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    process(
        Dataset(url), toy_graph(url), ["level"], RunOptions(executor="local"), progress=Progress(2, line_every_s=-1)
    )
    told = [int(found[1]) for line in lines(capsys) if (found := re.match(r"level .* (\d+) songs", line))]
    assert told == [1, 2, 3, 3, 4, 5, 6, 6]


@pytest.mark.parametrize(("seconds", "workers", "is_told"), [(700.0, 2, True), (300.0, 2, False), (700.0, 1, False)])
def test_a_long_set_in_too_few_partitions_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: float, workers: int, is_told: bool
) -> None:
    url = str(tmp_path / "set")
    append_songs(url, [replace(song, duration_s=seconds) for song in toy_songs(1)])
    process(Dataset(url), toy_graph(url), ["letters"], RunOptions(workers=workers))
    assert ("ingest with a smaller --partition-mb" in capsys.readouterr().err) == is_told
