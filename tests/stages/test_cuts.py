"""The `cuts` stage: what each method reads, keeps and drops, with words or without, on synthetic and real lyrics."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row
from autosing.pipeline.stages.cuts import DURATION, Cuts
from autosing.signal.dropped import NO_LINE, NO_LYRICS, NOT_SUNG, NOT_TRUSTED, SAME_START, TOO_SHORT
from autosing.signal.errors import RowError, UsageError
from autosing.signal.lyrics import parse_lrc
from autosing.signal.word_times import place_words

VOICE, WORDS, LINES = "voice_activity.voice_activity", "align.words", "align.lines"
Spans = list[dict[str, Any]]


def word(text: str, start_s: float, end_s: float, line: int = 0) -> dict[str, Any]:
    return {"text": text, "start_s": start_s, "end_s": end_s, "line": line, "score": 0.5}


def line(text: str, start_s: float, end_s: float, confidence: float | None = None) -> dict[str, Any]:
    told = {} if confidence is None else {"confidence": confidence}
    return {"text": text, "start_s": start_s, "end_s": end_s, **told}


def song(
    duration_s: float,
    voice: tuple[tuple[float, float], ...] = (),
    words: Spans | None = None,
    lines: Spans | None = None,
) -> Song:
    flags = np.zeros(round(duration_s * 50), np.uint8)
    for start_s, end_s in voice:
        flags[round(start_s * 50) : round(end_s * 50)] = 1
    energy = np.where(np.repeat(flags, 2), 0.1, 0.001).astype(np.float32)
    values = {DURATION: duration_s, VOICE: flags, WORDS: words, LINES: lines, "energy.energy": energy}
    return Song("a", values, {})


def row(stage: Cuts, song: Song) -> Row:
    (found,) = stage.process([song], None)
    assert not isinstance(found, RowError), found
    for column in stage.columns():
        assert column.canonical(found[column.name]) == found[column.name]
    return found


def times(spans: Spans) -> list[tuple[float, float]]:
    return [(round(s["start_s"], 6), round(s["end_s"], 6)) for s in spans]


def reasons(found: Row) -> list[tuple[str, float, float]]:
    return [(d["text"], *pair) for d, pair in zip(found["dropped"], times(found["dropped"]), strict=True)]


def assert_tiles(found: Row, duration_s: float) -> None:
    spans = sorted((s["start_s"], s["end_s"]) for s in [*found["cuts"], *found["dropped"]])
    edges = [0.0, *(end for _, end in spans)]
    assert [start for start, _ in spans] == edges[:-1] and edges[-1] == duration_s


def test_a_method_reads_what_it_looks_at_and_no_more() -> None:
    assert Cuts().reads() == (DURATION, "energy.energy", WORDS)
    assert Cuts(method="sung").reads() == (DURATION, WORDS, VOICE)
    assert Cuts(method="sung", words="").reads() == (DURATION, VOICE)
    assert Cuts(method="sung", borders="line", activity="").reads() == (DURATION, WORDS, LINES)
    assert Cuts(method="fixed", least_confidence=0.5).reads() == (DURATION, WORDS, LINES)
    assert Cuts(method="lines", words="align.ctc").reads() == (DURATION, "align.ctc.words", "align.ctc.lines")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"min_s": 5.0, "max_s": 4.0}, "0 < min_s <= max_s"),
        ({"min_s": 4.99, "max_s": 4.99}, "multiples of 0.05 s, and none lies between"),
        ({"least_sung": 0.0}, "least_sung"),
        ({"method": "lines", "words": ""}, "`words` names no instance"),
        ({"least_confidence": 0.5, "words": ""}, "`words` names no instance"),
        ({"method": "sung", "words": "", "activity": ""}, "give `activity`, `words` or both"),
        ({"after_s": -1.0}, "a margin is at least 0"),
        ({"least_confidence": 2.0}, "give 0 to 1"),
    ],
)
def test_settings_that_can_not_be_followed_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=f"cuts.*{told}"):
        Cuts(**settings)


def test_the_text_of_a_cut_is_its_words_with_a_line_for_each_line() -> None:
    words = [word("la", 0, 1), word("li", 1, 2), word("lo", 2, 4, 3), word("", 4, 4, 3), word("lu", 4, 9, 4)]
    found = row(Cuts(method="sung", max_s=4.0), song(9.0, ((0, 9),), words))
    assert [(c["text"], c["start_s"], c["end_s"]) for c in found["cuts"]] == [("la li\nlo", 0, 4)]
    assert reasons(found) == [("inside a word longer than max_s", 4, 9)]


def test_the_voice_decides_what_is_sung_and_the_words_where_it_is_not_read() -> None:
    heard = song(20.0, ((2, 8),), [word("la", 2.5, 6.0), word("li", 12.0, 16.0)])
    found = row(Cuts(method="sung"), heard)
    assert times(found["cuts"]) == [(1.9, 8.1)] and {d["text"] for d in found["dropped"]} == {NOT_SUNG}
    assert times(row(Cuts(method="sung", activity=""), heard)["cuts"]) == [(2.4, 6.1), (11.9, 16.1)]


@pytest.mark.parametrize("method", ["quiet", "fixed", "sung", "lines"])
@pytest.mark.parametrize("lyrics", ["none", "empty", "some"])
def test_every_second_is_kept_or_told_by_every_method(method: Any, lyrics: str) -> None:
    words = {"none": None, "empty": [], "some": [word("la", 3.0, 4.0), word("li", 30.0, 90.0)]}[lyrics]
    lines = {"none": None, "empty": [], "some": [line("la", 3.0, 4.0), line("li", 30.0, 90.0)]}[lyrics]
    for duration_s in (0.00625, 2.0, 26.51, 61.0):
        found = row(Cuts(method=method), song(duration_s, ((0, 1), (3, 9)), words, lines))
        spans = sorted((s["start_s"], s["end_s"]) for s in found["dropped"])
        if method == "lines":
            assert len(found["cuts"]) == (0 if lyrics != "some" or duration_s < 3 else 1 if duration_s < 30 else 2)
            assert spans[0][0] == 0 and (duration_s > 30 or spans[-1][1] == duration_s)
        else:
            assert_tiles(found, duration_s)
        assert all((cut["text"] is None) == (lyrics == "none") for cut in found["cuts"])


def test_what_fixed_pieces_leave_at_the_end_is_too_short() -> None:
    assert reasons(row(Cuts(method="fixed"), song(26.0))) == [(TOO_SHORT, 24, 26)]


def test_each_line_is_a_cut_with_its_margin_and_its_own_words_only() -> None:
    lines = [line("one", 0.05, 2.0), line("two", 2.1, 4.0), line("beyond", 99, 100), line("three", 9.0, 12.0)]
    found = row(Cuts(method="lines"), song(10.0, (), [], lines))
    told = [(c["text"], *pair) for c, pair in zip(found["cuts"], times(found["cuts"]), strict=True)]
    assert told == [("one", 0.0, 2.5), ("two", 2.0, 4.5), ("three", 8.9, 10.0)]
    assert reasons(found) == [(NO_LINE, 4.5, 8.9)]
    assert reasons(row(Cuts(method="lines"), song(10.0))) == [(NO_LYRICS, 0, 10)]


def test_of_lines_that_begin_together_the_longest_is_a_cut() -> None:
    lines = [line("la", 1.0, 1.0), line("tra la la", 1.2, 6.0), line("tra", 1.4, 3.0), line("li", 8.0, 9.0)]
    found = row(Cuts(method="lines"), song(10.0, (), [], lines))
    assert [c["text"] for c in found["cuts"]] == ["tra la la", "li"]
    assert reasons(found) == [(NO_LINE, 0, 0.9), (NOT_TRUSTED, 0.9, 1.1), (NO_LINE, 6.5, 7.9), (NO_LINE, 9.5, 10)]
    lines = [line("la", 1.0, 5.0), line("li", 4.9, 6.0), line("lo", 5.2, 6.9)]
    found = row(Cuts(method="lines", after_s=0.0), song(7.0, (), [], lines))
    assert times(found["cuts"]) == [(0.9, 5.0), (5.1, 6.9)] and (SAME_START, 5.0, 5.1) in reasons(found)


@pytest.mark.parametrize("method", ["quiet", "fixed", "sung", "lines"])
def test_no_cut_holds_a_line_whose_alignment_is_not_trusted(method: Any) -> None:
    lines = [line("la", 1, 5, 0.9), line("li", 6, 10, 0.1), line("lo", 12, 16, 0.8), line("lu", 17, 20, None)]
    lines[3]["confidence"] = None
    heard = song(24.0, ((0, 24),), [word("la", 1, 5), word("li", 6, 10), word("lo", 12, 16), word("lu", 17, 20)], lines)
    found = row(Cuts(method=method, max_s=6.0, least_confidence=0.5), heard)
    assert found["cuts"] and NOT_TRUSTED in {d["text"] for d in found["dropped"]}
    assert all(c["end_s"] <= 6.0 or c["start_s"] >= 10.0 for c in found["cuts"]) or method == "lines"
    assert not any("li" in c["text"] or "lu" in c["text"] for c in found["cuts"])
    if method != "lines":
        assert_tiles(found, 24.0)


def test_confidence_that_was_not_computed_is_an_error_of_the_song() -> None:
    stage = Cuts(method="lines", least_confidence=0.5)
    for told in ({}, {"confidence": None}):
        (found,) = stage.process([song(9.0, (), [], [line("la", 1, 2) | told])], None)
        assert isinstance(found, RowError) and "set least_confidence to 0" in str(found)
    assert row(stage, song(9.0))["cuts"] == [] == row(stage, song(9.0, (), [], []))["cuts"]


def test_no_word_of_real_songs_is_split_and_nearly_all_that_is_sung_is_kept(shared_data: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    stage = Cuts(method="sung", max_s=30.0, activity="")
    kept, sung = 0.0, 0.0
    for folder in sorted(p.parent for p in shared_data.glob("**/words.csv")):
        duration_s = soundfile.info(next(folder.glob("audio.*"))).duration
        placed = place_words(parse_lrc((folder / "lyrics.lrc").read_text()).lines, duration_s)
        words = [word(w.text, w.start_s, w.end_s, w.line) for w in placed]
        found = row(stage, song(duration_s, (), words))
        assert_tiles(found, duration_s)
        inside = [w for w in words for c in found["cuts"] if c["start_s"] <= w["start_s"] and w["end_s"] <= c["end_s"]]
        outside = [
            w for w in words for d in found["dropped"] if d["start_s"] < w["end_s"] and w["start_s"] < d["end_s"]
        ]
        texts = " ".join(c["text"] for c in found["cuts"]).split()
        assert len(texts) == len(" ".join(w["text"] for w in inside).split())
        assert len(inside) + len({id(w) for w in outside}) == len(words)
        kept += sum(w["end_s"] - w["start_s"] for w in inside)
        sung += sum(w["end_s"] - w["start_s"] for w in words)
    assert sung > 600 and kept > 0.9 * sung
