"""`autosing eval align`: word times beside `ref_words`, over all words and over those that no line stamp gives.

The first word of a line starts where LRC lyrics say that the line does, so only the others tell how good an aligner is;
both stand side by side. A baseline that needs nothing but the LRC lyrics, `characters`, is compared as well.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autosing.evaluation.comparison import Absent, Comparison, ErrorAxis, Measure, Row, Values, log_limits
from autosing.evaluation.songs import (
    DURATION,
    LYRICS,
    Case,
    Source,
    compared,
    outcome,
    outcomes,
)
from autosing.evaluation.words import (
    LOST_S,
    NO_LINES,
    LineErrors,
    line_errors,
    match_words,
    phone_measures,
    word_measures,
    words_back,
)
from autosing.pipeline.dataset import INDEX, PROBE, Dataset
from autosing.signal.errors import RowError
from autosing.signal.lyrics import parse_lrc
from autosing.signal.word_times import characters_proportional
from autosing.training.metrics import auroc

STAGE, BASELINE = "align", "characters"
COLUMNS, OPTIONAL = ("words",), ("lines", "derailed", "phones")
TRUTHS = ("ref_words", "ref_phones")
LATER = "later_"
"""Before the keys of what is measured over words that are not the first of their line."""
FEW_LOST_PCT = 5.0

AXIS = ErrorAxis(
    "word onsets",
    "s",
    ("early", "late"),
    log_limits(0.01, 30, (0.01, 0.03, 0.1, 0.2, 0.3, 1, 3, 5, 10, 30)),
    (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
    tuple(np.linspace(-1, 1, 41).tolist()),
)


def _onsets(group: str, prefix: str) -> tuple[Measure, ...]:
    """Returns the measures of word onsets over a group of words."""
    over = [
        Measure(f"{prefix}over_{s:g}s_pct", f">{s:g}s", f"words more than {s:g} s off", "%", 1, group) for s in LOST_S
    ]
    within = [
        Measure(f"{prefix}pco_{ms}ms_pct", f"PCO{ms / 1000:g}".replace("O0", "O"), f"words at most {ms} ms off", "%", 1,
                group, better="high")
        for ms in (100, 200, 300)
    ]  # fmt: skip
    return (
        Measure(f"{prefix}aae_s", "AAE", "average absolute error of the onsets", "s", 3, group),
        Measure(f"{prefix}median_s", "median", "median absolute error of the onsets", "s", 3, group),
        *within,
        *over,
        Measure(f"{prefix}perceptual", "perc", "how synchronous karaoke singers find it, at most 1", "", 3, group,
                better="high"),
    )  # fmt: skip


MEASURES = (
    Measure("words", "words", "true words", "", 0, total="sum", better=""),
    Measure("missing", "miss", "true words that are not among the estimated ones; no measure counts them", "", 0,
            total="sum"),
    Measure("back", "back", "estimated words that begin before the one before them", "", 0, total="sum"),
    *_onsets("all words", ""),
    *_onsets("without the first of a line", LATER),
    Measure("phone_aae_s", "AAE", "average absolute error of the phones' onsets", "s", 3, "phones"),
    Measure("phone_pco_50ms_pct", "PCO.05", "phones at most 50 ms off", "%", 1, "phones", better="high"),
    Measure("phones_missing", "miss", "true phones that are not among the estimated ones", "", 0, "phones", "sum"),
)  # fmt: skip


def _of_lines(s: float) -> tuple[Measure, ...]:
    """Returns what is told of derailed lines: those whose words are more than `s` seconds off by median."""
    return (
        Measure(f"derailed_lines_{s:g}s", f"derailed >{s:g}s", f"lines more than {s:g} s off by median", "", 0),
        Measure(f"auroc_confidence_{s:g}s", f"AUROC confidence >{s:g}s",
                "chance that a derailed line has a lower confidence than another one", better="high"),
        Measure(f"auroc_flag_{s:g}s", f"AUROC flag >{s:g}s",
                "chance that `derailed` tells the song of a derailed line from that of another one, ties counted half",
                better="high"),
    )  # fmt: skip


SUMMARY = (
    Measure("steady_songs_pct", "steady songs", f"songs with at most {FEW_LOST_PCT:g} % of words > 5 s off",
            "%", 1, better="high"),
    Measure("worst_ratio", f"worst / {BASELINE}", f"largest AAE of a song relative to that of {BASELINE}", "", 2),
    Measure("lines", "lines", "lines with a matched word", "", 0, better=""),
    *(measure for s in LOST_S for measure in _of_lines(s)),
)  # fmt: skip


@dataclass(frozen=True)
class _Scored:
    """What is known of one instance in one song: its row, its lines where words are true, and whether it is flagged."""

    row: Row
    lines: LineErrors
    flag: bool | None


def source_of(instances: Sequence[str]) -> Source:
    """Returns what is read of each song."""
    return Source(instances, COLUMNS, TRUTHS, OPTIONAL, (LYRICS, DURATION))


def compare(dataset: Dataset, wanted: Sequence[str] = ()) -> Comparison:
    """Returns how far the words of each instance of `align`, and of the baseline, are off.

    Raises:
        UsageError: a wanted instance is of another stage.
        MissingColumn: there is no such instance, or no truth.
    """
    found = compared(dataset, STAGE, wanted, source_of, _outcomes)
    scored = found.made
    has_baseline = any(s.row.instance == BASELINE for s in scored)
    names = [*found.instances, BASELINE] if has_baseline else found.instances
    return Comparison(
        STAGE,
        dataset.url,
        names,
        found.settings,
        MEASURES,
        "aae_s" if any(not math.isnan(s.row.values["aae_s"]) for s in scored) else "phone_aae_s",
        [s.row for s in scored],
        [song for song in found.absent if has_baseline or song.instance != BASELINE],
        SUMMARY,
        {name: _summary(name, scored) for name in names},
        AXIS,
    )


def _outcomes(case: Case, source: Source) -> Iterator[_Scored | Absent]:
    found = outcomes(case, source, lambda song, name: _scored(song, name, _estimate(song, name)))
    yield from found
    if case.truth("ref_words") and not case.is_excluded:
        if not case.value(INDEX, "lrc_lyrics") or case.value(PROBE, "duration_s") is None:
            yield Absent(*case.song, BASELINE, "no lrc_lyrics, or no probe.duration_s")
        else:
            yield outcome(case, BASELINE, (), lambda song, name: _scored(song, name, baseline(song)))


def _estimate(case: Case, instance: str) -> Mapping[str, Any]:
    return {column: case.value(instance, column) for column in (*COLUMNS, *OPTIONAL)}


def baseline(case: Case) -> Mapping[str, Any]:
    """Returns the words of a song's LRC lyrics, spread over their lines by their characters."""
    lines = parse_lrc(case.value(INDEX, "lrc_lyrics")).lines
    words = characters_proportional(lines, case.value(PROBE, "duration_s"))
    return {"words": [{"text": w.text, "start_s": w.start_s, "end_s": w.end_s, "line": w.line} for w in words]}


