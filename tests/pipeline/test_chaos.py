"""Runs that are disturbed on purpose: what is found out about them, and the cells of the matrix."""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from s3_faults import Fault, FaultyS3
from toy_stages import toy_dataset, toy_graph

from autosing.cli.main import main
from autosing.pipeline.chaos.cells import (
    EXECUTORS,
    RUN_GOES_ON,
    TROUBLES,
    VICTIMS,
    Ailment,
    Kill,
    chosen,
    matrix,
    on_store,
)
from autosing.pipeline.chaos.disks import small_disk
from autosing.pipeline.chaos.network import NAMES, Network
from autosing.pipeline.chaos.process_tree import carriers
from autosing.pipeline.chaos.site import Site, end_of, site, wait_until
from autosing.pipeline.chaos.soak import SoakPlan, soak
from autosing.pipeline.chaos.state import State, below, committed, copy_songs, done_twice, leftovers, make_songs
from autosing.pipeline.chaos.trial import try_cell
from autosing.pipeline.chaos.verdict import Verdict, complaint, table
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.faults import POINTS
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.store import Store
from autosing.signal.errors import DataError, UsageError
from said import Autosing

on_ray = (pytest.mark.ray, pytest.mark.slow)
BAD_DAY = [Fault(kind, 0.01) for kind in ("500", "503", "lost", "reset")] + [Fault("late list", seconds=1.0)]


def test_the_matrix_has_every_victim_at_every_point_and_every_trouble_on_every_executor() -> None:
    cells = matrix(hosts=True)
    assert len({str(cell) for cell in cells}) == len(cells)
    assert {*cells} >= {Kill("ray", victim, point) for victim in VICTIMS if victim != "peer" for point in POINTS}
    assert {*cells} >= {Kill("local", victim, point) for victim in ("driver", "peer") for point in POINTS}
    assert {*cells} >= {Kill("child", victim, point) for victim in ("child", "driver", "peer") for point in POINTS}
    assert {*cells} >= {Ailment(executor, trouble) for executor in EXECUTORS for trouble in TROUBLES}


def test_cells_are_chosen_by_patterns_of_their_names() -> None:
    assert chosen([], matrix()) == matrix()
    assert [str(cell) for cell in chosen(["ray/head/*-rename", "local/io-error"], matrix())] == [
        "local/io-error",
        "ray/head/between-write-and-rename",
        "ray/head/after-rename",
    ]
    with pytest.raises(UsageError, match="no cell is named 'ray/janitor'; cells: local/driver/read"):
        chosen(["ray/janitor"], matrix())
    left_out = {str(cell) for cell in matrix()} - {str(cell) for cell in on_store()}
    assert left_out == {f"{executor}/disk-{how}" for executor in EXECUTORS for how in ("full", "read-only")}


