"""What became of each song: how much of it is in cuts, why the rest is not, and what else is wrong with it."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from autosing.page.numerals import number
from autosing.pipeline.columnfile import INHERITED
from autosing.pipeline.dataset import PROBE, Dataset, Partition, SongRow
from autosing.pipeline.schema import Column
from autosing.signal.intervals import union

EXCLUDED, NOT_COMPUTED, NO_REASON = "excluded", "not computed", "no reason is stored"
ERROR = "error: "
"""Begins the reason of a song whose cuts an error of that stage prevents."""

DURATION = f"{PROBE}.duration_s"
DERAILED = "derailed"
OFFSET, INLIERS, WEAKEST = "offset_s", "inlier_ratio", "weakest_line"


class Limit(NamedTuple):
    """What a recording is called whose value is below `low` or above `high`; shares are told in %."""

    told: str
    low: float
    high: float
    unit: str


LIMITS = {
    "loudness_lufs": Limit("very quiet", -45.0, np.inf, "LUFS"),
    "clipped_ratio": Limit("clipped", -np.inf, 1e-3, "%"),
    "silence_ratio": Limit("mostly silent", -np.inf, 0.6, "%"),
    "snr_db": Limit("noisy or dense", 10.0, np.inf, "dB"),
    "bandwidth_hz": Limit("narrow band", 7000.0, np.inf, "Hz"),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one song.

    Args:
        id: its id.
        seconds: its length; None where it is not known.
        kept_s: how much of it lies in cuts; None where no cuts were computed anywhere.
        dropped: seconds by reason.
        derailed: whether its alignment says that it is lost.
        alignment: what is known of its alignment: `offset_s`, `inlier_ratio`, and the lowest confidence of a line.
        flags: name and value in words of what is unusual in its recording.
        errors: error by instance, where it arose.
    """

    id: str
    seconds: float | None
    kept_s: float | None
    dropped: Mapping[str, float]
    derailed: bool = False
    alignment: Mapping[str, float] = field(default_factory=dict)
    flags: Sequence[tuple[str, str]] = ()
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def kept_share(self) -> float:
        """The share of the song that is kept, 0 where its length is not known."""
        return (self.kept_s or 0.0) / self.seconds if self.seconds else 0.0

    @property
    def was_cut(self) -> bool:
        """Whether it has cuts, be they none: nothing kept them from being computed and used."""
        why_not = (r in (EXCLUDED, NOT_COMPUTED) or r.startswith(ERROR) for r in self.dropped)
        return self.kept_s is not None and not any(why_not)

    @property
    def is_bad(self) -> bool:
        """Whether something of the song is dropped or unusual, but for songs that were excluded on purpose."""
        is_whole = self.kept_s is None or not any(self.dropped.values())
        is_plain = is_whole and not (self.derailed or self.flags or self.errors)
        return not is_plain and EXCLUDED not in self.dropped

    @property
    def badness(self) -> tuple[bool, bool, bool, float, int, float]:
        """Orders songs, the worst first: lost to an error, derailed, little kept, much unusual, long."""
        is_lost = bool(self.errors) and not self.kept_s
        return (
            not is_lost,
            not self.derailed,
            not self.errors,
            self.kept_share,
            -len(self.flags),
            -(self.seconds or 0),
        )


