"""`verify` on built sets: the manifest, the tars and their indexes against each other, and what is foreign."""

import json
import os
import random
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_dataset import ToySong, toy_songs, write_toy

from autosing.pipeline.construct.manifest import Manifest
from autosing.pipeline.construct.sample import SAMPLES
from autosing.pipeline.construct.shards import construct_dataset
from autosing.pipeline.upkeep.verify import verify
from said import Autosing

SPEC = replace(SAMPLES["acoustic"], valid_songs=1, shard_bytes=40_000)
DAYS_AGO_NS = time.time_ns() - 3 * 86_400 * 10**9


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built set of several tars, with a drop."""
    folder = tmp_path_factory.mktemp("built")
    songs = [*toy_songs(8), ToySong("none", cuts=())]
    construct_dataset([write_toy(folder / "toy", [songs[:4], songs[4:]])], str(folder / "out"), SPEC)
    return folder / "out"


@pytest.fixture
def built(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "out"))


def only(built: Path, file: str, quick: bool = False) -> str:
    """Returns what is wrong with a file and what to do, where it is the only one that is found."""
    (finding,) = verify(str(built), quick).findings
    assert finding.file == str(built / file)
    return f"{finding.problem}; {finding.way_out}"


def edit(built: Path, change: Callable[[Any], Any]) -> None:
    path = built / "manifest.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def test_a_set_without_damage_is_silent(autosing: Autosing, built: Path) -> None:
    said = autosing("verify", built)
    assert (said.code, said.out, said.err) == (0, "", "")
    told = autosing("verify", built, "--json", "--workers", "2").json
    assert told["findings"] == [] and told["rows"] == 16
    assert verify(str(built), quick=True).findings == []


def test_a_set_on_an_object_store_is_verified_there(built: Path) -> None:
    import fsspec

    url = f"memory://{uuid.uuid4().hex}/out"
    fsspec.filesystem("memory").put(f"{built}/", url, recursive=True)
    assert verify(url).findings == []
    fsspec.filesystem("memory").rm(f"{url}/train-00001.tar")
    assert [f.file.rsplit("/", 1)[1] for f in verify(url).findings] == ["train-00001.tar"]


def test_a_flipped_byte_is_found_wherever_in_a_tar_or_its_index_it_is(built: Path) -> None:
    places = random.Random(2)
    for name in ("train-00000.tar", "train-00000.idx.npz"):
        path = built / name
        whole = path.read_bytes()
        for at in [0, len(whole) - 1, *(places.randrange(len(whole)) for _ in range(20))]:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << places.randrange(8)]) + whole[at + 1 :])
            assert "build it again" in only(built, name), at
        path.write_bytes(whole)
    assert verify(str(built)).findings == []


def test_a_truncated_tar_is_found_without_reading_it(built: Path) -> None:
    os.truncate(built / "train-00001.tar", 512)
    assert "it has 512 bytes, and the manifest says" in only(built, "train-00001.tar", quick=True)


def test_a_missing_tar_and_a_missing_index_are_found(built: Path) -> None:
    (built / "train-00001.tar").unlink()
    (built / "valid-00000.idx.npz").unlink()
    told = [f"{f.file}: {f.problem}" for f in verify(str(built), quick=True).findings]
    assert told == [
        f"{built}/train-00001.tar: it is gone, and the manifest names it",
        f"{built}/valid-00000.idx.npz: it is gone: nothing says where the samples of valid-00000.tar are",
    ]


def test_tars_that_changed_places_are_found(built: Path) -> None:
    for suffix in ("tar", "idx.npz"):
        first, second = built / f"train-00000.{suffix}", built / f"train-00001.{suffix}"
        shutil.move(first, built / "kept")
        shutil.move(second, first)
        shutil.move(built / "kept", second)
    told = {Path(f.file).name for f in verify(str(built)).findings}
    assert {"train-00000.idx.npz", "train-00001.idx.npz"} <= told


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(seed=5),
        lambda m: m["splits"]["train"].update(samples=1000),
        lambda m: m["columns"]["mel"].update(definition="0" * 32),
        lambda m: m["singers"].append("nobody"),
        lambda m: m.update(digest="0" * 32),
    ],
)
def test_an_edited_manifest_is_found(built: Path, change: Callable[[Any], Any]) -> None:
    edit(built, change)
    assert only(built, "manifest.json", quick=True).startswith("it was edited: its digest is another")


def test_a_manifest_that_was_edited_with_its_digest_is_found_by_its_sums(built: Path) -> None:
    edit(built, lambda m: m["splits"]["train"].update(samples=1000))
    text = (built / "manifest.json").read_text()
    edit(built, lambda m: m.update(digest=Manifest.of_json(text).signed().digest))
    assert "its split train has 1000 samples, and its tars" in only(built, "manifest.json", quick=True)


def test_a_manifest_never_leads_out_of_its_folder(built: Path) -> None:
    edit(built, lambda m: m["splits"]["valid"]["shards"][0].update(path="../../etc/passwd"))
    told = verify(str(built), quick=True).findings
    assert [f.problem for f in told[:2]] == [
        "it was edited: its digest is another",
        "it names '../../etc/passwd' and 'valid-00000.idx.npz', which build never writes",
    ]
    assert {Path(f.file).parent for f in told} == {built}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"splits": 3}', "no JSON", "\x00"])
def test_a_manifest_that_is_none_is_found(built: Path, text: str) -> None:
    (built / "manifest.json").write_text(text)
    assert only(built, "manifest.json").startswith("it is no manifest: ")
    (built / "manifest.json").unlink()
    assert only(built, "manifest.json").startswith("it is gone: nothing says what the tars hold")


def test_foreign_files_and_old_leftovers_are_found(built: Path) -> None:
    shutil.copy(built / "train-00000.tar", built / "train-00099.tar")
    (built / "notes.txt").write_text("mine")
    scratch = built / f".build-{'0' * 32}"
    scratch.mkdir()
    for left in (scratch / "0-0.bin", built / ".tmp-train-00000.tar.12-0123abcd"):
        left.write_bytes(b"half")
    assert {Path(f.file).name for f in verify(str(built)).findings} == {"train-00099.tar", "notes.txt"}
    for left in (scratch / "0-0.bin", scratch, built / ".tmp-train-00000.tar.12-0123abcd"):
        os.utime(left, ns=(DAYS_AGO_NS, DAYS_AGO_NS))
    told = {Path(f.file).name: f.way_out for f in verify(str(built)).findings}
    assert told.pop("notes.txt") == told.pop("train-00099.tar") == "delete it, or move it elsewhere"
    assert set(told) == {scratch.name, ".tmp-train-00000.tar.12-0123abcd"}
    assert set(told.values()) == {f"delete it: autosing gc {built}"}


def test_a_list_of_drops_that_is_not_what_was_counted_is_found(built: Path) -> None:
    path = built / "drops.jsonl"
    path.write_text(path.read_text() * 2)
    assert "not those that the manifest counts" in only(built, "drops.jsonl", quick=True)
    path.write_text("no JSON\n")
    assert "it can't be read (JSONDecodeError" in only(built, "drops.jsonl")
    path.unlink()
    assert "it is gone" in only(built, "drops.jsonl")
