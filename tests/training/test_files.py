"""Sets on object stores are read by ranges, through a cache that is bounded and mends itself."""

import json
import pickle
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
from aiohttp import ClientPayloadError, ClientResponseError, ServerDisconnectedError
from toy_shards import toy_samples, write_set

from autosing.signal.errors import DataError, SchemaMismatch, UsageError
from autosing.training import files
from autosing.training.files import Cache, RemoteFiles, open_files, plain_name
from autosing.training.shards import Data, ShardSet

COLUMNS = ["units", "mel"]


@pytest.fixture(autouse=True)
def small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 10_000)
    monkeypatch.setenv("AUTOSING_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[str]:
    """The address of a set of two tars in memory."""
    samples = toy_samples(6)
    local = write_set(tmp_path / "set", {"train": [samples[:3], samples[3:]]})
    memory, root = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}/set"
    for file in local.iterdir():
        memory.pipe_file(f"{root}/{file.name}", file.read_bytes())
    yield f"memory:/{root}"
    memory.rm(root, recursive=True)


def blocks(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache/shards").glob("[!.]*"))


def assert_whole(shards: ShardSet) -> None:
    for i, written in enumerate(toy_samples(6)):
        read = shards.read(i, COLUMNS)
        assert read.key == written.key
        assert all(np.array_equal(read.series[name], written.series[name]) for name in COLUMNS)


def test_a_remote_set_is_read_like_a_local_one_and_its_blocks_are_kept(remote: str, tmp_path: Path) -> None:
    assert_whole(ShardSet.open(remote, "train"))
    assert len(blocks(tmp_path)) > 10


def test_blocks_of_another_version_under_the_same_address_are_not_taken(remote: str) -> None:
    assert_whole(Data.open(remote).cached(1).split("train"))
    memory, root = fsspec.filesystem("memory"), remote.removeprefix("memory:/")
    manifest = json.loads(memory.cat_file(f"{root}/manifest.json"))
    memory.pipe_file(f"{root}/manifest.json", json.dumps({**manifest, "digest": "another"}).encode())
    tar = f"{root}/train-00001.tar"
    memory.pipe_file(tar, bytes(len(memory.cat_file(tar))))
    with pytest.raises(DataError, match=r"has changed bytes"):
        Data.open(remote).cached(1).split("train").read(4, COLUMNS)


def test_what_is_in_the_cache_is_not_fetched_again(remote: str, tmp_path: Path) -> None:
    cached = Data.open(remote).cached(1).split("train")
    assert_whole(cached)
    memory, tar = fsspec.filesystem("memory"), remote.removeprefix("memory:/") + "/train-00001.tar"
    memory.pipe_file(tar, bytes(len(memory.cat_file(tar))))
    assert_whole(cached)


def test_a_damaged_block_is_fetched_again(remote: str, tmp_path: Path) -> None:
    shards = ShardSet.open(remote, "train")
    assert_whole(shards)
    for block in blocks(tmp_path):
        block.write_bytes(bytes(block.stat().st_size))
    assert_whole(shards)


def test_a_damaged_remote_tar_is_an_error_and_no_endless_loop(remote: str) -> None:
    shards = ShardSet.open(remote, "train")
    memory, tar = fsspec.filesystem("memory"), remote.removeprefix("memory:/") + "/train-00001.tar"
    memory.pipe_file(tar, bytes(len(memory.cat_file(tar))))
    with pytest.raises(DataError, match=r"set/train-00001.tar has changed bytes .* at sample"):
        shards.read(4, COLUMNS)


def test_the_cache_keeps_to_its_limit_and_drops_what_was_longest_unused(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100_000)
    for number in range(40):
        cache.put(f"block-{number:02d}", bytes(5_000))
        assert cache.get("block-00") is not None, "used all the time"
    kept = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 110_000
    assert "block-00" in kept and "block-39" in kept and "block-01" not in kept


def test_a_cache_that_cannot_be_written_costs_the_cache_and_not_the_run(remote: str, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert_whole(ShardSet.open(remote, "train"))


def test_no_cache_is_kept_where_none_is_wanted(remote: str, tmp_path: Path) -> None:
    assert_whole(Data.open(remote).cached(0).split("train"))
    assert blocks(tmp_path) == []


def test_remote_files_travel_to_other_processes(remote: str) -> None:
    opened = open_files(remote)
    assert isinstance(opened, RemoteFiles)
    before = opened.read("manifest.json")
    assert pickle.loads(pickle.dumps(opened)).read("manifest.json") == before
    assert opened.size("nothing.tar") is None


def answer(status: int, message: str) -> Exception:
    """Returns what a web server's answer raises."""
    asked: Any = SimpleNamespace(real_url="https://host/set")
    return ClientResponseError(asked, (), status=status, message=message)


class Moody:
    """A store that does not answer some times."""

    def __init__(self, failures: int, error: Callable[[str], Exception]) -> None:
        self.left, self.error = failures, error

    def __call__(self) -> bytes:
        self.left -= 1
        if self.left >= 0:
            raise self.error("busy")
        return b"content"


def test_a_store_that_does_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSES_S", (0.0, 0.0))
    remote = RemoteFiles("s3://bucket/set", Cache(Path("nowhere"), 0))
    assert remote._patiently(Moody(2, ConnectionError)) == b"content"
    with pytest.raises(DataError, match=r"s3://bucket/set cannot be read \(busy\); resume the run when it can"):
        remote._patiently(Moody(3, TimeoutError))
    for refusal in (PermissionError, partial(answer, 403)):
        refusing = Moody(1, refusal)
        with pytest.raises(DataError, match=r"cannot be read"):
            remote._patiently(refusing)
        assert refusing.left == 0, "asking again would not help"


@pytest.mark.parametrize("error", [ClientPayloadError, ServerDisconnectedError, partial(answer, 503)])
def test_a_web_server_that_breaks_off_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, error: Callable[[str], Exception]
) -> None:
    monkeypatch.setattr(files, "PAUSES_S", (0.0, 0.0))
    remote = RemoteFiles("https://host/set", Cache(Path("nowhere"), 0))
    assert remote._patiently(Moody(2, error)) == b"content"
    with pytest.raises(DataError, match=r"https://host/set cannot be read .*busy.*; resume the run when it can"):
        remote._patiently(Moody(3, error))


def test_without_a_cache_no_more_than_the_sample_is_fetched(remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    shards = Data.open(remote).cached(0).split("train")
    whole = RemoteFiles._fetched
    monkeypatch.setattr(RemoteFiles, "_fetched", lambda self, *range_: fetched.append(range_) or whole(self, *range_))
    shards.read(4, COLUMNS)
    assert fetched == [("train-00001.tar", int(shards.offset[4]), int(shards.offset[4] + shards.length[4]))]


def test_an_address_that_nothing_can_open_is_named() -> None:
    with pytest.raises(UsageError, match=r"nonsense://somewhere/set cannot be read"):
        Data.open("nonsense://somewhere/set")


@pytest.mark.parametrize("name", ["../a.tar", "/etc/passwd", "a/../../b", "", "a//b", "C:\\a", "s3://b/c", 3, None])
def test_a_name_that_leads_out_of_the_set_is_refused(name: Any) -> None:
    with pytest.raises(DataError, match=r"which is not inside its folder"):
        plain_name(name, "the manifest")


def test_a_manifest_that_names_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", {"train": [toy_samples(2)]})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["splits"]["train"]["shards"][0]["path"] = "../../secret.tar"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"names the file '../../secret.tar'"):
        ShardSet.open(folder, "train")


def test_a_manifest_of_an_absurd_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autosing.training import manifest

    folder = write_set(tmp_path / "set", {"train": [toy_samples(2)]})
    monkeypatch.setattr(manifest, "MOST_BYTES", 100)
    with pytest.raises(SchemaMismatch, match=r"more than any manifest"):
        ShardSet.open(folder, "train")
