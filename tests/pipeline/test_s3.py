"""Runs on an S3 server on a bad day end with the values of an undisturbed local store, or tell what is wrong."""

import pickle
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from s3_faults import Fault, FaultyS3
from toy_stages import column_values, toy_dataset, toy_graph, toy_songs

from autosing.pipeline.columnfile import read_record
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.fit import fit
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from autosing.pipeline.store import Store
from autosing.pipeline.store_errors import Refused, Unreachable
from autosing.signal.errors import DataError, UsageError

ALL = ["probe", "letters", "level", "doubled", "above"]
FAULTS = [Fault("503"), Fault("lost")]
MORE = [Fault("500"), Fault("reset"), Fault("slow", 0.1, seconds=0.2), Fault("cut", verbs=("GET", "LIST"))]


def run(url: str, artefacts: Path, **level: Any) -> RunReport:
    graph = toy_graph(str(artefacts), **level)
    return process(Dataset(url), graph, ALL, RunOptions(executor="local"), progress=Progress(0, quiet=True))


def versions(url: str) -> dict[str, str | None]:
    store = Store(url)
    return {f"{n}/{i}": store.version(str(n), f"{i}.parquet") for n in range(2) for i in ALL}


def hurried(url: str) -> str:
    """The address with little patience."""
    return url.replace("retry_s=20", "retry_s=0.5")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("expected")
    url = toy_dataset(str(folder / "set"))
    run(url, folder / "artefacts")
    return column_values(url)


@pytest.mark.parametrize(
    "fault", [*FAULTS, *(pytest.param(fault, marks=pytest.mark.slow) for fault in MORE)], ids=lambda f: f.kind
)
def test_a_bad_day_changes_no_value(s3: FaultyS3, tmp_path: Path, expected: dict[str, Any], fault: Fault) -> None:
    s3.faults = [fault]
    toy_dataset(s3.url)
    report = run(s3.url, tmp_path / "artefacts")
    assert (report.exit_code, report.failed) == (0, {})
    assert column_values(s3.url) == expected
    assert run(s3.url, tmp_path / "artefacts").tasks == 0
    assert s3.counts[fault.kind] >= 5
    columns = {path: n for path, n in s3.puts.items() if path.endswith(".parquet") and "catalogue" not in path}
    assert set(columns.values()) == {1}


def test_what_listings_do_not_show_yet_is_not_made_again(
    s3: FaultyS3, tmp_path: Path, expected: dict[str, Any]
) -> None:
    toy_dataset(s3.url)
    run(s3.url, tmp_path / "artefacts")
    before = versions(s3.url)
    s3.faults = [Fault("late list", seconds=1000)]
    with pytest.raises(DataError, match="has no partitions"):
        Dataset(s3.url).list_files()
    s3.only_late = "level.parquet"
    report = run(s3.url, tmp_path / "artefacts")
    assert s3.counts["late list"] > 0
    assert (report.exit_code, set(report.instances)) == (0, {"level"})
    s3.faults = []
    assert versions(s3.url) == before
    assert column_values(s3.url) == expected


def test_a_fit_is_on_what_listings_do_not_show_yet_too(s3: FaultyS3, tmp_path: Path) -> None:
    toy_dataset(s3.url)
    run(s3.url, tmp_path / "artefacts")
    s3.faults, s3.only_late = [Fault("late list", seconds=1000)], "1/level.parquet"
    assert fit(Dataset(s3.url), toy_graph(str(tmp_path / "again")), "above").partitions == 2
    assert s3.counts["late list"] > 0


def test_a_partition_that_listings_do_not_show_yet_is_not_overwritten(s3: FaultyS3) -> None:
    append_songs(s3.url, toy_songs(3))
    s3.faults = [Fault("late list", seconds=1000)]
    with pytest.raises(DataError, match=r"0/index\.parquet was written by another run meanwhile; run the same command"):
        append_songs(s3.url, toy_songs(3, first=3))
    s3.faults = []
    assert [r.id for r in Dataset(s3.url).read([])] == [f"song {i}.wav" for i in range(3)]
    assert append_songs(s3.url, toy_songs(3, first=3)).songs == 3


