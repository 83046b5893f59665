"""The report of a run tells what the run's files tell, however they were left, and loads nothing."""

import base64
import hashlib
import html
import json
import re
import time
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autosing.page.numerals import THIN
from autosing.page.svg import Scale
from autosing.signal.errors import UsageError
from autosing.training.look import Look, Sound
from autosing.training.pictures import codebook_figure
from autosing.training.record import Record
from autosing.training.report import write_report
from autosing.training.report.clock import wall_seconds
from autosing.training.report.curves import LEFT, MOST_POINTS, RIGHT, WIDTH, chart, levels, thinned
from autosing.training.report.log import Series, read_log
from autosing.training.run import train

HOSTILE = "<script>alert('&\"')</script>/../x"


class Page(HTMLParser):
    """A page: its tags with their attributes, its text outside scripts and styles, its tables, and its code."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.code: dict[str, str] = {}
        self._inside = ""
        self._is_cell = False
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._is_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""
        self._is_cell = self._is_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.code[self._inside] = data
            return
        self.text += data
        if self._is_cell:
            self.rows[-1][-1] += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, found in self.tags if (value := found.get(attribute)) is not None]

    def charts(self) -> dict[str, Any]:
        """Returns by title what each chart tells the script."""
        titles = re.findall(r"<figure class=\"chart-card\".*?<h3>(.*?)</h3>", self.source, re.S)
        told = [json.loads(value) for value in self.values("data-curves")]
        return dict(zip(map(html.unescape, titles), told, strict=True))


def write_log(run: Path, lines: Sequence[Mapping[str, float]]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_facts(run: Path, **changes: Any) -> None:
    facts = {"recipe": "acoustic", "config": {"steps": 400, "lr": 1e-3, "size": "tiny"}, "ranks": 4, "git": None}
    (run / "run.json").write_text(json.dumps({**facts, "versions": {"torch": "9.8.7"}, **changes}))


def line(step: int, **values: float) -> dict[str, float]:
    return {"step": step, **{name.replace("__", "/"): value for name, value in values.items()}}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 300 of 400 steps with losses, pace, and a look; its best weights are those of step 200."""
    folder = tmp_path / "some run"
    lines = [
        line(
            s,
            train__mel_l1=8.0 / s,
            train__grad_norm=1.0 + s,
            train__lr=1e-3,
            train__audio_s_per_s=r,
            train__data_wait=0.1,
        )
        for s, r in ((100, 100.0), (200, 300.0), (300, 300.0))
    ]
    lines += [line(s, valid__mel_l1=v, valid__pesq=s / 100) for s, v in ((100, 0.5), (200, 0.25), (300, 0.3))]
    write_log(folder, lines)
    write_facts(folder)
    with Record(folder, 300) as record:
        sounds = {"target": Sound(np.zeros(8000, np.float32), 8000), HOSTILE: Sound(np.ones(80, np.float32), 8000)}
        record.look(300, Look({f"codes {HOSTILE}": codebook_figure(np.ones(4))}, sounds))
    return folder


def test_the_head_tells_steps_best_metric_and_pace(run: Path) -> None:
    page = Page(write_report(run))
    head = dict(zip(*(re.findall(rf"<{t}>(.*?)</{t}>", page.source)[:4] for t in ("dt", "dd")), strict=True))
    assert head == {
        "of 400 steps": "300",
        "best valid/mel_l1, at step 200": "0.25",
        "wall time": head["wall time"],
        # Equal amounts at 100, 300 and 300 hours per hour take 0.01 + 2 / 300 hours.
        "hours of audio per hour": "180",
    }
    assert f"10{THIN}%" in page.text
    assert ("progress", {"max": "400", "value": "300", "aria-label": "Steps done"}) in page.tags


def test_the_metric_that_run_json_names_and_the_step_that_was_kept_count(run: Path) -> None:
    write_facts(run, metric="pesq")
    assert "best valid/pesq, at step 100" in Page(write_report(run)).text
    (run / "model").mkdir()
    (run / "model/config.json").write_text(json.dumps({"training": {"step": 300}}))
    page = Page(write_report(run))
    assert "best valid/pesq, at step 300" in page.text and next(iter(page.charts())) == "pesq"


def test_a_loss_and_its_validation_share_a_chart_with_their_values(run: Path) -> None:
    charts = Page(write_report(run)).charts()
    assert [*charts] == [
        *("mel_l1", "pesq", "learning rate", "gradient norm before clipping"),
        *("hours of audio per hour of training", "share of time spent waiting for data"),
    ]
    train_curve, valid_curve = charts["mel_l1"]["curves"]
    assert train_curve["steps"] == [100, 200, 300] and train_curve["values"] == [0.08, 0.04, 0.026667]
    assert valid_curve["values"] == [0.5, 0.25, 0.3] and valid_curve["low"] is None
    assert charts["mel_l1"]["log"] and not charts["learning rate"]["log"]
    assert charts["share of time spent waiting for data"]["curves"][0]["values"] == [10, 10, 10]