def test_a_verdict_tells_all_that_is_wrong_and_nothing_where_all_is_well() -> None:
    well = Verdict("local/io-error", "same run", seconds=12.4)
    assert well.holds and complaint(well) == ""
    assert replace(well, left_over=("0/.tmp-f0",)).holds  # for `autosing gc`
    lost = replace(well, differing=("0/f0",), lost_rows=3)
    twice = replace(well, done_twice=[f"{i}/f0" for i in range(9)])
    assert complaint(lost) == "local/io-error: differs in 0/f0; 3 rows are lost"
    assert complaint(twice).endswith("computed again: 0/f0, 1/f0, 2/f0, 3/f0, 4/f0, 5/f0 and 3 more")
    for bad in (lost, twice, replace(well, stays=("0/.tmp-f0",)), replace(well, problem="it did not end")):
        assert not bad.holds
    lines = table([well, lost]).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        *("local/io-error", "same run", "yes", "0", "0", "0", "0", "12")
    ]
    assert "NO" in lines[3] and lines[-1] == complaint(lost)
    assert json.loads(json.dumps(lost.to_json()))["holds"] is False


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A toy data set with all its columns."""
    made = toy_dataset(str(tmp_path / "set"), partitions=2)
    compute(made)
    return made


def compute(url: str, home: str = "") -> None:
    quiet = Progress(0, quiet=True)
    process(Dataset(url), toy_graph(home or url), ["level", "above"], RunOptions(executor="local"), progress=quiet)


def test_a_data_set_is_what_it_was_until_something_of_it_is_gone_or_other(url: str) -> None:
    peaceful, before = State.of(url), committed(url)
    assert peaceful.differences(State.of(url)) == [] and done_twice(url, before) == [] and leftovers(url) == []
    Path(url, "1/above.parquet").unlink()
    assert peaceful.differences(State.of(url)) == ["1/above"]
    assert peaceful.lost_rows(State.of(url)) == 3
    compute(url)
    assert peaceful.differences(State.of(url)) == []
    assert done_twice(url, before) == ["1/above"]
    (Path(url) / "models" / "above" / "mean.txt").write_text("0.5")
    assert peaceful.differences(State.of(url)) == ["models/above/mean.txt"]
    Path(url, "0/.tmp-f0.parquet.1-00000000").touch()
    assert leftovers(url) == ["0/.tmp-f0.parquet.1-00000000"]


def test_what_two_runs_tell_to_have_done_was_done_twice_though_the_last_line_is_half_written(url: str) -> None:
    before = committed(url)
    (log,) = Path(url).glob("runs/*/events.jsonl")
    again = next(line for line in log.read_text().splitlines() if json.loads(line)["event"] == "done")
    other = log.parent.with_name("another") / log.name
    other.parent.mkdir()
    other.write_text(f"{again}\n{again[:20]}")
    told = json.loads(again)
    assert done_twice(url, before) == sorted(f"{told['partition']}/{name}" for name in told["instances"])


def test_a_data_set_on_a_store_is_judged_though_its_listings_are_late(s3: FaultyS3, tmp_path: Path) -> None:
    url, home = toy_dataset(s3.url), str(tmp_path)
    compute(url, home)
    peaceful, before = State.of(url, home), committed(url)
    assert any(path.startswith("models/above/") for path in peaceful.artefacts)
    store = Store(url)
    store.remove("1", "above.parquet")
    store.remove("1", "level.parquet")
    assert peaceful.differences(State.of(url, home)) == ["1/above", "1/level"]
    compute(url, home)
    s3.faults, s3.only_late = [Fault("late list", seconds=1000)], "1/level.parquet"
    assert peaceful.differences(State.of(url, home)) == ["1/level"]
    assert peaceful.differences(State.of(url, home, peaceful.columns)) == []
    assert done_twice(url, before) == ["1/above", "1/level"]
    with store.writing("0", ".tmp-f0.parquet.1-00000000") as path:
        path.touch()
    assert leftovers(url) == ["0/.tmp-f0.parquet.1-00000000"] and leftovers(home) == []
    assert below(url, "cell").startswith(f"s3://{s3.bucket}/set/cell?scheme=http&")
    assert below("/a/b/", "cell?") == "/a/b/cell?"


def test_songs_are_copied_without_columns_and_too_few_partitions_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has fewer than 4 partitions"):
        copy_songs(url, str(tmp_path / "copy"))
    larger = toy_dataset(str(tmp_path / "larger"), partitions=4)
    compute(larger)
    copy_songs(larger, str(tmp_path / "copy"))
    assert committed(str(tmp_path / "copy")) == {}
    assert len(Dataset(str(tmp_path / "copy")).partitions) == 4
    read = [row.values["index.audio"] for row in Dataset(larger).read(["audio"])]
    assert [row.values["index.audio"] for row in Dataset(str(tmp_path / "copy")).read(["audio"])] == read


def test_a_small_disk_is_filled_emptied_and_made_read_only(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        if disk is None:
            pytest.skip("only root may mount a small disk")
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.folder / "file").write_bytes(bytes(4096))
        disk.make_room()
        (disk.folder / "file").write_bytes(bytes(4096))
        with (disk.folder / "open").open("wb") as file:
            closes = threading.Timer(0.5, file.close)
            closes.start()
            disk.freeze()
        with pytest.raises(OSError, match="Read-only"):
            (disk.folder / "file").unlink()
        disk.thaw()
        (disk.folder / "file").unlink()


LISTENS = """
import socket, sys
with socket.create_server((sys.argv[1], 7000)) as server:
    print("listens", flush=True)
    while True:
        server.accept()[0].close()