@dataclass
class Totals:
    """What became of the songs of a data set.

    Args:
        instance: whose cuts these are, "" where there are none.
        songs: how many songs there are.
        bad: of how many something is dropped or unusual.
        unmeasured: how many are of unknown length.
        seconds: length of the others.
        kept_s: how much of it lies in cuts.
        dropped: seconds by reason.
        songs_by_reason: of how many songs something was dropped, by reason.
        flags: how many songs have each flag.
        worst: the songs that one should look at, worst first.
    """

    instance: str
    songs: int = 0
    bad: int = 0
    unmeasured: int = 0
    seconds: float = 0.0
    kept_s: float = 0.0
    dropped: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    songs_by_reason: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    worst: Sequence[Outcome] = ()

    def counted(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Yields the outcomes and adds each of them."""
        for outcome in outcomes:
            self.songs += 1
            self.bad += outcome.is_bad
            self.unmeasured += outcome.seconds is None
            self.seconds += outcome.seconds or 0.0
            self.kept_s += outcome.kept_s or 0.0
            for reason, seconds in outcome.dropped.items():
                self.dropped[reason] += seconds
            self.songs_by_reason.update(outcome.dropped.keys())
            self.flags.update([name for name, _ in outcome.flags] + [DERAILED] * outcome.derailed)
            yield outcome


def totals(dataset: Dataset, n_worst: int) -> list[Totals]:
    """Returns what became of the songs, for each instance of cuts; one pass, and memory for the worst songs only."""
    found = []
    for instance in _cut_instances(dataset) or [""]:
        total = Totals(instance)
        counted = (o for o in total.counted(outcomes(dataset, instance)) if o.is_bad)
        total.worst = heapq.nsmallest(n_worst, counted, key=lambda outcome: outcome.badness)
        found.append(total)
    return found


def _cut_instances(dataset: Dataset) -> list[str]:
    found = {name for partition in dataset.partitions for name in partition.instances() if _cuts_of(partition, name)}
    return sorted(found, key=lambda name: (len(name), name))


def _cuts_of(partition: Partition, instance: str) -> list[str]:
    """Returns the addresses of an instance's cuts and of what it dropped."""
    if instance not in partition.instances():
        return []
    names = {column.name for column in partition.columns(instance)}
    return [f"{instance}.{name}" for name in ("cuts", "dropped") if name in names] if "cuts" in names else []


def outcomes(dataset: Dataset, instance: str) -> Iterator[Outcome]:
    """Yields what became of each song by an instance of cuts; "" asks for all but the cuts."""
    for partition in dataset.partitions:
        cuts = _cuts_of(partition, instance)
        told = _told(partition)
        probed = [DURATION] if PROBE in partition.instances() else []
        errors = [f"{name}.error" for name in partition.instances()]
        for row in partition.rows([*probed, *cuts, *told.values(), *errors]):
            yield _outcome(row, instance, cuts, told, row.id in dataset.excluded)


def _told(partition: Partition) -> dict[str, str]:
    """Returns by name the addresses of values that judge a song; of each the instance with the shortest name."""
    found: dict[str, str] = {}
    for instance in sorted(partition.instances(), key=lambda name: (len(name), name)):
        for column in partition.columns(instance):
            if column.name in {DERAILED, OFFSET, INLIERS, *LIMITS} or _has_confidence(column):
                found.setdefault(column.name, f"{instance}.{column.name}")
    return found


def _has_confidence(column: Column) -> bool:
    is_lines = column.name == "lines" and pa.types.is_list(column.dtype)
    return is_lines and column.dtype.value_type.get_field_index("confidence") >= 0


def _outcome(row: SongRow, instance: str, cuts: Sequence[str], told: Mapping[str, str], is_excluded: bool) -> Outcome:
    seconds = row.values.get(DURATION)
    is_told = bool(instance) or is_excluded
    kept_s, dropped = _kept(row, instance, cuts, is_excluded, seconds or 0.0) if is_told else (None, {})
    values = {name: row.values[address] for name, address in told.items() if row.values[address] is not None}
    return Outcome(
        row.id,
        seconds,
        kept_s,
        dropped,
        bool(values.get(DERAILED)),
        dict(_alignment(values)),
        list(_flags(values)),
        {name: error for name, error in row.errors.items() if not error.startswith(INHERITED)},
    )


def _kept(
    row: SongRow, instance: str, cuts: Sequence[str], is_excluded: bool, seconds: float
) -> tuple[float, dict[str, float]]:
    """Returns how many seconds are kept, and those that are not by reason."""
    if is_excluded or not cuts or instance in row.errors:
        reason = EXCLUDED if is_excluded else NOT_COMPUTED if not cuts else _origin(instance, row.errors[instance])
        return 0.0, {reason: seconds}
    kept = union(np.array([(cut["start_s"], cut["end_s"]) for cut in row.values[cuts[0]]]).reshape(-1, 2))
    kept_s = float((kept[:, 1] - kept[:, 0]).sum())
    if len(cuts) == 1:
        return kept_s, {NO_REASON: seconds - kept_s} if seconds > kept_s else {}
    dropped: dict[str, float] = {}
    for piece in row.values[cuts[1]]:
        dropped[piece["text"]] = dropped.get(piece["text"], 0.0) + piece["end_s"] - piece["start_s"]
    return kept_s, dropped


def _origin(instance: str, error: str) -> str:
    """Returns the reason that names the stage where an error arose."""
    arose = error.removeprefix(INHERITED).partition(":")[0] if error.startswith(INHERITED) else instance
    return ERROR + arose


def _alignment(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    yield from ((name, float(values[name])) for name in (OFFSET, INLIERS) if name in values)
    sure = [line["confidence"] for line in values.get("lines", ()) if line["confidence"] is not None]
    if sure:
        yield WEAKEST, min(sure)


def _flags(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, limit in LIMITS.items():
        if name in values and not limit.low <= values[name] <= limit.high:
            value = values[name] * (100 if limit.unit == "%" else 1)
            yield limit.told, f"{limit.told} ({number(value, limit.unit, digits=2)})"
