"""The table, the page and the command: whole, safe, and with the songs in their order."""

import json
import re
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hand_made import ALIGN, PROBE, REF_WORDS, Made, words

from autosing.cli.main import main
from autosing.evaluation.comparison import Absent, Comparison, ErrorAxis, Measure, Row, log_limits
from autosing.evaluation.report.charts import signed_chart, song_bars, within_chart
from autosing.evaluation.report.picture import named, worst_stretch
from autosing.evaluation.tasks import TASKS, evaluate, write_results
from autosing.evaluation.text import NAME_WIDTH, shortened, table_text
from autosing.page.svg import tag
from autosing.pipeline.ingest.sources import IngestOptions, ingest
from autosing.pipeline.progress import Progress
from autosing.pipeline.report.lanes import Lane
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schema import Column
from autosing.pipeline.settings import DatasetEntry, Project

HOSTILE = "<script>alert('&\"')</script>/x.mp3"
ACTIVITY = (Column("voice_activity", pa.uint8(), Fraction(50)),)
AXIS = ErrorAxis("onsets", "s", ("early", "late"), log_limits(0.01, 10, (0.1, 1)), (0.1, 1), (-1.0, 0.0, 1.0))


class Page(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def count(self, name: str) -> int:
        return sum(tag == name for tag, _ in self.tags)


def comparison(values: dict[str, dict[str, float]], better: Any = "low", **more: Any) -> Comparison:
    """Returns an evaluation of one measure from values by song and instance."""
    measure = Measure("aae_s", "AAE", "error", "s", 2, better=better)
    names = list(dict.fromkeys(name for found in values.values() for name in found))
    rows = [
        Row(id, 0, name, {"aae_s": value}, AXIS.spread(np.array([value, -value])))
        for id, found in values.items()
        for name, value in found.items()
    ]
    return Comparison("align", "sets/mine", names, {}, [measure], "aae_s", rows, axis=AXIS, **more)


def test_songs_are_in_the_order_of_the_first_instance_and_songs_without_a_value_come_last() -> None:
    found = comparison({"a": {"x": 1, "y": 9}, "b": {"x": 3}, "c": {"x": float("nan")}, "d": {"y": 2}})
    assert list(found.by_song) == ["b", "d", "a", "c"]
    assert list(comparison({"a": {"x": 1}, "b": {"x": 3}}, better="high").by_song) == ["a", "b"]
    assert [(t.instance, t.songs, t.values["aae_s"]) for t in found.totals] == [("x", 3, 2), ("y", 2, 5.5)]
    assert [(t.instance, t.songs, t.values["aae_s"]) for t in found.common_totals] == [("x", 1, 1), ("y", 1, 9)]


def test_the_table_has_columns_under_one_another_and_the_means_last() -> None:
    absent = [Absent(f"gone {i}", 0, "x", "error: no sound") for i in range(25)]
    found = comparison({"a" * 50: {"x": 1.234, "y": 100}, "b": {"x": float("nan")}}, absent=absent, notes=["Mind."])
    lines = table_text(found).splitlines()
    assert lines[0].split() == ["song", "instance", "AAE"]
    assert {len(line) for line in lines[:4]} == {len(lines[0])} and lines[1].endswith("  1.23")
    assert lines[3].split() == ["b", "x", "-"] and set(lines[4]) == {"-"}
    assert lines[5].split() == ["mean", "of", "2", "songs", "x", "1.23"]
    assert lines[7].startswith("mean of 1 shared songs") and lines[9] == "not compared: 25"
    assert lines[10].endswith("gone 19 and 5 more (--json lists all)") and lines[-1] == "Mind."
    assert table_text(found, worst=0).splitlines()[1].startswith("---")
    assert len(shortened("a" * 50 + "b")) == NAME_WIDTH and shortened("a" * 50 + "b").endswith("b")


def test_errors_are_counted_once_on_both_sides_of_the_curve() -> None:
    spread = AXIS.spread(np.array([0.1, -0.1, 1.0, 5.0, float("nan")]))
    assert spread is not None and spread.within[AXIS.limits.index(0.1)] == 0.5
    assert spread.within[AXIS.limits.index(1)] == 0.75 and spread.bins.tolist() == [0.25, 0.5]
    assert AXIS.spread(np.array([float("nan")])) is None
    found = comparison({"a": {"x": 0.5, "y": 0.05}, "b": {"x": 20.0}})
    for chart in (within_chart(found, AXIS), signed_chart(found, AXIS), song_bars(found)):
        assert chart is not None and "nan" not in chart and 's1"' in chart
    curve = within_chart(found, AXIS)
    assert curve is not None and "at most 0.1\u202fs: x 0\u202f%, y 100\u202f%" in curve
    assert song_bars(comparison({"a": {"x": float("nan")}})) is None


def test_the_worst_stretch_begins_before_the_worst_words() -> None:
    times_s = np.arange(100.0)
    badness = np.where((times_s > 70) & (times_s < 75), 3.0, 0.1)
    start_s, end_s = worst_stretch(times_s, badness)
    assert start_s < 71 and end_s > 75 and end_s - start_s == 20
    assert worst_stretch(np.array([0.5]), np.array([1.0])) == (0, 2.5)


def test_a_lane_has_its_name_at_its_left_or_where_that_is_too_narrow_above_it() -> None:
    lane = Lane("", 10, [tag("rect")])
    assert named(lane, "f0") == Lane("f0", 10, lane.content)
    above = named(lane, "voice_activity.energy")
    assert above.name == "" and above.height > 20 and "voice_activity.energy" in above.content[0]


@pytest.fixture
def hostile(made: Made) -> Made:
    """Two songs, one of a hostile name with hostile words, and one that is not compared."""
    evil = [{**w, "text": f"<b>{w['text']}&"} for w in words("one two / three four")]
    made.songs({HOSTILE: {"ref_words": evil}, "good": {"ref_words": words("one two / three four")}}, [REF_WORDS])
    late = {"words": [{**w, "start_s": w["start_s"] + 0.5} for w in evil], "lines": None, "derailed": False}
    made.instance("align", ALIGN, {HOSTILE: late, "good": {"words": words("uno dos")}}, {"model": "<i>"})
    made.instance("probe", PROBE, {id: {"duration_s": 9.0} for id in (HOSTILE, "good")})
    return made


def test_the_page_is_whole_and_loads_nothing_and_escapes_what_it_is_told(hostile: Made, tmp_path: Path) -> None:
    page = write_results(tmp_path / "new" / "out", hostile.dataset, evaluate("align", hostile.dataset), 6)
    text = page.read_text(encoding="utf-8")
    found = Page(text)
    assert found.count("script") == found.count("style") == 1 and found.count("svg") >= 5
    assert not re.search(r"<(script>alert|b>|i>)", text) and "&lt;script&gt;alert" in text
    links = [v for _, attributes in found.tags for k, v in attributes.items() if k in ("src", "href") and v]
    assert all(v.startswith(("#", "data:")) for v in links) and "http" not in text.replace("http-equiv", "")
    assert "0 of 4 true words are among the 2 estimated ones" in text and "nan" not in re.sub("<[^>]*>", "", text)
    targets = {attributes.get("id") for _, attributes in found.tags}
    assert {v[1:] for v in links if v.startswith("#")} <= targets
    told = json.loads((tmp_path / "new" / "out" / "align.json").read_text())
    assert [s["id"] for s in told["songs"]] == [HOSTILE]


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two synthetic songs with what the evaluations compare."""
    url = str(tmp_path_factory.mktemp("eval") / "songs")
    ingest("synthetic:2x6", url, IngestOptions())
    made = Made(url)
    graph = Project().graph(DatasetEntry(url), ["f0.method=praat", "align.method=rate"])
    process(
        made.dataset, graph, ["f0", "energy", "align"], RunOptions(executor="local"), progress=Progress(0, quiet=True)
    )
    rows = {row.id: {"voice_activity": row.values["f0.voiced"][::2]} for row in made.dataset.read(["f0.voiced"])}
    made.instance("voice_activity", ACTIVITY, rows)
    return url


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    code = ended.value.code
    return (code if isinstance(code, int) else 0), *capsys.readouterr()


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_evaluation_runs_from_the_command_line(
    task: str, synthetic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "eval", task, synthetic, "--out", str(tmp_path), "--pictures", "1")
    assert code == 0 and out.count("mean of 2 songs") >= 1 and out.endswith(f"open {tmp_path}/{task}.html\n")
    page = Page((tmp_path / f"{task}.html").read_text(encoding="utf-8"))
    assert page.count("article") == 1 and sum(a.get("class") == "lanes" for _, a in page.tags) >= 1
    code, out, err = run(capsys, "eval", task, synthetic, "--json", "--out", str(tmp_path))
    told = json.loads(out)
    assert code == 0 and told["task"] == task and len({s["id"] for s in told["songs"]}) == 2 and err.startswith("open ")
    assert told == json.loads((tmp_path / f"{task}.json").read_text())


def test_the_figures_of_the_synthetic_songs_are_good(synthetic: str) -> None:
    def mean(task: str, key: str, instance: int = 0) -> float:
        return evaluate(task, Made(synthetic).dataset).totals[instance].values[key]

    assert mean("align", "aae_s") < 0.8 * mean("align", "aae_s", -1) and mean("align", "missing") == 0
    assert mean("f0", "rpa_pct") > 90 and mean("f0", "voicing_f1_pct") > 85 and mean("f0", "note_50_pct") > 90
    assert mean("notes", "conp_100ms_pct") > 40 and mean("activity", "f1_pct") > 80


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["align", "nowhere"], 1, "nowhere has no partitions"),
        (["align", "SET", "--instance", "align.ctc"], 1, "has no align.ctc; there are: align"),
        (["f0", "SET", "--instance", "align"], 2, "align is an instance of align, not of f0; there are: f0"),
    ],
)
def test_a_mistake_is_one_message(
    arguments: list[str], code: int, message: str, synthetic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = run(capsys, "eval", *(a.replace("SET", synthetic) for a in arguments))
    assert (found, out) == (code, "") and err.startswith("autosing: ") and message in err
