"""What the report tells of kept and dropped seconds: sums, order, what the page shows, and what it does without."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from judged_stages import judged_graph
from markupsafe import Markup
from toy_dataset import ToySong, write_toy

from autosing.page.numerals import THIN
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.graph import Graph
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.progress import Progress
from autosing.pipeline.report import write_report
from autosing.pipeline.report.figures import cuts_lane
from autosing.pipeline.report.kept import BAR, bar, colour_of, kept_view
from autosing.pipeline.report.lanes import time_scale
from autosing.pipeline.report.outcomes import ERROR, EXCLUDED, NO_REASON, NOT_COMPUTED, outcomes, totals
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.signal.decode import encode
from autosing.signal.dropped import NO_LYRICS, NOT_SUNG, NOT_TRUSTED, REASONS

HZ = 16_000
HOSTILE = "<b>&.wav"
TWO_LINES = "[00:00.00] la la la\n[00:05.00] li li li\n[00:10.00]"


def sung(seconds: float, silence_s: float = 0.0, level: float = 0.3) -> bytes:
    """Returns noise that breathes every second, then silence, as a WAV file: neither noisy nor narrow for `quality`."""
    times_s = np.arange(int((seconds + silence_s) * HZ)) / HZ
    loud = np.where(times_s % 1 < 0.85, level, level / 100) * (times_s < seconds)
    wave = loud * np.random.default_rng(0).uniform(-1, 1, len(times_s))
    return encode(wave.astype(np.float32), HZ, "WAV")


def judged(id: str, sound: bytes, lyrics: str | None = None, **judgement: object) -> NewSong:
    return NewSong(id, sound, {"lrc_lyrics": lyrics, "title": json.dumps(judgement)})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Graph]:
    """Seven songs that were cut by what is sung, one that was not cut, and lines of which one is not trusted."""
    url = tmp_path_factory.mktemp("kept") / "songs"
    songs = [
        judged("whole.wav", sung(6.0)),
        judged("half.wav", sung(5.0, 5.0)),
        judged("lost.wav", sung(6.0), derailed=True, offset_s=-3.25, inlier_ratio=0.125),
        judged("doubt.wav", sung(10.0), TWO_LINES, doubt=[1], offset_s=0.5),
        judged(HOSTILE, sung(4.0, level=0.0005)),
        judged("broken.wav", b"no sound"),
        judged("left out.wav", sung(3.0)),
    ]
    append_songs(str(url), songs)
    (url / "exclude.txt").write_text("left out.wav\n")
    graph = judged_graph(least_confidence=0.5)
    process(Dataset(str(url)), graph, list(graph.instances), RunOptions("local"), progress=Progress(0, quiet=True))
    append_songs(str(url), [judged("new.wav", sung(2.0))])
    process(Dataset(str(url)), graph, ["probe"], RunOptions("local"), progress=Progress(0, quiet=True))
    return Dataset(str(url)), graph


@pytest.fixture(scope="module")
def page(made: tuple[Dataset, Graph], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(path, *made, 1)
    return path.read_text(encoding="utf-8")


def test_every_second_of_every_song_is_kept_or_has_a_reason(made: tuple[Dataset, Graph]) -> None:
    for instance in ("cuts", "cuts.lines"):
        found = list(outcomes(made[0], instance))
        assert len(found) == 8
        for outcome in found:
            assert (outcome.kept_s or 0) + sum(outcome.dropped.values()) == pytest.approx(outcome.seconds or 0)
    told = {outcome.id: outcome for outcome in outcomes(made[0], "cuts")}
    assert told["whole.wav"].dropped == {} and told["whole.wav"].kept_s == 6.0
    assert told["half.wav"].dropped == {NOT_SUNG: pytest.approx(5.0, abs=0.1)}
    assert told["doubt.wav"].dropped[NOT_TRUSTED] > 3 and told["doubt.wav"].alignment["weakest_line"] < 0.2
    assert told["broken.wav"].dropped == {f"{ERROR}probe": 0.0} and "probe" in told["broken.wav"].errors
    assert told["left out.wav"].dropped == {EXCLUDED: 3.0} and told["new.wav"].dropped == {NOT_COMPUTED: 2.0}


def test_the_worst_songs_come_first_and_what_is_well_or_excluded_is_not_among_them(made: tuple[Dataset, Graph]) -> None:
    total, lines = totals(made[0], 10)
    ids = [outcome.id for outcome in total.worst]
    assert ids == ["broken.wav", "lost.wav", HOSTILE, "new.wav", "doubt.wav", "half.wav"]
    assert (total.songs, total.bad, total.unmeasured) == (8, 6, 1) and total.seconds == 41.0
    assert total.kept_s + sum(total.dropped.values()) == pytest.approx(41.0)
    assert lines.instance == "cuts.lines" and lines.dropped[NO_LYRICS] == pytest.approx(6 + 10 + 6 + 4)
    assert total.flags["very quiet"] == total.flags["derailed"] == 1


def test_a_long_table_is_cut_and_says_how_much_is_missing(made: tuple[Dataset, Graph]) -> None:
    total = totals(made[0], 2)[0]
    view = kept_view(total)
    assert [line.id for line in view.lines] == ["broken.wav", "lost.wav"] and view.more == 4
    assert view.lines[1].is_derailed and [c.replace(THIN, " ") for c in view.lines[1].alignment] == [
        "−3.2 s",
        "0.12",
        "",
    ]
    assert view.lines[0].length == "unknown" and view.lines[0].bar is None


def test_the_page_shows_totals_songs_reasons_and_errors(page: str) -> None:
    section = page[page.index('id="kept"') : page.index('id="columns"')]
    text = re.sub(r"<[^>]*>", " ", section).replace(THIN, " ")
    for told in ("of 41 s are in cuts", "1 song of unknown length", NOT_SUNG, NOT_TRUSTED, "error: probe", "excluded"):
        assert told in text
    for told in ("derailed", "very quiet (", "−3.2 s", "probe: the file cannot be decoded", "1 song derailed"):
        assert told in text
    assert "&lt;b&gt;&amp;.wav" in section and HOSTILE not in page
    assert section.count('class="lanes"') == 4, "lost, hostile, half and doubt were cut; broken and new were not"
    assert section.count('class="doubtful"') >= 4


def test_a_bar_gives_each_reason_its_share_and_colour() -> None:
    drawn = bar({"kept": 30.0, NOT_SUNG: 10.0, f"{ERROR}probe": 0.0}, BAR, 20.0, "x")
    assert re.findall(r'width="([\d.]+)" height="20" class="(\w+)"', drawn) == [("840", "kept"), ("280", "unsung")]
    assert all(colour_of(reason) != "unknown" for reason in REASONS)
    assert colour_of(f"{ERROR}f0") == "own" and colour_of("<x>") == "unknown"


def test_cuts_that_overlap_have_two_rows_and_dropped_pieces_lie_at_their_times() -> None:
    cuts = [{"text": "la", "start_s": s, "end_s": s + 3} for s in (0.0, 2.0)]
    dropped = [{"text": NOT_SUNG, "start_s": 5.0, "end_s": 10.0}]
    x = time_scale(0, 10)
    lane = cuts_lane(cuts, dropped, x)
    assert lane.height == 32 and f'y="16" width="{x(3) - x(0) - 2:.1f}"' in Markup("").join(lane.content)
    assert f'x="{x(5):.0f}"' in lane.content[0] and 'class="unsung"' in lane.content[0]
    assert cuts_lane(cuts[:1], dropped, x).height == 16


def test_cuts_of_an_earlier_version_have_no_reasons(tmp_path: Path) -> None:
    songs = [
        ToySong("a", 6.0, [(0.0, 2.5), (2.0, 4.0)]),
        ToySong("b", 6.0, [], errors={"cuts": "no"}),
        ToySong("c", 6.0),
    ]
    dataset = write_toy(tmp_path / "toy", [songs]).dataset
    (total,) = totals(dataset, 5)
    assert total.dropped == {NO_REASON: 2.0, f"{ERROR}cuts": 6.0} and total.kept_s == 10.0
    assert [outcome.id for outcome in total.worst] == ["b", "a"]


def test_a_data_set_without_cuts_says_so_and_shows_what_else_is_known(tmp_path: Path) -> None:
    url = str(tmp_path / "uncut")
    append_songs(url, [judged("loud.wav", sung(1.0)), judged("broken.wav", b"")])
    graph = Project().graph(DatasetEntry(url))
    process(Dataset(url), graph, ["probe"], RunOptions("local"), progress=Progress(0, quiet=True))
    (view,) = map(kept_view, totals(Dataset(url), 5))
    assert view.verdict == "No cuts were computed yet."
    assert (view.bar, view.shares, view.alignment) == (None, [], ())
    assert [(line.id, line.kept) for line in view.lines] == [("broken.wav", "")]
    write_report(tmp_path / "page.html", Dataset(url), graph)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"autosing process {url} cuts" in page and ">kept</th>" not in page
