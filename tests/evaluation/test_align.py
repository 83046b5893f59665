"""Alignment of hand-made songs whose errors are known, and of real songs with the figures of a study."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hand_made import ALIGN, PROBE, REF_WORDS, Made, words

from autosing.evaluation.align import BASELINE, compare
from autosing.evaluation.comparison import Comparison, Row
from autosing.evaluation.tasks import evaluate
from autosing.evaluation.text import plain_data, table_text
from autosing.pipeline.schema import PHONES, Column
from autosing.signal.errors import DataError, MissingColumn, RowError, UsageError
from autosing.signal.lyrics import parse_lrc
from autosing.signal.word_times import place_words

TEXT = "one two three / four five six / seven eight nine"
TRUTH = words(TEXT, gap_s=10)
LRC = "[00:01.00]one two three\n[00:14.00]four five six\n[00:27.00]seven eight nine\n"
IDS = ("near", "far", "lost")


def estimate(shift_s: float, flag: bool, confidences: tuple[float, ...] = (0.9, 0.9, 0.9)) -> dict[str, Any]:
    """Returns what `align` tells of a song whose words are all late by `shift_s`, first words of lines aside."""
    late = words(TEXT, shift_s, gap_s=10)
    placed = [{**w, "start_s": TRUTH[i]["start_s"]} if i % 3 == 0 else w for i, w in enumerate(late)]
    lines = [{"text": "", "start_s": 0.0, "end_s": 1.0, "confidence": c} for c in confidences]
    return {"words": placed, "lines": lines, "derailed": flag}


@pytest.fixture
def three(made: Made) -> Made:
    """Three songs in two instances: late by .05, .5 and 2 s; the other one by .1 s but for an error."""
    made.songs({id: {"ref_words": TRUTH} for id in IDS}, [REF_WORDS], LRC)
    made.instance("probe", PROBE, {id: {"duration_s": 40.0} for id in IDS})
    shifts = {"near": 0.05, "far": 0.5, "lost": 2.0}
    sure = {"near": (0.9, 0.8, 0.9), "far": (0.7, 0.9, 0.8), "lost": (0.1, 0.2, 0.3)}
    made.instance("align", ALIGN, {id: estimate(shifts[id], id == "lost", sure[id]) for id in IDS}, {"method": "ctc"})
    other = {"near": estimate(0.1, False), "far": RowError("no lyrics in this language"), "lost": estimate(0.1, False)}
    made.instance("align.rate", ALIGN, other, {"method": "rate"})
    return made


def row_of(comparison: Comparison, id: str, instance: str) -> Row:
    return next(row for row in comparison.rows if (row.id, row.instance) == (id, instance))


def test_measures_are_over_all_words_and_over_those_after_the_first_of_a_line(three: Made) -> None:
    values = row_of(compare(three.dataset), "far", "align").values
    assert (values["words"], values["missing"]) == (9, 0)
    assert values["aae_s"] == pytest.approx(0.5 * 6 / 9) and values["later_aae_s"] == pytest.approx(0.5)
    assert values["pco_300ms_pct"] == pytest.approx(100 / 3) and values["later_pco_300ms_pct"] == 0
    assert row_of(compare(three.dataset), "lost", "align").values["later_over_1s_pct"] == 100


def test_songs_stand_the_worst_first_and_instances_side_by_side_with_the_baseline(three: Made) -> None:
    found = compare(three.dataset, ["align", "align.rate"])
    assert list(found.instances) == ["align", "align.rate", BASELINE]
    assert [(id, [row.instance for row in rows]) for id, rows in found.by_song.items()] == [
        ("lost", ["align", "align.rate", BASELINE]),
        ("far", ["align", BASELINE]),
        ("near", ["align", "align.rate", BASELINE]),
    ]
    # The line `one two three` has 13 s and 11 letters: `two` is put at 1 + 13 * 3/11 s, `three` at 1 + 13 * 6/11 s.
    assert row_of(found, "near", BASELINE).values["later_aae_s"] == pytest.approx(4.9578, abs=1e-4)
    assert found.settings == {"align": "method ctc", "align.rate": "method rate"}


def test_means_are_over_each_instances_songs_and_over_those_that_all_share(three: Made) -> None:
    found = compare(three.dataset)
    totals = {t.instance: (t.songs, t.values["later_aae_s"]) for t in found.totals}
    assert totals["align"] == (3, pytest.approx(2.55 / 3)) and totals["align.rate"] == (2, pytest.approx(0.1))
    shared = {t.instance: (t.songs, t.values["later_aae_s"]) for t in found.common_totals}
    assert shared["align"] == (2, pytest.approx(2.05 / 2)) and {n for n, _ in shared.values()} == {2}
    assert [(a.id, a.instance, a.reason) for a in found.absent] == [
        ("far", "align.rate", "error: no lyrics in this language")
    ]


def test_confidence_and_flag_are_judged_by_the_lines_that_are_derailed(three: Made) -> None:
    told = compare(three.dataset).summary["align"]
    assert (told["lines"], told["derailed_lines_1s"], told["derailed_lines_5s"]) == (9, 3, 0)
    assert told["auroc_confidence_1s"] == told["auroc_flag_1s"] == 1
    assert told["auroc_confidence_5s"] != told["auroc_confidence_5s"]
    assert told["steady_songs_pct"] == 100 and told["worst_ratio"] == pytest.approx(2 / 4.9578, abs=1e-4)
    ids = {id: estimate(2.0 if id == "lost" else 0.0, False, (0.5, 0.5, 0.5)) for id in IDS}
    three.instance("align", ALIGN, ids)
    told = compare(three.dataset, ["align"]).summary["align"]
    assert told["auroc_confidence_1s"] == told["auroc_flag_1s"] == 0.5


def test_the_curve_passes_through_the_table(three: Made) -> None:
    found = compare(three.dataset, ["align"])
    spread, axis = found.spread("align"), found.axis
    assert spread is not None and axis is not None
    for limit, key in ((0.1, "pco_100ms_pct"), (0.3, "pco_300ms_pct")):
        (mean,) = [t.values[key] for t in found.totals if t.instance == "align"]
        assert 100 * spread.within[axis.limits.index(limit)] == pytest.approx(mean)
    assert spread.bins.sum() == pytest.approx((9 + 9 + 3) / 27)


def test_every_song_that_is_not_compared_is_named_with_its_reason(three: Made) -> None:
    more = ("no truth", "no words", "other song", "too early", "excluded")
    truths = {id: {"ref_words": None if id == "no truth" else TRUTH} for id in more}
    three.songs(truths, [REF_WORDS])
    rows: dict[str, Any] = {
        "no truth": estimate(0, False),
        "no words": {},
        "other song": {"words": words("uno dos tres")},
        "too early": {"words": words(TEXT, shift_s=-1.5)},
        "excluded": estimate(9, False),
    }
    three.instance("align", ALIGN, rows)
    (Path(three.url) / "exclude.txt").write_text("excluded\n")
    found = compare(three.dataset, ["align", "align.rate"])
    reasons = {(a.id, a.instance): a.reason for a in found.absent if a.id in more and a.instance != BASELINE}
    assert reasons.pop(("too early", "align")).startswith("its word times can't be compared")
    unstored = "not stored in partition 1; compute it with: autosing process"
    assert reasons == {
        ("no truth", ""): "no ref_words or ref_phones",
        ("excluded", ""): "listed in exclude.txt",
        ("no words", "align"): "no words by nature",
        ("other song", "align"): "0 of 9 true words are among the 3 estimated ones",
        **{(id, "align.rate"): unstored for id in ("no words", "other song", "too early")},
    }
    assert {t.instance: t.songs for t in found.totals} == {"align": 3, "align.rate": 2, BASELINE: 3}
    text = table_text(found)
    assert all(id in text for id in more) and f"not compared: {len(found.absent)}" in text


def test_words_that_an_aligner_drops_are_told_beside_its_errors(made: Made) -> None:
    made.songs({"a": {"ref_words": words(TEXT)}}, [REF_WORDS])
    made.instance("align", ALIGN, {"a": {"words": words(TEXT)[:6]}})
    found = compare(made.dataset)
    (row,) = found.rows
    assert (row.values["missing"], row.values["aae_s"]) == (3, 0) and list(found.instances) == ["align"]
    assert "auroc_flag_1s" not in table_text(found) and "AUROC" not in table_text(found)


def test_phones_are_compared_where_truth_and_estimate_have_them(made: Made) -> None:
    phones = [{"text": p, "start_s": float(i), "end_s": i + 1.0} for i, p in enumerate(["sil", "a", "b", "c"])]
    late = [{**p, "start_s": p["start_s"] + 0.04} for p in phones[1:]]
    made.songs({"a": {"ref_phones": phones}, "b": {"ref_phones": phones}}, [Column("ref_phones", PHONES)])
    with_phones = (*ALIGN, Column("phones", PHONES, nullable=True))
    made.instance("align", with_phones, {"a": {"words": words("abc"), "phones": late}, "b": {"words": words("abc")}})
    found = compare(made.dataset)
    (row,) = found.rows
    assert row.values["phone_aae_s"] == pytest.approx(0.04) and row.values["phones_missing"] == 0
    assert [m.key for m in found.shown if m.group != "phones"] == [] and found.worst_by == "phone_aae_s"
    assert [(a.id, a.reason) for a in found.absent] == [
        ("b", "it tells no phones, and the song has no ref_words to compare its words with")
    ]


def test_what_cannot_be_compared_at_all_is_one_message(three: Made, tmp_path: Path) -> None:
    with pytest.raises(MissingColumn, match=r"has no align\.ctc; there are: align, align\.rate; compute it with"):
        evaluate("align", three.dataset, ["align.ctc"])
    with pytest.raises(UsageError, match="probe is an instance of probe, not of align"):
        evaluate("align", three.dataset, ["probe"])
    with pytest.raises(MissingColumn, match="has no reference; there are: align"):
        evaluate("align", three.dataset, ["reference"])
    bare = Made(str(tmp_path / "bare"))
    bare.songs({"a": {}}, [])
    with pytest.raises(MissingColumn, match="has no align; compute it with"):
        evaluate("align", bare.dataset)
    bare.instance("align", ALIGN, {"a": {"words": words(TEXT)}})
    with pytest.raises(MissingColumn, match=r"has no ref_words or ref_phones in its reference\.parquet"):
        evaluate("align", bare.dataset)
    empty = Made(str(tmp_path / "empty"))
    empty.songs({"a": {"ref_words": None}}, [REF_WORDS])
    empty.instance("align", ALIGN, {"a": {"words": words(TEXT)}})
    with pytest.raises(DataError, match="no song could be compared: 1 x truth: no ref_words"):
        evaluate("align", empty.dataset)


def test_json_has_every_value_and_null_where_there_is_none(three: Made) -> None:
    told = json.loads(json.dumps(plain_data(compare(three.dataset)), allow_nan=False))
    assert len(told["songs"]) == 8 and told["songs"][0]["id"] == "lost"
    assert told["songs"][0]["phone_aae_s"] is None and told["summary"]["align"]["auroc_confidence_5s"] is None
    assert {m["songs"] for m in told["means"]} == {2, 3} and {m["songs"] for m in told["shared"]} == {2}
    assert told["measures"]["aae_s"]["unit"] == "s" and told["absent"][0]["id"] == "far"


def real_songs(made: Made, folders: list[Path]) -> None:
    """Fills a data set with the annotations and LRC lyrics of real songs, their words placed by the rate rule."""
    soundfile = pytest.importorskip("soundfile")
    for folder in folders:
        with (folder / "words.csv").open(encoding="utf-8") as file:
            rows, line, truth = list(csv.DictReader(file)), 0, []
        for row in rows:
            span = {"text": row["word"], "start_s": float(row["word_start"]), "end_s": float(row["word_end"])}
            truth.append({**span, "line": line})
            line += row["line_end"] != "nan"
        lrc = (folder / "lyrics.lrc").read_text(encoding="utf-8")
        made.songs({folder.name: {"ref_words": truth}}, [REF_WORDS], lrc)
    durations = {f.name: soundfile.info(next(f.glob("audio.*"))).duration for f in folders}
    made.instance("probe", PROBE, {id: {"duration_s": seconds} for id, seconds in durations.items()})
    placed = {f.name: place_words(parse_lrc((f / "lyrics.lrc").read_text()).lines, durations[f.name]) for f in folders}
    spans = {id: [{"text": w.text, "start_s": w.start_s, "end_s": w.end_s, "line": w.line} for w in found]
             for id, found in placed.items()}  # fmt: skip
    made.instance("align.rate", ALIGN, {id: {"words": found} for id, found in spans.items()})


@pytest.mark.parametrize(
    ("globs", "rate", "characters"),
    [
        (["nc/ultrastar/*", "ultrastar/*"], (0.133, 89.1), (0.660, 61.5)),
        (["nc/jamendolyrics/*"], (0.276, 74.4), (0.715, 56.3)),
    ],
)
def test_real_songs_have_the_figures_of_the_study(
    shared_data: Path, made: Made, globs: list[str], rate: tuple[float, float], characters: tuple[float, float]
) -> None:
    folders = [path for pattern in globs for path in sorted(shared_data.glob(pattern)) if path.is_dir()]
    real_songs(made, folders)
    found = compare(made.dataset)
    told = {t.instance: (t.values["aae_s"], t.values["pco_300ms_pct"], t.values["missing"]) for t in found.totals}
    assert told["align.rate"] == (pytest.approx(rate[0], abs=0.02), pytest.approx(rate[1], abs=2), 0)
    assert told[BASELINE] == (pytest.approx(characters[0], abs=0.01), pytest.approx(characters[1], abs=0.3), 0)
    assert not found.absent