def _scored(case: Case, instance: str, estimate: Mapping[str, Any]) -> _Scored:
    true_words, true_phones, phones = case.truth("ref_words"), case.truth("ref_phones"), estimate.get("phones")
    if not true_words and not (true_phones and phones):
        raise RowError("it tells no phones, and the song has no ref_words to compare its words with")
    values = {m.key: math.nan for m in MEASURES}
    if true_phones and phones:
        values |= phone_measures(phones, true_phones)
    if not true_words:
        return _Scored(Row(*case.song, instance, values), NO_LINES, None)
    found = match_words(estimate["words"], true_words)
    later = ~found.is_first
    values |= {
        "words": float(found.n_true),
        "missing": float(found.n_true - len(found.errors_s)),
        "back": float(words_back(found)),
        **word_measures(found.errors_s, found.target_s),
        **{LATER + k: v for k, v in word_measures(found.errors_s[later], found.target_s[later]).items()},
    }
    row = Row(*case.song, instance, values, AXIS.spread(found.errors_s))
    return _Scored(row, line_errors(found, estimate["words"], estimate.get("lines")), estimate.get("derailed"))


def _summary(instance: str, scored: Sequence[_Scored]) -> Values:
    mine = [found for found in scored if found.row.instance == instance]
    others = {found.row.id: found.row.values["aae_s"] for found in scored if found.row.instance == BASELINE}
    ratios = [f.row.values["aae_s"] / others[f.row.id] for f in mine if others.get(f.row.id)]
    steady = [v <= FEW_LOST_PCT for f in mine if not math.isnan(v := f.row.values["over_5s_pct"])]
    return {
        "steady_songs_pct": 100 * float(np.mean(steady)) if steady else math.nan,
        "worst_ratio": max(ratios, default=math.nan),
        "lines": float(sum(len(f.lines.off_s) for f in mine)),
        **{key: value for s in LOST_S for key, value in _derailment(mine, s).items()},
    }


def _derailment(mine: Sequence[_Scored], threshold_s: float) -> Values:
    """Returns how many lines are derailed, and how well confidence and flag tell which."""
    lost = [found.lines.off_s > threshold_s for found in mine]
    flags = [np.full(len(f.lines.off_s), math.nan if f.flag is None else float(f.flag)) for f in mine]
    return {
        f"derailed_lines_{threshold_s:g}s": float(sum(map(np.count_nonzero, lost))),
        f"auroc_confidence_{threshold_s:g}s": _auroc([-found.lines.confidence for found in mine], lost),
        f"auroc_flag_{threshold_s:g}s": _auroc(flags, lost),
    }


def _auroc(scores: Sequence[Any], positive: Sequence[Any]) -> float:
    if not scores:
        return math.nan
    joined, truths = np.concatenate(scores), np.concatenate(positive)
    known = np.isfinite(joined)
    return auroc(joined[known], truths[known]) if known.any() else math.nan
