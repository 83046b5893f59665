"""Full and read-only disks, faults that pass, and how the command line tells an error."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from toy_stages import toy_dataset, toy_graph, toy_songs

from autosing.cli.main import main
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import BACK_OFF_S, RunReport, with_retries
from autosing.pipeline.store import explained_refusals, refusal
from autosing.signal.errors import DataError

ALL = ["probe", "letters", "level", "doubled", "above"]


def run(url: str) -> RunReport:
    options, quiet = RunOptions(executor="local"), Progress(0, quiet=True)
    return process(Dataset(url), toy_graph(url), ALL, options, progress=quiet)


def scratch_files(url: str) -> list[Path]:
    return [p for p in Path(url).rglob("*") if p.name.startswith(".tmp-")]


def test_transient_errors_are_tried_again_after_growing_pauses_and_others_are_not() -> None:
    pauses: list[float] = []
    failures = iter([errno.EIO, errno.ETIMEDOUT, errno.ENOENT])

    def work() -> None:
        raise OSError(next(failures), "x")

    with pytest.raises(FileNotFoundError):
        with_retries(work, pauses.append)
    assert tuple(pauses) == BACK_OFF_S[:2]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_as_such(code: int) -> None:
    with pytest.raises(DataError, match=r"^set: there is no space left; make room"), explained_refusals("set"):
        raise OSError(code, "x")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_disk_that_takes_nothing_is_told_as_such(code: int) -> None:
    assert "set: it can't be written (" in str(refusal(OSError(code, "x"), "set"))


def test_other_errors_of_a_disk_pass_as_they_are() -> None:
    assert refusal(OSError(errno.EIO, "x"), "set") is None
    with pytest.raises(OSError, match="a riddle"), explained_refusals("set"):
        raise OSError(errno.EIO, "a riddle")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, but_bytes: int) -> Path:
    """Leaves so much room and no more."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    if but_bytes:
        os.truncate(ballast, ballast.stat().st_size - but_bytes)
    return ballast


@pytest.mark.parametrize("room", [0, 4 << 10, 12 << 10])
def test_a_full_disk_ends_a_run_with_one_message_and_the_next_run_finishes(small_disk: Path, room: int) -> None:
    url = toy_dataset(str(small_disk / "set"))
    ballast = fill(small_disk, room)
    with pytest.raises(DataError, match="set: there is no space left; make room and run the same command again"):
        run(url)
    assert all(p.record(i) for p in Dataset(url).partitions for i in p.instances())
    assert scratch_files(url) == []
    ballast.unlink()
    assert run(url).exit_code == 0
    assert scratch_files(str(small_disk)) == []


@pytest.mark.parametrize("room", [0, 64 << 10])
def test_a_full_disk_ends_an_ingest_with_one_message_and_the_next_one_finishes(small_disk: Path, room: int) -> None:
    url = toy_dataset(str(small_disk / "set"), partitions=1)
    ballast = fill(small_disk, room)
    with pytest.raises(DataError, match="set: there is no space left"):
        append_songs(url, toy_songs(9))
    assert [p.number for p in Dataset(url).partitions] == [0] and scratch_files(url) == []
    ballast.unlink()
    assert append_songs(url, toy_songs(9)).songs == 6


def test_a_read_only_disk_is_told_by_every_command_that_writes(small_disk: Path) -> None:
    url = toy_dataset(str(small_disk / "set"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for writes in (
        lambda: run(url),
        lambda: append_songs(url, toy_songs(9)),
        lambda: append_songs(url + "2", toy_songs(1)),
    ):
        with pytest.raises(DataError, match=r"it can't be written \(Read-only file system\); make it writable"):
            writes()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["process", "nowhere"], 1, "nowhere has no partitions (<n>/index.parquet); make them with: autosing ingest"),
        (["process", "{url}", "levels"], 2, "the stage 'levels' is unknown; known: align"),
        (["process", "{url}", "cuts", "--set", "cuts.energy=cuts"], 2, "in a circle: cuts -> cuts"),
        (["process", "{url}", "cuts", "--set", "cuts.energy=quality"], 2, "quality has only loudness_lufs"),
        (
            ["process", "{url}", "--executor", "slurm"],
            2,
            "the executor 'slurm' is unknown; known: auto, child, local, ray",
        ),
        (["ingest", "nowhere", "{url}"], 2, "nowhere does not exist"),
        (["ingest", "synthetic:1x1", "{url}/0/index.parquet"], 1, "index.parquet is a file; a data set is a folder"),
        (["explain", "{url}", "7", "probe"], 1, "has no partition 7; it has 2 from 0 to 1"),
        (["fit", "{url}", "energy", "--refit"], 2, "energy needs no fit; stages that do: tokens, units"),
    ],
)
def test_the_command_line_tells_an_error_in_one_line_and_by_its_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    url = toy_dataset(str(tmp_path / "set"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["autosing", *(a.format(url=url) for a in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == code
    assert message in told and told.startswith("autosing: ") and told.count("\n") == 1
