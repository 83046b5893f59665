"""Building again: over a finished set, after a kill, without space."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from toy_dataset import toy_songs, write_toy

from autosing.pipeline.construct.inputs import NamedDataset
from autosing.pipeline.construct.manifest import Manifest
from autosing.pipeline.construct.sample import SAMPLES
from autosing.pipeline.construct.shards import construct_dataset
from autosing.signal.errors import DataError, UsageError

SPEC = replace(SAMPLES["acoustic"], valid_songs=1, shard_bytes=40_000)
SCRIPT = """
import os, resource, signal, sys
from dataclasses import replace
from autosing.pipeline.construct.inputs import NamedDataset
from autosing.pipeline.construct.sample import SAMPLES
from autosing.pipeline.construct.shards import construct_dataset
from autosing.pipeline.dataset import Dataset
from autosing.signal.errors import DataError

def killer(what, done, total):
    if (what, done) == (sys.argv[4], int(sys.argv[5])):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    if sys.argv[4] == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]),) * 2)
    try:
        construct_dataset([NamedDataset("toy", Dataset(sys.argv[1]))], sys.argv[2],
                          replace(SAMPLES["acoustic"], valid_songs=1, shard_bytes=40_000),
                          int(sys.argv[3]), report=killer)
    except DataError as error:
        sys.exit(f"DataError: {error}")
"""


@pytest.fixture
def toy(tmp_path: Path) -> NamedDataset:
    songs = toy_songs(12)
    return write_toy(tmp_path / "toy", [songs[:4], songs[4:8], songs[8:]])


def digests(manifest: Manifest) -> list[str]:
    return [shard.digest for split in manifest.splits.values() for shard in split.shards]


def build_elsewhere(tmp_path: Path, workers: int, *how: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "build.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "toy"), str(tmp_path / "out"), str(workers), *how]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | {"BUILD": str(tmp_path)}
    )


@pytest.mark.parametrize(("workers", "what", "done"), [(1, "encode", 2), (1, "write", 3), (2, "write", 2)])
def test_a_killed_build_is_continued_to_the_same_bytes(
    toy: NamedDataset, tmp_path: Path, workers: int, what: str, done: int
) -> None:
    assert build_elsewhere(tmp_path, workers, what, str(done)).returncode == -signal.SIGKILL
    _wait_for_the_end_of_workers(tmp_path)
    out = tmp_path / "out"
    assert not (out / "manifest.json").exists()
    first = out / "train-00000.tar"
    finished_ns = first.stat().st_mtime_ns if what == "write" else None
    (out / ".tmp-train-00000.tar.1-abcd").write_bytes(b"half")
    resumed = construct_dataset([toy], str(out), SPEC)
    assert finished_ns in (None, first.stat().st_mtime_ns)
    assert resumed == construct_dataset([toy], str(tmp_path / "undisturbed"), SPEC)
    assert {p.name for p in out.iterdir()} == {p.name for p in (tmp_path / "undisturbed").iterdir()}
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / "undisturbed" / path.name).read_bytes()


def test_a_shard_that_a_build_with_another_seed_wrote_meanwhile_is_written_again(
    toy: NamedDataset, tmp_path: Path
) -> None:
    spec, out = replace(SPEC, shard_bytes=10**6), tmp_path / "out"

    def stop(what: str, done: int, total: int) -> None:
        if what == "write":
            raise KeyboardInterrupt

    for seed in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            construct_dataset([toy], str(out), spec, seed=seed, report=stop)
    construct_dataset([toy], str(out), spec)
    construct_dataset([toy], str(tmp_path / "undisturbed"), spec)
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / "undisturbed" / path.name).read_bytes()


def _wait_for_the_end_of_workers(folder: Path) -> None:
    """Waits until no process of a build in `folder` is left: workers must not outlive a killed parent."""
    deadline = time.monotonic() + 20
    while (left := _processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def _processes_of(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return [p for p in found if int(p) != os.getpid()]


def test_a_full_disk_is_one_message_and_leaves_nothing_that_looks_complete(toy: NamedDataset, tmp_path: Path) -> None:
    failed = build_elsewhere(tmp_path, 1, "full", "20000")
    assert failed.returncode == 1
    assert failed.stderr.startswith("DataError: ")
    assert "build again" in failed.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert construct_dataset([toy], str(tmp_path / "out"), SPEC).kept == 24


def test_a_place_that_cannot_be_written_is_one_message(toy: NamedDataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="choose another folder, and build again"):
        construct_dataset([toy], str(tmp_path / "file" / "out"), SPEC)


def test_building_again_does_nothing_and_another_set_is_not_overwritten_unasked(
    toy: NamedDataset, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    manifest = construct_dataset([toy], str(out), SPEC)
    stamps = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    assert construct_dataset([toy], str(out), SPEC) == manifest
    assert {p.name: p.stat().st_mtime_ns for p in out.iterdir()} == stamps
    with pytest.raises(UsageError, match=r"holds another set .*--overwrite"):
        construct_dataset([toy], str(out), SPEC, seed=1)
    other = construct_dataset([toy], str(out), replace(SPEC, shard_bytes=10**6), seed=1, overwrite=True)
    assert len(list(out.glob("*.tar"))) == len(digests(other)) == 2


def test_an_empty_split_names_the_way_out_and_keeps_the_work(toy: NamedDataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="--valid-songs N"):
        construct_dataset([toy], str(out), replace(SPEC, valid_songs=None, valid_share=1e-9))
    parts = {p.name: p.stat().st_mtime_ns for p in out.glob(".build-*/*.bin")}
    assert len(parts) == 3
    seen = []

    def look(what: str, done: int, total: int) -> None:
        seen.append({p.name: p.stat().st_mtime_ns for p in out.glob(".build-*/*.bin")})

    construct_dataset([toy], str(out), SPEC, report=look)
    assert seen[0] == parts
    assert not list(out.glob(".build-*"))


def test_a_set_that_lost_a_tar_is_built_again(toy: NamedDataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = construct_dataset([toy], str(out), SPEC)
    (out / manifest.splits["train"].shards[1].path).unlink()
    assert construct_dataset([toy], str(out), SPEC) == manifest
    assert len(list(out.glob("*.tar"))) == len(digests(manifest))


def test_an_object_store_gets_the_same_bytes_and_scratch_is_removed(
    toy: NamedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = fsspec.filesystem("memory")
    remote = construct_dataset([toy], "memory://built", SPEC)
    assert remote == construct_dataset([toy], str(tmp_path / "out"), SPEC)
    for path in (tmp_path / "out").iterdir():
        assert store.cat(f"/built/{path.name}") == path.read_bytes()
    assert construct_dataset([toy], "memory://built", SPEC) == remote
    assert not list(tmp_path.glob("autosing-*"))