"""
CALLS = "import socket, sys; socket.create_connection((sys.argv[1], 7000), 2.0)"


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(uuid.uuid4().hex[:8])
    try:
        made.make()
    except UsageError:
        pytest.skip("only root may make network namespaces")
    try:
        yield made
    finally:
        made.remove()


def test_hosts_reach_each_other_until_a_cable_is_pulled_out(network: Network) -> None:
    other = network.add()
    serve = network.inside(other, [sys.executable, "-c", LISTENS, network.address(other)])
    call = network.inside(1, [sys.executable, "-c", CALLS, network.address(other)])
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdout.readline() == "listens\n"
        assert network.host_of(server.pid) == other
        subprocess.run(call, check=True)
        network.pull_out(other)
        assert subprocess.run(call, capture_output=True, check=False).returncode
        assert server.poll() is None
        server.kill()
    with pytest.raises(UsageError, match=r"process \d+ is on no host of this network"):
        network.host_of(os.getpid())


def test_of_a_network_nothing_is_left(network: Network) -> None:
    assert list(NAMES.glob(f"{network.name}-*"))
    network.remove()
    assert not list(NAMES.glob(f"{network.name}-*"))


def test_who_may_make_no_hosts_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, autosing: Autosing) -> None:
    (tmp_path / "ip").write_text("#!/bin/sh\necho 'Operation not permitted' >&2; exit 1\n")
    (tmp_path / "ip").chmod(0o755)
    for path, message in (
        (str(tmp_path), r"only root on Linux may make \(Operation not permitted\); leave --hosts out"),
        (str(tmp_path / "nowhere"), "need the program `ip`; install iproute2"),
    ):
        monkeypatch.setenv("PATH", path)
        with pytest.raises(UsageError, match=message), site(tmp_path / path, hosts=True):
            pass
    said = autosing("chaos", "--hosts", "--store", "s3://bucket/folder")
    assert (said.code, "reach no object store" in said.err) == (2, True)


def test_cables_are_pulled_out_only_of_hosts() -> None:
    cables = [str(cell) for cell in matrix(hosts=True) if cell not in matrix()]
    assert cables == [f"ray/cable/{point}" for point in POINTS]


def test_what_a_site_started_is_dead_afterwards(tmp_path: Path) -> None:
    with site(tmp_path / "site") as place:
        make_songs(str(tmp_path / "songs"), 1, 1, 2.0)
        place.process(str(tmp_path / "songs"), "local")
        assert carriers(place.token)
    assert carriers(place.token) == []


def test_the_command_tells_the_names_of_its_cells(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        main(["chaos", "--list", "--quick"])
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 * len(POINTS) + len(TROUBLES) + 3 and "ray/driver/between-write-and-rename" in told


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("chaos") / "songs"
    make_songs(str(made), 5, 2, 6.0)
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site") / "site") as made:
        yield made


@pytest.fixture(scope="module")
def peaceful(songs: Path, place: Site) -> State:
    url = str(songs.parent / "peace")
    copy_songs(str(songs), url)
    assert end_of(place.process(url, "local")) == 0, place.log_since(0)
    return State.of(url)


def family(run: "subprocess.Popen[str]") -> set[int]:
    """Returns the ids of a process and of all that it started."""
    process = psutil.Process(run.pid)
    return {process.pid, *(child.pid for child in process.children(recursive=True))}


@pytest.mark.slow
def test_a_run_comes_to_every_point_and_goes_on(place: Site, songs: Path, peaceful: State, tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    copy_songs(str(songs), url)
    run = place.process(url, "local")
    for point in POINTS:
        place.orders.place(point)
        wait_until(lambda: place.orders.stopped() is not None, run, point)
        assert place.orders.stopped() in family(run)
        place.orders.release()
    assert end_of(run) == 0
    assert peaceful.differences(State.of(url)) == []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("local/disk-full", marks=pytest.mark.slow),
        pytest.param("child/child/model-call", marks=pytest.mark.slow),
        pytest.param("ray/actor/model-call", marks=on_ray),
        pytest.param("ray/driver/before-write", marks=on_ray),
    ],
)
def test_a_cell_holds(name: str, place: Site, songs: Path, peaceful: State) -> None:
    (cell,) = chosen([name], matrix())
    verdict = try_cell(cell, place, songs, peaceful)
    assert verdict.holds, complaint(verdict)
    assert verdict.went_on.startswith("same run" if name.split("/")[1] in RUN_GOES_ON else "same command")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_a_host_that_is_cut_off_changes_nothing(songs: Path, peaceful: State, tmp_path: Path) -> None:
    (cell,) = chosen(["ray/cable/between-write-and-rename"], matrix(hosts=True))
    with site(tmp_path / "site", hosts=True) as place:
        verdict = try_cell(cell, place, songs, peaceful)
    assert verdict.holds, complaint(verdict)


@pytest.mark.slow
def test_a_cell_holds_on_an_object_store(s3: FaultyS3, songs: Path, peaceful: State, tmp_path: Path) -> None:
    (cell,) = chosen(["local/peer/before-write"], on_store())
    s3.faults, s3.only_late = BAD_DAY, ".parquet"
    with site(tmp_path / "site", s3.url) as place:
        verdict = try_cell(cell, place, songs, peaceful)
    assert verdict.holds, complaint(verdict)
    assert verdict.left_over == []
    columns = {path: n for path, n in s3.puts.items() if path.endswith(".parquet") and "catalogue" not in path}
    assert set(columns.values()) == {1}
    assert all(s3.counts[fault.kind] > 0 for fault in BAD_DAY)
    s3.faults = []
    assert Store(s3.url).entries() == []


@pytest.mark.slow
def test_a_store_that_is_not_that_of_peace_is_told(place: Site, songs: Path, peaceful: State) -> None:
    other = replace(peaceful, columns={**peaceful.columns, (0, "f0"): "other"}, rows={**peaceful.rows, (9, "f0"): 4})
    (cell,) = chosen(["local/io-error"], matrix())
    verdict = try_cell(cell, place, songs, other)
    assert complaint(verdict) == "local/io-error: differs in 0/f0; 4 rows are lost"


def test_a_run_that_ends_before_it_can_be_disturbed_is_told(tmp_path: Path) -> None:
    with site(tmp_path / "site") as place:
        run = place.process(str(tmp_path / "nowhere"), "local")
        with pytest.raises(DataError, match="the run ended, with 1, before two partitions had files"):
            wait_until(lambda: False, run, "two partitions had files")


@pytest.mark.ray
@pytest.mark.slow
def test_a_short_soak_loses_nothing(place: Site, songs: Path, peaceful: State) -> None:
    told: list[Verdict] = []
    found = soak(SoakPlan(kills=3, minutes=5.0, seed=1), place, songs, peaceful, told.append)
    assert found.holds, [complaint(verdict) for verdict in told]
    assert found.kills.total() == 3 and found.rounds == told
    assert "3 kills" in str(found) and "nothing is lost" in str(found)
