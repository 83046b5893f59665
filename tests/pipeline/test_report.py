"""The report: where things lie in its pictures, what its tables count, and that the page is whole and safe."""

import re
from collections.abc import Iterator
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from markupsafe import Markup

from autosing.page.charts import bars, histogram, loss_chart
from autosing.page.media import data_uri, mel_png
from autosing.page.mel_axis import HEIGHT, MelAxis
from autosing.page.numerals import THIN, duration, note_name, number, size, songs
from autosing.page.svg import Scale, curve, equal_runs, fitted, runs, tag, ticks
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.graph import Graph
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.ingest.sources import IngestOptions, ingest
from autosing.pipeline.progress import Progress
from autosing.pipeline.report import Example, RunSummary, write_report
from autosing.pipeline.report.figures import energy_lane, strip_lane, words_lane
from autosing.pipeline.report.lanes import LEFT, Track, cut_lines, stack, time_scale
from autosing.pipeline.report.pitch import hz_of, midi_of, pitch_lane, voiced_curves
from autosing.pipeline.report.songs import activity, choose, excerpt, voice_of
from autosing.pipeline.report.sound import mp3
from autosing.pipeline.report.tables import reasons, song_values, stored_columns
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.signal.decode import decode, encode
from autosing.signal.errors import UsageError
from autosing.signal.mel import MelSpec, log_mel

HOSTILE = "<script>alert('&\"')</script>/x.mp3"
RATE = Fraction(100)
SPEC = MelSpec()


def tone(seconds: float, sample_rate: int = 24_000) -> bytes:
    wave = 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * sample_rate)) / sample_rate)
    return encode(wave.astype(np.float32), sample_rate, "WAV")


class Tag(NamedTuple):
    name: str
    attributes: dict[str, str | None]


