"""What is stale, exactly, after each kind of change."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_stages import column_values, tone, toy_dataset, toy_graph, toy_songs

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.graph import Graph
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.plan import plan_partition
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from autosing.signal.errors import UsageError

LOCAL = RunOptions(executor="local")
ALL = ["probe", "letters", "level", "doubled", "above"]


def run(url: str, graph: Graph | None = None, targets: list[str] = ALL) -> RunReport:
    dataset = Dataset(url)
    return process(dataset, graph or toy_graph(url), targets, LOCAL, progress=Progress(0, quiet=True))


def not_fresh(url: str, graph: Graph | None = None) -> dict[int, dict[str, str]]:
    """Returns the state of every instance that is not fresh, by partition."""
    found = {}
    for partition in Dataset(url).partitions:
        plan = plan_partition(partition, graph or toy_graph(url), ALL)
        found[partition.number] = {f.instance: f.state for f in plan.findings if f.state != "fresh"}
    return found


def rewrite_index(url: str, number: int, change: Callable[[list[dict[str, object]]], None]) -> None:
    path = Path(url, str(number), "index.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = toy_dataset(str(tmp_path / "set"))
    run(made)
    return made


def test_everything_is_fresh_after_a_run_and_a_second_run_does_nothing(url: str) -> None:
    assert not_fresh(url) == {0: {}, 1: {}}
    before = column_values(url)
    assert run(url).tasks == 0
    assert column_values(url) == before


def test_a_changed_setting_makes_its_stage_and_its_readers_stale(url: str) -> None:
    graph = toy_graph(url, gain=2.0)
    assert not_fresh(url, graph)[0] == {"level": "due", "doubled": "due", "above": "blocked"}
    assert "gain: 1.0 -> 2.0" in plan_partition(Dataset(url).partitions[0], graph, ["level"]).findings[-1].reason
    run(url, graph)
    assert not_fresh(url, toy_graph(url, gain=2.0)) == {0: {}, 1: {}}


def test_a_setting_outside_the_definition_makes_nothing_stale(url: str) -> None:
    assert not_fresh(url, toy_graph(url, killer="nobody")) == {0: {}, 1: {}}


def test_a_corrected_lrc_makes_only_what_reads_it_stale(url: str) -> None:
    def correct(rows: list[dict[str, object]]) -> None:
        rows[1]["lrc_lyrics"] = "[00:02.00]corrected"

    before = column_values(url)
    rewrite_index(url, 0, correct)
    assert not_fresh(url)[0]["probe"] == "due"
    assert set(not_fresh(url)[0].values()) == {"due", "waits"}
    report = run(url)
    assert set(report.instances) == {"probe", "letters"}
    after = column_values(url)
    assert {k for k in after if after[k] != before[k]} == {"0/probe", "0/letters"}
    assert not_fresh(url) == {0: {}, 1: {}}


def test_an_index_rewritten_with_the_same_content_makes_nothing_but_probe_run(url: str) -> None:
    before = column_values(url)
    rewrite_index(url, 1, lambda rows: None)
    assert set(run(url).instances) == {"probe"}
    assert column_values(url) == before


def test_a_healed_row_makes_what_depends_on_its_audio_stale(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    songs = toy_songs(3)
    append_songs(url, [*songs[:2], type(songs[2])("broken", b"no audio", {})])
    run(url)
    partition = Dataset(url).partitions[0]
    record = partition.record("level")
    assert record is not None and (record.errors, record.own_errors) == (1, 0)
    errors = {r.id: r.errors["doubled"] for r in partition.rows(["doubled.doubled"]) if r.errors}
    assert list(errors) == ["broken"] and errors["broken"].startswith("input: probe: ")

    def heal(rows: list[dict[str, object]]) -> None:
        rows[2]["audio"] = tone(300)

    rewrite_index(url, 0, heal)
    assert set(run(url).instances) == {"probe", "level", "doubled", "above"}
    healed = Dataset(url).partitions[0].record("doubled")
    assert healed is not None and healed.errors == 0


def test_an_added_partition_is_the_only_one_computed_and_the_fit_stays(url: str) -> None:
    before = column_values(url)
    append_songs(url, toy_songs(2, first=50))
    assert set(not_fresh(url)) == {0, 1, 2}
    assert not_fresh(url)[0] == not_fresh(url)[1] == {}
    report = run(url)
    assert report.fits == []
    assert {k: v for k, v in column_values(url).items() if not k.startswith("2/")} == before


def test_a_deleted_column_file_is_computed_again_to_equal_values_and_nothing_else_is(url: str) -> None:
    before = column_values(url)
    Path(url, "0", "level.parquet").unlink()
    assert not_fresh(url)[0] == {"level": "due", "doubled": "waits", "above": "waits"}
    assert set(run(url).instances) == {"level"}
    assert column_values(url) == before


def test_a_truncated_column_file_is_due_again(url: str) -> None:
    path = Path(url, "1", "doubled.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    assert not_fresh(url)[1] == {"doubled": "due"}
    assert set(run(url).instances) == {"doubled"}


def test_a_deleted_artefact_is_fitted_again(url: str) -> None:
    before = column_values(url)
    Path(url, "models", "above", "fit.json").unlink()
    assert not_fresh(url)[0] == {"above": "blocked"}
    assert run(url).fits == ["above"]
    assert column_values(url) == before


def test_values_that_are_not_kept_reach_their_readers_all_the_same(tmp_path: Path) -> None:
    kept, unkept = (toy_dataset(str(tmp_path / name)) for name in ("kept", "unkept"))
    run(kept)
    run(unkept, toy_graph(unkept, keep_level=False))
    assert column_values(kept) == column_values(unkept)
    assert Dataset(unkept).partitions[0].columns("level") == []
    assert not_fresh(unkept, toy_graph(unkept, keep_level=False)) == {0: {}, 1: {}}


def test_an_unknown_target_lists_the_known_ones(url: str) -> None:
    with pytest.raises(UsageError, match="known: above, doubled, letters, level, probe"):
        run(url, targets=["leveel"])
