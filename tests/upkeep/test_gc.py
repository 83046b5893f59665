"""`gc` removes what runs of ours left and nothing uses, and never a file of somebody else."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from toy_dataset import toy_songs as built_songs
from toy_dataset import write_toy
from toy_stages import toy_dataset, toy_graph

from autosing.pipeline.construct.sample import SAMPLES
from autosing.pipeline.construct.shards import construct_dataset
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.upkeep.sweep import sweep
from autosing.pipeline.upkeep.verify import verify
from said import Autosing

DAYS_AGO_NS = time.time_ns() - 3 * 86_400 * 10**9


def leave(path: Path, is_old: bool = True) -> str:
    """Leaves a file of 4 bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    if is_old:
        age(path)
    return str(path)


def age(*paths: Path) -> None:
    """Makes files and folders look days older."""
    for path in paths:
        os.utime(path, ns=(DAYS_AGO_NS, DAYS_AGO_NS))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    url = toy_dataset(str(tmp_path / "set"))
    graph = toy_graph(url)
    process(Dataset(url), graph, ["doubled", "above"], RunOptions("local"), progress=Progress(0, quiet=True))
    return Path(url)


@pytest.fixture
def leftovers(songs: Path) -> set[str]:
    """What killed runs left: a stage, an ingest before its index, a fit."""
    append_songs(str(songs.parent / "donor"), SyntheticSource(1, 1.0).songs(), REFERENCE_COLUMNS)
    reference = songs / "9" / "reference.parquet"
    reference.parent.mkdir()
    shutil.copy(songs.parent / "donor" / "0" / "reference.parquet", reference)
    inner = Path(leave(songs / "models" / ".tmp-units" / "inner" / "half.npy")).parent
    age(reference, inner, inner.parent)
    return {
        leave(songs / "0" / ".tmp-level.parquet.12-0123abcd"),
        leave(songs / "9" / ".tmp-index.parquet.12-0123abcd"),
        leave(songs / ".tmp-exclude.txt.12-0123abcd"),
        str(songs / "models" / ".tmp-units"),
        str(reference),
    }


@pytest.fixture
def others(songs: Path) -> set[str]:
    """What somebody else has, or a run may be at."""
    shutil.copy(songs / "0" / "probe.parquet", songs / "9.parquet")
    return {
        leave(songs / "0" / ".tmp-f0.parquet.12-0123abce", is_old=False),
        leave(songs / "models" / ".tmp-tokens" / "half.npy", is_old=False),
        leave(songs / "0" / ".tmp-mine"),
        leave(songs / "0" / ".hidden"),
        leave(songs / "0" / "mine.parquet"),
        leave(songs / "1" / "mine" / ".tmp-f0.parquet.12-0123abcd"),
        leave(songs / "notes" / ".tmp-f0.parquet.12-0123abcd"),
        leave(songs / "8" / "level.parquet"),
        str(songs / "9.parquet"),
    }


def test_leftovers_go_with_their_bytes_told_and_everything_else_stays(
    autosing: Autosing, songs: Path, others: set[str], leftovers: set[str]
) -> None:
    before = files(songs)
    planned = autosing("gc", songs, "--dry-run", "--json").json
    assert {r["file"] for r in planned["removed"]} == leftovers and planned["bytes"] > 16
    assert files(songs) == before
    said = autosing("gc", songs)
    assert said.code == 0 and said.out.endswith(f"{planned['bytes']} bytes freed\n")
    gone = {str(songs / name) for name in set(before) - set(files(songs))}
    assert gone == leftovers - {str(songs / "models/.tmp-units")} | {str(songs / "models/.tmp-units/inner/half.npy")}
    assert all(Path(path).exists() for path in others)
    assert autosing("gc", songs).out == "0 bytes freed\n"


def test_a_set_without_leftovers_is_left_as_it_is(songs: Path) -> None:
    before = files(songs)
    assert list(sweep(str(songs), older_than_h=0)) == []
    assert files(songs) == before and verify(str(songs)).findings == []


def test_the_empty_folder_of_a_fit_that_has_just_begun_stays(songs: Path) -> None:
    begun, killed = songs / "models" / ".tmp-units", songs / "models" / ".tmp-tokens"
    begun.mkdir()
    killed.mkdir()
    age(killed)
    assert [o.parts[-1] for o in sweep(str(songs))] == [killed.name]
    assert begun.exists() and not killed.exists()


def test_a_link_to_a_folder_elsewhere_is_not_followed(songs: Path, tmp_path: Path) -> None:
    kept = leave(tmp_path / "elsewhere" / "kept.npy")
    (songs / "models" / ".tmp-units").symlink_to(tmp_path / "elsewhere")
    assert list(sweep(str(songs))) == []
    assert Path(kept).exists()


def test_columns_that_the_settings_no_longer_name_go_only_when_that_is_asked_for(
    autosing: Autosing, tmp_path: Path
) -> None:
    (tmp_path / "datasets.yaml").write_text("datasets: {mine: {path: songs}}\nstages: {energy.two: {}}\n")
    autosing("ingest", "synthetic:2x2", "mine")
    autosing("process", "mine", "energy", "energy.two", "--executor", "local")
    leave(tmp_path / "songs" / "0" / "mine.parquet")
    assert autosing("gc", "mine", "--unlisted").out == "0 bytes freed\n"
    (tmp_path / "datasets.yaml").write_text("datasets: {mine: {path: songs}}\n")
    assert autosing("gc", "mine").out == "0 bytes freed\n"
    told = autosing("gc", "mine", "--unlisted", "--json").json
    assert [r["file"] for r in told["removed"]] == ["songs/0/energy.two.parquet"]
    assert {p.name for p in (tmp_path / "songs" / "0").iterdir()} == {
        "index.parquet", "reference.parquet", "probe.parquet", "energy.parquet", "mine.parquet",
    }  # fmt: skip


def test_without_a_settings_file_nobody_says_what_is_in_use(autosing: Autosing, songs: Path) -> None:
    said = autosing("gc", songs, "--unlisted")
    assert said.code == 2 and "give it with --config" in said.err


@pytest.mark.parametrize("is_complete", [True, False])
def test_scratch_of_a_build_goes_once_its_set_is_complete(tmp_path: Path, is_complete: bool) -> None:
    out = tmp_path / "out"
    spec = replace(SAMPLES["acoustic"], valid_songs=1)
    construct_dataset([write_toy(tmp_path / "toy", [built_songs(4)])], str(out), spec)
    scratch = Path(leave(out / f".build-{'0' * 32}" / "0-0.bin")).parent
    age(scratch)
    temporary = Path(leave(out / ".tmp-train-00000.tar.12-0123abcd"))
    leave(out / "train-00099.tar")
    if not is_complete:
        (out / "manifest.json").unlink()
    removed = {o.parts[0]: o.bytes for o in sweep(str(out))}
    assert removed == {temporary.name: 4} | ({scratch.name: 4} if is_complete else {})
    assert scratch.exists() != is_complete and not temporary.exists()
    assert (out / "train-00099.tar").exists() and (out / "train-00000.tar").exists()