class Page(HTMLParser):
    """All elements of a page and its text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[Tag] = []
        self.text = ""
        self._is_code = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(Tag(tag, dict(attrs)))
        self._is_code = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._is_code = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._is_code else data

    def count(self, name: str) -> int:
        return sum(tag.name == name for tag in self.tags)

    def values(self, attribute: str) -> list[str]:
        return [value for tag in self.tags if (value := tag.attributes.get(attribute)) is not None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Graph]:
    """Three synthetic songs, and a partition with a broken song of a hostile id and one without voice or lyrics."""
    url = str(tmp_path_factory.mktemp("report") / "songs")
    ingest("synthetic:3x6", url, IngestOptions())
    append_songs(url, [NewSong(HOSTILE, b"no sound", {}), NewSong("tick.wav", tone(1 / 24_000), {})])
    graph = Project().graph(DatasetEntry(url), ["f0.method=praat"])
    targets = ["probe", "f0", "energy", "mel", "align", "cuts"]
    process(Dataset(url), graph, targets, RunOptions(executor="local"), progress=Progress(0, quiet=True))
    return Dataset(url), graph


@pytest.fixture(scope="module")
def page(made: tuple[Dataset, Graph], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    dataset, graph = made
    song = next(iter(dataset.read(["mel.mel"])))
    mel = np.asarray(song.values["mel.mel"], np.float32)
    example = Example("held out", mel, mel + 0.5, tone(6), tone(6))
    losses = [(100, 3.0, None), (200, 1.0, 1.2), (300, 0.3, 0.5)]
    comparison = {"mean mel": 1.5, "the model": 0.6}
    run = RunSummary("acoustic", {"lr": 3e-4}, losses, comparison, examples=[example], seconds=75)
    path = tmp_path_factory.mktemp("page") / "new" / "report.html"
    ids = [HOSTILE, "synthetic-0/00000.flac", "tick.wav"]
    write_report(path, dataset, graph, ids, run)
    yield path.read_text(encoding="utf-8")


def test_a_time_lies_at_its_share_of_the_axis() -> None:
    x = time_scale(10, 30, width=LEFT + 212)
    assert [x(t) for t in (10, 20, 30)] == [LEFT, LEFT + 100, LEFT + 200]


def test_an_octave_has_the_same_height_everywhere_on_a_logarithmic_axis() -> None:
    y = Scale(100, 800, 90, 0, log=True)
    assert [round(y(hz), 6) for hz in (100, 200, 400, 800)] == [90, 60, 30, 0]
    assert Scale(5, 5, 0, 10)(5) == 5


@pytest.mark.parametrize(("low", "high", "most"), [(0, 20, 12), (12.3, 12.9, 5), (1e-5, 3e-5, 4), (0, 1e7, 6)])
def test_ticks_are_round_and_inside_and_few(low: float, high: float, most: int) -> None:
    found = ticks(low, high, most)
    steps = np.diff(found)
    assert 2 <= len(found) <= most + 1 and low - 1e-9 <= found[0] and found[-1] <= high + 1e-9
    assert np.allclose(steps, steps[0]) and f"{steps[0]:.0e}"[0] in "125"


def test_f0_is_drawn_at_its_frames_centres_and_broken_where_unvoiced() -> None:
    f0 = Track(np.array([0, 100, 200, 0, 400, 0], np.float32), RATE)
    x, y = Scale(0, 0.06, 0, 60), Scale(100, 400, 300, 0)
    assert [[(round(a, 6), b) for a, b in points] for points in voiced_curves(f0, None, x, y)] == [
        [(15, 300), (25, 200)],
        [(45, 0)],
    ]
    voiced = Track(np.array([1, 1, 0, 0, 1, 1], np.uint8), RATE)
    assert [len(points) for points in voiced_curves(f0, voiced, x, y)] == [1, 1]
    assert [curve(points) for points in voiced_curves(f0, voiced, x, y)] == ["M15 300h0", "M45 0h0"]


def test_f0_of_a_stretch_starts_at_the_stretch() -> None:
    f0 = Track(np.arange(1, 1001, dtype=np.float32), RATE)
    points = voiced_curves(f0, None, Scale(5, 6, 0, 1000), lambda hz: hz)[0]
    assert len(points) == 100 and points[0] == pytest.approx((5, 501))


def test_a_sine_is_brightest_where_the_mel_axis_puts_its_frequency() -> None:
    for hz in (150.0, 440.0, 2000.0, 7000.0):
        wave = np.sin(2 * np.pi * hz * np.arange(24_000) / 24_000).astype(np.float32)
        band = int(log_mel(wave, SPEC, 90)[45].argmax())
        assert MelAxis(SPEC)(hz) == pytest.approx(HEIGHT * (1 - (band + 0.5) / SPEC.n_mels), abs=HEIGHT / SPEC.n_mels)


def test_pitch_of_silence_is_no_lane_and_that_of_a4_has_its_line() -> None:
    x = time_scale(0, 1)
    assert pitch_lane(Track(np.zeros(100, np.float32), RATE), None, None, (), x) is None
    assert pitch_lane(None, None, None, (), x) is None
    lane = pitch_lane(Track(np.full(100, 440, np.float32), RATE), None, None, (), x)
    assert lane is not None and "A4 440" in Markup("").join(lane.content)
    assert note_name(69) == "A4" and note_name(60) == "C4" and hz_of(midi_of(123.4)) == pytest.approx(123.4)


def test_words_are_labelled_cut_to_their_room_and_escaped() -> None:
    words = [{"text": "<b>&", "start_s": 1.0, "end_s": 1.5}, {"text": "la" * 40, "start_s": 1.5, "end_s": 2.0}]
    content = Markup("").join(words_lane(words, time_scale(0, 10), "words").content)
    assert "&lt;b&gt;&amp;" in content and "<b>" not in content
    assert "1.50–2.00 s" in content
    assert fitted("la" * 40, 50).endswith("…") and fitted("", 50) == "" and fitted("la", 3) == ""
    assert len(fitted("歌" * 40, 100)) < len(fitted("l" * 40, 100))


def test_units_are_one_bar_for_each_run_of_equal_values() -> None:
    lane = strip_lane(Track(np.array([7, 7, 3, 7], np.uint16), Fraction(50), "units.units"), time_scale(0, 0.08))
    assert [re.findall("<title>(.*?)</title>", bar)[0] for bar in lane.content] == [
        "7, 0.00–0.04 s",
        "3, 0.04–0.06 s",
        "7, 0.06–0.08 s",
    ]
    assert lane.name == "units" and equal_runs(np.array([])) == []
    assert runs(np.array([1, 1, 0, 1])) == [(0, 2), (3, 4)]


def test_full_scale_is_at_the_top_of_the_energy_and_silence_at_its_floor() -> None:
    lane = energy_lane(Track(np.array([1.0, 0.0], np.float32), Fraction(1)), Scale(0, 2, 0, 20))
    assert 'd="M5 60L5 0L15 60L15 60Z"' in lane.content[-1]


def test_only_cut_ends_inside_the_figure_are_lines_and_shared_ends_are_one() -> None:
    cuts = [{"text": None, "start_s": s, "end_s": s + 4} for s in (0.0, 4.0, 8.0)]
    assert len(cut_lines(cuts, Scale(1, 9, 0, 80), 10)) == 2


def test_text_and_attributes_are_escaped() -> None:
    assert tag("text", "<a&b>", aria_label='"<', class_="x", rx=None, x=1.04) == Markup(
        '<text aria-label="&#34;&lt;" class="x" x="1">&lt;a&amp;b&gt;</text>'
    )
    assert "<i>" not in bars([("<i>", 1.0)], "<i>") + stack([], time_scale(0, 1), (), "<i>")


def test_a_histogram_counts_every_value_once() -> None:
    told = re.findall(r"<title>.*?: (\d+) songs?</title>", histogram(np.array([1.0, 1.0, 2.0, 9.0]), "s", "x"))
    assert sum(map(int, told)) == 4
    assert "1 song<" in histogram(np.array([3.0]), "s", "x")


def test_a_loss_curve_takes_missing_validations_and_infinite_losses() -> None:
    chart = loss_chart([(0, float("inf"), None), (10, 8.0, None), (20, 0.5, 0.6)])
    assert chart.count("<circle") == 1 and "nan" not in chart and "inf" not in chart
    assert "<svg" in loss_chart([(5, 0.0, None)])


def test_numbers_are_short_and_have_units() -> None:
    told = [number(v) for v in (0, 12, 0.41235, 1234567, -17.42)]
    told += [size(999), size(2_160_000), duration(12.04), duration(144), duration(9000), songs(1), songs(1200)]
    assert [text.replace(THIN, "_") for text in told] == [
        *("0", "12", "0.412", "1_234_567", "−17.4"),
        *("999_B", "2.16_MB", "12_s", "2:24_min", "2.5_h", "1 song", "1_200 songs"),
    ]


def test_a_mel_picture_has_low_bands_at_the_bottom() -> None:
    import io

    from PIL import Image

    mel = np.zeros((3, 5), np.float16)
    mel[:, 0] = 1
    image = Image.open(io.BytesIO(mel_png(mel, 0, 1))).convert("L")
    assert image.size == (3, 5)
    assert image.getpixel((0, 4)) > image.getpixel((0, 0))  # type: ignore[operator]


@pytest.mark.parametrize("sample_rate", [8_000, 44_100, 96_000])
def test_a_stretch_of_sound_becomes_mono_mp3_of_its_length(sample_rate: int) -> None:
    audio = decode(mp3(tone(3, sample_rate), 1.0, 2.5))
    assert audio.samples.shape[1] == 1
    assert len(audio.samples) / audio.sample_rate == pytest.approx(1.5, abs=0.08)
    assert data_uri(b"x", "audio/mpeg") == "data:audio/mpeg;base64,eA=="


def test_the_stretch_that_is_shown_is_where_the_words_are() -> None:
    voiced = Track(np.repeat([1, 0], 3000).astype(np.uint8), RATE)
    words = [{"text": "la", "start_s": 40.5, "end_s": 59.5}]
    assert excerpt(60, activity({"voiced": voiced}, {})) == (0, 20)
    assert excerpt(60, activity({"voiced": voiced}, {"words": words})) == (40, 60)
    assert excerpt(7.5, None) == (0, 7.5)
    assert excerpt(60, None) == (0, 20)


def test_the_voice_of_a_song_is_that_of_its_voiced_frames() -> None:
    voice = voice_of(np.array([0, 220, 220, 440, 440, 0, 0, 0], np.float32))
    assert voice is not None and voice.voiced_share == 0.5 and voice.range_semitones == pytest.approx(12)
    assert voice_of(np.zeros(5)) is None and voice_of(None) is None


def test_the_verdict_says_what_is_better_and_by_how_much() -> None:
    run = RunSummary("r", comparison={"ridge": 0.8, "model": 0.6, "mean": 1.5})
    assert run.verdict() == "Lower is better. Best is model (0.6), 25 % below ridge (0.8)."
    assert run.ranking[0][0] == "model"
    higher = RunSummary("r", comparison={"a": 1.0, "b": 3.0}, lower_is_better=False)
    assert higher.verdict() == "Higher is better. Best is b (3), 200 % above a (1)."


def test_coverage_counts_values_none_by_nature_and_errors(made: tuple[Dataset, Graph]) -> None:
    found = {
        f"{s.instance}.{s.column.name}": (s.with_value, s.none, s.own_errors, s.inherited, s.absent)
        for s in stored_columns(*made)
    }
    assert found["index.audio"] == (5, 0, 0, 0, 0)
    assert found["index.title"] == (3, 2, 0, 0, 0)
    assert found["probe.duration_s"] == (4, 0, 1, 0, 0)
    assert found["mel.mel"] == (4, 0, 0, 1, 0)
    assert found["align.words"] == (3, 1, 0, 1, 0)
    assert found["reference.ref_words"] == (3, 0, 0, 0, 2)
    assert all((s.bytes > 0) == (s.instance != "lyric_mel") for s in stored_columns(*made))


def test_errors_are_told_once_by_reason_with_some_ids(made: tuple[Dataset, Graph]) -> None:
    (reason,) = reasons(made[0])
    assert (reason.instance, reason.songs, list(reason.ids)) == ("probe", 1, [HOSTILE])


def test_songs_are_chosen_evenly_among_those_that_decode_and_unknown_ones_are_refused(
    made: tuple[Dataset, Graph],
) -> None:
    values = song_values(made[0])
    assert choose(values, 2) == ["synthetic-0/00000.flac", "tick.wav"]
    assert len(choose(values, 99)) == 4 and choose(values, 0) == []
    with pytest.raises(UsageError, match="no song has the id 'nobody'; there are 5 songs"):
        choose(values, ["nobody"])


def test_every_section_is_there_and_every_link_has_its_target(page: str) -> None:
    parsed = Page(page)
    ids = parsed.values("id")
    assert {"kept", "columns", "errors", "distributions", "songs", "run"} <= set(ids)
    assert len(ids) == len(set(ids))
    assert {h[1:] for h in parsed.values("href") if h.startswith("#")} <= set(ids)
    assert parsed.count("audio") == 4 and parsed.count("image") == 3
    for told in ("partitions", "Trained in 1:15", "mel-L1", "60 % below mean mel", "true words", "0.5"):
        assert told in parsed.text


def test_the_page_loads_nothing_from_anywhere(page: str) -> None:
    parsed = Page(page)
    assert not re.search(r"(?:src|href|url\(|import)\s*=?\s*[\"'(]?\s*(?:https?:)?//", page)
    assert all(address.startswith("data:") for address in parsed.values("src"))
    assert all(h.startswith(("data:", "#")) for h in parsed.values("href"))
    (policy,) = [t.attributes["content"] for t in parsed.tags if "http-equiv" in t.attributes]
    assert policy is not None and policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert not parsed.values("style")


def test_a_hostile_id_is_text_everywhere(page: str) -> None:
    parsed = Page(page)
    assert HOSTILE in parsed.text
    assert "<script>alert" not in page
    assert parsed.count("script") == parsed.count("style") == 1
    assert not [name for tag in parsed.tags for name in tag.attributes if name.startswith("on")]


def test_a_data_set_without_columns_has_a_report(tmp_path: Path) -> None:
    url = str(tmp_path / "bare")
    append_songs(url, [NewSong("a.wav", tone(0.5), {})])
    write_report(tmp_path / "bare.html", Dataset(url), Project().graph(DatasetEntry(url)))
    parsed = Page((tmp_path / "bare.html").read_text(encoding="utf-8"))
    assert "No song has an error" in parsed.text and parsed.count("audio") == 1
