"""What was kept, dropped and why, as bars and as a table of the worst songs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from autosing.page.numerals import duration, number, songs, whole
from autosing.page.svg import Scale, drawing, tag
from autosing.pipeline.report.outcomes import ERROR, EXCLUDED, INLIERS, NOT_COMPUTED, OFFSET, WEAKEST, Outcome, Totals
from autosing.signal import dropped

BAR, THICK = 1120.0, 22.0
SMALL_BAR, THIN = 120.0, 10.0
KEPT = "kept"
ALIGNMENT = {OFFSET: "offset", INLIERS: "inliers", WEAKEST: "weakest line"}
COLOURS = {
    KEPT: "kept",
    dropped.NOT_SUNG: "unsung",
    dropped.NO_LINE: "unsung",
    dropped.TOO_SHORT: "short",
    dropped.TOO_LITTLE: "little",
    dropped.LONG_WORD: "long",
    dropped.LONG_LINE: "long",
    dropped.NO_PAUSE: "long",
    dropped.NOT_TRUSTED: "doubtful",
    dropped.LEFT_OVER: "left-over",
    dropped.SAME_START: "left-over",
    dropped.NO_LYRICS: "no-lyrics",
    EXCLUDED: "absent",
    NOT_COMPUTED: "absent",
}
"""Class of a reason's colour; reasons of one colour belong to different methods."""


def colour_of(reason: str) -> str:
    """Returns the class of a reason's colour."""
    return COLOURS.get(reason, "own" if reason.startswith(ERROR) else "unknown")


@dataclass(frozen=True)
class Share:
    """One line of the key of a bar: its colour, what it is, how long, which share of all, and of how many songs."""

    colour: str
    reason: str
    length: str
    share: str
    songs: str


@dataclass(frozen=True)
class Line:
    """One song of the table, in words.

    Args:
        id: its id.
        length: its length.
        bar: what of it is kept and why the rest is not; None where no cuts were computed.
        kept: the share that is kept.
        dropped: reasons with their lengths.
        alignment: a cell for each of `ALIGNMENT`.
        is_derailed: whether its alignment is lost.
        flags: what is unusual in its recording.
        errors: stage and message of each error.
    """

    id: str
    length: str
    bar: Markup | None
    kept: str
    dropped: str
    alignment: Sequence[str]
    is_derailed: bool
    flags: str
    errors: Sequence[str]


@dataclass(frozen=True)
class KeptView:
    """What the page tells of one instance of cuts.

    Args:
        instance: its name, "" where there are no cuts.
        verdict: how much is kept, in a sentence.
        bar: kept and dropped hours; None where there are no cuts or no seconds.
        shares: the key of the bar.
        unusual: how many songs have each flag, in words.
        alignment: names of the columns of the table that tell of the alignment; () where nothing is known of it.
        lines: the worst songs.
        more: how many songs of which something is dropped or unusual the table leaves out.
    """

    instance: str
    verdict: str
    bar: Markup | None
    shares: Sequence[Share]
    unusual: str
    alignment: Sequence[str]
    lines: Sequence[Line]
    more: int


def kept_view(total: Totals) -> KeptView:
    """Returns what the page tells of the totals."""
    parts = _parts(total.kept_s, total.dropped)
    is_aligned = any(outcome.alignment for outcome in total.worst)
    return KeptView(
        total.instance,
        _verdict(total),
        bar(parts, BAR, THICK, _verdict(total)) if total.instance and total.seconds else None,
        list(_shares(total, parts)) if total.instance else [],
        ", ".join(f"{songs(n)} {name}" for name, n in total.flags.most_common()),
        tuple(ALIGNMENT.values()) if is_aligned else (),
        [_line(outcome, is_aligned) for outcome in total.worst],
        total.bad - len(total.worst),
    )


def _verdict(total: Totals) -> str:
    if not total.instance:
        return "No cuts were computed yet."
    n = total.unmeasured
    unknown = f" {songs(n)} of unknown length {'is' if n == 1 else 'are'} not in these figures." if n else ""
    kept = f"{duration(total.kept_s)} of {duration(total.seconds)} are in cuts"
    return f"{kept}: {_percent(total.kept_s, total.seconds)}.{unknown}"


def _percent(part: float, total: float) -> str:
    return number(100 * part / total if total else 0.0, "%", digits=2 if part < 0.1 * total else 3)


def _parts(kept_s: float, reasons: Mapping[str, float]) -> dict[str, float]:
    """Returns seconds by what became of them: what is kept, then the reasons, the longest first."""
    return {KEPT: kept_s} | dict(sorted(reasons.items(), key=lambda entry: -entry[1]))


def _shares(total: Totals, parts: Mapping[str, float]) -> Iterator[Share]:
    for reason, seconds in parts.items():
        n = "" if reason == KEPT else whole(total.songs_by_reason[reason])
        told = (duration(seconds), _percent(seconds, total.seconds)) if seconds else ("unknown", "")
        yield Share(colour_of(reason), reason, *told, n)


def bar(parts: Mapping[str, float], width: float, height: float, alt: str) -> Markup:
    """Returns seconds by reason as one bar of shares, each with its length under the pointer."""
    x = Scale(0, max(sum(parts.values()), 1e-9), 0, width)
    content, left_s = [], 0.0
    for reason, seconds in parts.items():
        told = tag("title", f"{reason}: {duration(seconds)}")
        if seconds > 0:
            box = {"x": x(left_s), "width": x(seconds), "height": height, "class_": colour_of(reason)}
            content.append(tag("rect", told, **box))
        left_s += seconds
    return drawing(content, width, height, alt, preserveAspectRatio="none")


def _line(outcome: Outcome, is_aligned: bool) -> Line:
    parts = _parts(outcome.kept_s or 0.0, outcome.dropped)
    kept = _percent(outcome.kept_s or 0.0, outcome.seconds or 0.0)
    is_measured = outcome.kept_s is not None and bool(outcome.seconds)
    return Line(
        outcome.id,
        duration(outcome.seconds) if outcome.seconds else "unknown",
        bar(parts, SMALL_BAR, THIN, f"{kept} kept") if is_measured else None,
        kept if is_measured else "",
        ", ".join(f"{reason} {duration(s)}" for reason, s in parts.items() if reason != KEPT and s > 0),
        [_cell(outcome, name) for name in ALIGNMENT] if is_aligned else (),
        outcome.derailed,
        ", ".join(told for _, told in outcome.flags),
        [f"{instance}: {error}" for instance, error in outcome.errors.items()],
    )


def _cell(outcome: Outcome, name: str) -> str:
    unit = "s" if name == OFFSET else ""
    return number(outcome.alignment[name], unit, digits=2) if name in outcome.alignment else ""