def test_changed_settings_stand_first_and_are_marked(run: Path) -> None:
    page = Page(write_report(run))
    settings = {row[0]: row[1:] for row in page.rows[[row[0] for row in page.rows].index("setting") + 1 :]}
    assert [*settings] == ["steps", "size", "lr"]
    assert settings["size"] == ["tiny changed", "small"] and settings["lr"] == ["0.001", "0.001"]
    write_facts(run, recipe="my.recipes:odd")
    unknown = Page(write_report(run))
    assert "The recipe is not known here" in unknown.text and "changed" not in " ".join(map(" ".join, unknown.rows))


def test_versions_and_all_other_facts_are_told(run: Path) -> None:
    write_facts(run, git={"commit": "abc", "is_dirty": True}, data_digest="d1")
    page = Page(write_report(run))
    told = dict(re.findall(r"<div><dt>([^<]*)</dt><dd>([^<]*)</dd></div>", page.source.split('id="versions"')[1]))
    assert told == {"torch": "9.8.7", "ranks": "4", "git commit": "abc", "git is dirty": "true", "data digest": "d1"}


def test_the_last_look_is_in_the_page(run: Path) -> None:
    page = Page(write_report(run))
    assert "Look at step 300" in page.text
    inside = {base64.b64decode(source.partition(",")[2]) for source in page.values("src")}
    assert inside == {path.read_bytes() for path in (run / "look").iterdir() if path.suffix != ".json"}
    assert "1.0 s, 8 kHz" in page.text


def test_the_page_loads_nothing_and_runs_only_its_own_script(run: Path) -> None:
    write_facts(run, recipe=HOSTILE, config={HOSTILE: HOSTILE}, **{HOSTILE: [HOSTILE]})
    with open(run / "log.jsonl", "a") as log:
        log.write(json.dumps({"step": 300, f"train/{HOSTILE}": 1.0, HOSTILE: 2.0}) + "\n")
    page = Page(write_report(run))
    assert all(address.startswith(("data:", "#")) for name in ("src", "href") for address in page.values(name))
    assert not re.search(r"url\(|@import|https?://", page.source)
    (policy,) = [found["content"] for tag, found in page.tags if tag == "meta" and "http-equiv" in found]
    digests = {
        kind: base64.b64encode(hashlib.sha256(page.code[kind].encode()).digest()).decode()
        for kind in ("script", "style")
    }
    assert policy == (
        "default-src 'none'; img-src data:; media-src data:; "
        f"style-src 'sha256-{digests['style']}'; script-src 'sha256-{digests['script']}'"
    )
    assert sum(tag == "script" for tag, _ in page.tags) == sum(tag == "style" for tag, _ in page.tags) == 1
    assert not page.values("style") and not [n for _, found in page.tags for n in found if n.startswith("on")]
    assert page.text.count(HOSTILE) >= 6


def test_a_log_of_100_000_lines_is_a_small_page_that_keeps_every_spike(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(1, 0.1, 100_000)
    values[61_234], values[7] = 50.0, 0.001
    names = ("train/mel", "train/gan", "train/grad_norm", "train/samples_per_s")
    write_log(tmp_path, [{"step": 10 * i + 10, **dict.fromkeys(names, v)} for i, v in enumerate(values.tolist())])
    started = time.perf_counter()
    page = Page(write_report(tmp_path))
    assert time.perf_counter() - started < 10
    assert len(page.source) < 400_000
    curve = page.charts()["mel"]["curves"][0]
    assert len(curve["steps"]) == MOST_POINTS
    assert max(curve["high"]) == 50 and min(curve["low"]) == 0.001
    at = int(np.argmax(curve["high"]))
    assert abs(curve["steps"][at] - 612_350) < 1_000_000 / MOST_POINTS
    assert "mean of 334 lines" in page.text


def test_means_are_those_of_stretches_of_steps() -> None:
    steps = np.arange(1, 3001)
    values = np.repeat(np.arange(300.0), 10)
    curve = thinned(Series("train/x", steps, values), scale=2.0)
    assert curve.values.tolist() == (2 * np.arange(300.0)).tolist()
    assert curve.low is not None and curve.high is not None and curve.low.tolist() == curve.high.tolist()
    # Lines that are denser at the start do not get more room.
    dense = np.concatenate([np.arange(1, 2001), np.arange(3000, 100_000, 1000)])
    thin = thinned(Series("train/x", dense, np.ones(len(dense))))
    assert len(thin.steps) < 120 and (np.diff(thin.steps) > 0).all()


def test_a_point_lies_at_its_step_and_value() -> None:
    series = Series("valid/x", np.array([0, 50, 100]), np.array([1.0, 10.0, 100.0]))
    picture = chart([thinned(series)], "x", 100, True, (50, 10.0))
    (ring,) = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="6" class="best-ring">', picture)
    points = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="2.6"', picture)
    assert ring == points[1]
    xs, ys = np.array(points, float).T
    assert xs.tolist() == [LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT]
    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2) and ys[0] > ys[2]


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.9), (1e-6, 1e6), (1.0, 9.0), (3e-5, 5e-3)])
def test_lines_of_a_logarithmic_axis_are_few_and_inside(low: float, high: float) -> None:
    found = levels(Scale(low, high, 0, 1, log=True))
    assert 1 <= len(found) <= 7 and all(low <= level <= high for level in found)


