"""Data sets on object stores hold the same values as on a local disk."""

import socket
import tempfile
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.spec import AbstractBufferedFile
from s3_faults import FaultyS3
from toy_stages import column_values, toy_dataset, toy_graph, toy_songs

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.events import EventLog
from autosing.pipeline.graph import Graph
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.leftovers import dead_scratch
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from autosing.pipeline.store import Draft, Store
from autosing.pipeline.store_errors import Unreachable
from autosing.signal.errors import DataError, UsageError

UNREADABLE = Path("/proc/self/mem")
ALL = ["probe", "letters", "level", "doubled", "above"]


def run(url: str, graph: Graph) -> RunReport:
    return process(Dataset(url), graph, ALL, RunOptions(executor="local"), progress=Progress(0, quiet=True))


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, Any]:
    url = toy_dataset(str(tmp_path / "local"))
    run(url, toy_graph(url))
    return column_values(url)


@pytest.fixture
def in_memory() -> str:
    return f"memory://{uuid.uuid4().hex}/set"


class HttpError(Exception):
    """What gcsfs raises for a request that fails."""


class PartialFile(AbstractBufferedFile):  # type: ignore[misc]
    """A file that is sent in parts and finished by a commit, which tells its size: as that of gcsfs is."""

    def _initiate_upload(self) -> None:
        self.sent: list[bytes] = []

    def _upload_chunk(self, final: bool = False) -> bool:
        self.sent.append(self.buffer.getvalue())
        return True

    def commit(self) -> None:
        if self.fs.refuses:
            raise HttpError("503")
        assert self.offset == sum(map(len, self.sent))
        self.fs.store[self.path] = MemoryFile(self.fs, self.path, b"".join(self.sent))


class PartialFiles(MemoryFileSystem):  # type: ignore[misc]
    """An object store in memory whose files are sent in parts."""

    protocol = "partial"
    refuses = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("partial:/")))

    def _open(self, path: str, mode: str = "rb", *args: Any, **options: Any) -> Any:
        if mode != "wb":
            return super()._open(path, mode, *args, **options)
        return PartialFile(self, path, mode, autocommit=options["autocommit"])


@pytest.fixture
def in_parts() -> str:
    fsspec.register_implementation("partial", PartialFiles, clobber=True)
    return f"partial://{uuid.uuid4().hex}/set"


def check_a_whole_life(url: str, artefacts: Path, expected: dict[str, Any]) -> None:
    """Ingests, processes, reads, appends and heals."""
    toy_dataset(url)
    graph = toy_graph(str(artefacts))
    assert run(url, graph).exit_code == 0
    assert column_values(url) == expected
    assert run(url, graph).tasks == 0
    rows = list(Dataset(url).read(["level", "letters"]))
    assert [r.id for r in rows] == [f"song {i}.wav" for i in range(6)]
    assert len(rows[5].values["level.level"]) == 20
    store = Dataset(url).store
    store.remove("0", "level.parquet")
    assert set(run(url, graph).instances) == {"level"}
    assert column_values(url) == expected
    assert append_songs(url, toy_songs(7)).songs == 1
    assert set(run(url, graph).instances) == set(ALL)


def test_a_store_in_memory_holds_the_same_values(in_memory: str, tmp_path: Path, expected: dict[str, Any]) -> None:
    check_a_whole_life(in_memory, tmp_path / "artefacts", expected)


def test_an_s3_server_holds_the_same_values(s3: FaultyS3, tmp_path: Path, expected: dict[str, Any]) -> None:
    check_a_whole_life(s3.url, tmp_path / "artefacts", expected)


def test_an_artefact_on_an_object_store_is_refused_with_the_way_out(in_memory: str) -> None:
    toy_dataset(in_memory)
    with pytest.raises(UsageError, match=r"--set above\.codebook=FOLDER"):
        run(in_memory, toy_graph(in_memory))


def test_a_file_that_fails_halfway_is_not_published(in_memory: str) -> None:
    store = Store(in_memory)

    def write(text: str, fail: bool) -> None:
        with store.writing("0", "file.txt") as path:
            path.write_text(text)
            if fail:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        write("half", fail=True)
    assert store.files("0") == []
    write("whole", fail=False)
    assert store.read_text("0", "file.txt") == "whole"


def test_scratch_of_a_killed_process_goes_and_all_else_stays(
    in_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = Store(in_memory)
    draft = store.draft("0", "level.parquet")
    draft.scratch.write_text("half")
    mine, host = draft.scratch.parent.name, socket.gethostname()
    nobody = 2**22 + 1
    for name in (f"autosing.{host}.{nobody}-abcd", f"autosing.elsewhere.{nobody}-abcd", f"other.{host}.{nobody}-abcd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "level.parquet").touch()
    assert [folder.name for folder in dead_scratch()] == [f"autosing.{host}.{nobody}-abcd"]
    store.remove_leftovers("0", ["level.parquet"])
    left = {mine, f"autosing.elsewhere.{nobody}-abcd", f"other.{host}.{nobody}-abcd"}
    assert {folder.name for folder in tmp_path.iterdir()} == left
    assert draft.scratch.read_text() == "half"


def test_the_end_of_a_run_clears_away_after_workers_that_were_killed(
    in_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with EventLog(Store(in_memory)):
        (tmp_path / f"autosing.{socket.gethostname()}.{2**22 + 1}-abcd").mkdir()
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not UNREADABLE.exists(), reason="only Linux has a file that opens and can't be read")
@pytest.mark.parametrize("kind", ["in_memory", "in_parts"])
def test_an_upload_that_breaks_off_leaves_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    store = Store(request.getfixturevalue(kind))
    with pytest.raises(OSError, match="Input/output error"):
        Draft(store, UNREADABLE, store.path("0", "file.txt")).publish()
    assert store.files("0") == []


def test_a_file_that_is_sent_in_parts_is_closed_before_it_is_committed(in_parts: str) -> None:
    store = Store(in_parts)
    with store.writing("0", "file.txt") as path:
        path.write_text("whole")
    assert store.read_text("0", "file.txt") == "whole"


def test_what_a_file_system_raises_of_its_own_is_an_error_of_the_store_and_a_log_does_without(
    in_parts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PartialFiles, "refuses", True)
    store = Store(in_parts)
    refused = pytest.raises(Unreachable, match=r"file\.txt can't be written \(HttpError: 503\); run the same")
    with refused, store.writing("0", "file.txt") as path:
        path.write_text("whole")
    with EventLog(store):
        pass
    assert store.files("0") == []


def test_an_address_of_an_unknown_kind_is_told() -> None:
    with pytest.raises(UsageError, match="s4://bucket/set: this address can't be opened"):
        Store("s4://bucket/set").files()


def test_a_file_where_a_data_set_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("no folder")
    with pytest.raises(DataError, match="is a file; a data set is a folder"):
        _ = Dataset(str(tmp_path / "set")).partitions