def test_an_upload_whose_answer_is_lost_is_known_as_ones_own(s3: FaultyS3) -> None:
    store = Store(s3.url)
    s3.faults = [Fault("lost", 1.0, most=1, verbs=("PUT",))]
    with store.creating("0", "file.txt") as path:
        path.write_text("whole")
    assert s3.counts["lost"] == 1
    assert store.read_text("0", "file.txt") == "whole"
    version = store.version("0", "file.txt")
    draft = store.draft("0", "file.txt")
    draft.scratch.write_text("second")
    s3.faults = [Fault("lost", 1.0, most=2, verbs=("PUT",))]
    assert draft.publish(version)
    assert s3.counts["lost"] == 2
    assert not draft.publish(version)
    assert not draft.publish(None)
    draft.discard()
    assert store.read_text("0", "file.txt") == "second"


def test_a_server_that_stays_down_is_told(s3: FaultyS3) -> None:
    toy_dataset(s3.url, partitions=1)
    s3.faults = [Fault("503", 1.0)]
    with pytest.raises(Unreachable, match=r"^s3://songs-\w+/set.*the store does not answer as it should.*run the same"):
        _ = Dataset(hurried(s3.url)).partitions
    draft = Store(hurried(s3.url)).draft("0", "file.txt")
    draft.scratch.write_text("never")
    with pytest.raises(Unreachable, match=r"0/file\.txt"):
        draft.publish()
    draft.discard()


def test_a_server_that_fails_is_not_taken_for_damage(s3: FaultyS3, tmp_path: Path) -> None:
    toy_dataset(s3.url)
    run(s3.url, tmp_path / "artefacts")
    s3.faults = [Fault("503", 1.0, verbs=("GET",))]
    with pytest.raises(Unreachable, match=r"0/level\.parquet"):
        read_record(Store(hurried(s3.url)), "0", "level")


@pytest.mark.slow
def test_a_partition_that_can_not_be_read_is_told(s3: FaultyS3, tmp_path: Path) -> None:
    toy_dataset(s3.url)
    run(s3.url, tmp_path / "artefacts")
    Store(s3.url).remove("1", "level.parquet")
    s3.faults = [Fault("503", 1.0, verbs=("GET",))]
    report = run(hurried(s3.url), tmp_path / "artefacts")
    assert report.exit_code == 3
    assert "the store does not answer as it should" in report.failed[0]


def test_credentials_that_are_not_enough_are_told(s3: FaultyS3) -> None:
    s3.faults = [Fault("403", 1.0)]
    with pytest.raises(Refused, match=r"the store refuses.*check the credentials \(AWS_ACCESS_KEY_ID"):
        Store(s3.url).files()


def test_a_bucket_that_is_not_there_is_told(s3: FaultyS3) -> None:
    store = Store(s3.url.replace(s3.bucket, "no-such-bucket"))
    draft = store.draft("0", "file.txt")
    draft.scratch.write_text("text")
    for attempt in (store.files, draft.publish):
        with pytest.raises(Refused, match="there is no bucket no-such-bucket; create it, or correct the address"):
            attempt()
    draft.discard()


def test_what_is_read_of_an_object_is_of_one_version(s3: FaultyS3) -> None:
    store = Store(s3.url)
    for text in ("first " * 10, "other " * 10):
        if text.startswith("other"):
            file = store.open("file.txt")
            assert file.read(6) == b"first "
        with store.writing("file.txt") as path:
            path.write_text(text)
    with pytest.raises(Unreachable, match="was written again meanwhile; run the same command again"):
        file.read(6)


UPLOAD = """
import sys
from autosing.pipeline.store import Store
with Store(sys.argv[1]).writing("0", "file.bin") as path:
    path.write_bytes(bytes(32 << 20))
"""


def test_a_process_that_is_killed_while_it_uploads_leaves_nothing(s3: FaultyS3) -> None:
    s3.faults = [Fault("stalled", 1.0, verbs=("PUT",))]
    uploading = subprocess.Popen([sys.executable, "-c", UPLOAD, s3.url])
    assert s3.is_stalled.wait(60)
    uploading.kill()
    uploading.wait()
    s3.faults = []
    assert Store(s3.url).files("0") == []
    with urllib.request.urlopen(f"http://127.0.0.1:{s3.server_port}/{s3.bucket}?uploads") as answer:
        assert b"<UploadId>" not in answer.read()


def test_a_store_travels_to_other_processes(s3: FaultyS3) -> None:
    store = Store(s3.url)
    with store.writing("file.txt") as path:
        path.write_text("text")
    assert pickle.loads(pickle.dumps(store)).read_text("file.txt") == "text"


def test_an_address_with_an_unknown_word_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"s3://songs/set: 'reigon' is unknown; there are: scheme, endpoint_override"):
        Store("s3://key:secret@songs/set?reigon=here").files()