def test_what_is_half_written_is_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    (tmp_path / "look").mkdir()
    (tmp_path / "run.json").write_text('{"recipe": "acou')
    lines = [
        '{"step": 1, "train/x": 3.0, "note": "hot", "nothing": null}',
        "[1]",
        "\x00\x00",
        '{"step": 2.5}',
        "[" * 5000,
    ]
    lines += ['{"step": 2, "train/x": NaN, "valid/x": Infinity}', '{"step": 3, "train/x": 1.0}', '{"step": 4, "tra']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    (tmp_path / "look/<b>.png").write_bytes(b"no")
    (tmp_path / "look/short.wav").write_bytes(b"RIFF")
    page = Page(write_report(tmp_path))
    assert page.charts()["x"]["curves"][0]["values"] == [3, 1]
    for told in ("run.json is damaged", "5 lines can't be read (lines 2, 3, 4, 5, 8)", "4 values can't be drawn"):
        assert told in page.text
    for told in ("look.json is missing", "<b>.png is no picture", "short.wav is no sound", "No settings are known"):
        assert told in page.text


@pytest.mark.parametrize(
    "look",
    ['{"step": "x", "figures": [{"file": "../secret.png"}, 3, {"title": 1}], "sounds": {}}', "[]", '{"figures": null}'],
)
def test_a_strange_look_shows_nothing_from_outside_its_folder(tmp_path: Path, look: str) -> None:
    (tmp_path / "look").mkdir()
    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    (tmp_path / "look/look.json").write_text(look)
    assert not Page(write_report(tmp_path)).values("src")


def test_an_empty_folder_has_a_report_and_no_folder_has_none(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path))
    for told in ("run.json is missing", "log.jsonl is missing", "Nothing was logged yet", "No validation has left"):
        assert told in page.text
    ids = page.values("id")
    assert {href[1:] for href in page.values("href") if href.startswith("#")} <= set(ids) and len(ids) == len(set(ids))
    with pytest.raises(UsageError, match="is no folder"):
        write_report(tmp_path / "none")
    assert {path.name for path in tmp_path.iterdir()} == {"report.html"}


def test_a_step_that_was_logged_twice_counts_as_it_was_logged_last(tmp_path: Path) -> None:
    write_log(tmp_path, [line(1, train__x=1), line(2, train__x=2), line(1, train__x=5), line(2, valid__x=7)])
    log = read_log(tmp_path / "log.jsonl")
    assert log.series["train/x"].values.tolist() == [5, 2] and log.series["valid/x"].steps.tolist() == [2]
    assert log.last_step == 2 and not log.problems


def test_wall_time_is_that_of_all_processes_of_a_run(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    now = time.time()
    for name, seconds in (("a", 100), ("b", 50)):
        with SummaryWriter(str(tmp_path), filename_suffix=name) as board:
            board.add_scalar("x", 1.0, 1, walltime=now + seconds)
    assert wall_seconds(tmp_path) == pytest.approx(150, abs=2)
    (first, second) = sorted(tmp_path.glob("events*"))
    with open(first, "ab") as file:
        file.write(second.read_bytes()[:30])  # A process died while it wrote.
    (tmp_path / "events.out.tfevents.9.empty").touch()
    assert wall_seconds(tmp_path) == pytest.approx(150, abs=2)
    assert wall_seconds(tmp_path / "none") is None


def test_a_run_of_the_loop_can_be_reported(toy_set: Path, tmp_path: Path) -> None:
    settings = ["size=tiny", "steps=6", "log_every=2", "validate_every=3", "seconds_per_batch=2", "validate_samples=2"]
    train("acoustic", toy_set, tmp_path / "run", settings)
    page = Page(write_report(tmp_path / "run"))
    assert "Not everything could be read" not in page.text
    assert len(page.charts()["mel_l1"]["curves"]) == 2 and "best valid/mel_l1, at step" in page.text
    assert "Look at step 6" in page.text and page.values("src")
