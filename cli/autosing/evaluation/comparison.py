"""What every evaluation comes to: measures by song and instance, their means, and the songs that have none."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Values = Mapping[str, float]


@dataclass(frozen=True)
class Measure:
    """A column of the table.

    Args:
        key: its name in JSON, with its unit.
        title: what stands above it.
        meaning: one sentence.
        unit: of the numbers, "" for none.
        digits: decimals that are shown.
        group: what the measures beside it have in common, shown above them.
        total: what is told of all songs.
        better: which values are the better ones, "" where neither is.
    """

    key: str
    title: str
    meaning: str
    unit: str = ""
    digits: int = 3
    group: str = ""
    total: Literal["mean", "sum"] = "mean"
    better: Literal["low", "high", ""] = "low"


@dataclass(frozen=True)
class Spread:
    """How the errors of one song are spread over an `ErrorAxis`, as shares from 0 to 1.

    within: (G,) at most as large as each limit.
    bins: (B,) in each bin of signed errors.
    """

    within: Doubles
    bins: Doubles


@dataclass(frozen=True)
class ErrorAxis:
    """Where errors are counted, so that a curve over many songs takes no more memory than one.

    Args:
        what: whose errors they are, in the plural.
        unit: of the errors.
        sides: what errors below and above 0 are called.
        limits: (G,) rising, of the cumulative curve.
        marks: values that the curve's axis names.
        edges: (B + 1,) rising, of the histogram.
    """

    what: str
    unit: str
    sides: tuple[str, str]
    limits: tuple[float, ...]
    marks: tuple[float, ...]
    edges: tuple[float, ...]

    def spread(self, errors: npt.NDArray[Any]) -> Spread | None:
        """Returns how signed errors (N,) are spread; None where there is none."""
        known = errors[np.isfinite(errors)].astype(np.float64)
        if not len(known):
            return None
        # A limit takes in what equals it up to rounding, as the measures do.
        within = np.searchsorted(np.sort(np.abs(known)), np.array(self.limits) * (1 + 1e-9), side="right")
        return Spread(within / len(known), np.histogram(known, self.edges)[0] / len(known))


def log_limits(low: float, high: float, marks: Sequence[float], steps: int = 60) -> tuple[float, ...]:
    """Returns limits of equal ratio from `low` to `high`, and the marks between them."""
    between = (float(f"{v:.6g}") for v in np.geomspace(low, high, steps))
    return tuple(sorted({*between, *(m for m in marks if low <= m <= high)}))


@dataclass(frozen=True)
class Row:
    """What one instance comes to in one song; NaN where a measure has no value by nature."""

    id: str
    partition: int
    instance: str
    values: Values
    spread: Spread | None = None


@dataclass(frozen=True)
class Absent:
    """A song that was not compared, and why; `instance` is "" where it has no truth."""

    id: str
    partition: int
    instance: str
    reason: str


@dataclass(frozen=True)
class Total:
    """What an instance comes to over songs: how many, and a value for each measure."""

    instance: str
    songs: int
    values: Values


@dataclass(frozen=True)
class Comparison:
    """An evaluation.

    Args:
        task: its name.
        url: the data set.
        instances: what was compared, in the order of the table; baselines last.
        settings: what each computed instance was computed with.
        measures: the columns of the table.
        worst_by: key of the measure that orders the songs.
        rows: in the order of the data set.
        absent: songs that were not compared.
        summary_measures: what is told of all songs together.
        summary: their values by instance.
        axis: what the spreads of the rows are over; None where there are none.
        notes: what a reader must know, a sentence each.
    """

    task: str
    url: str
    instances: Sequence[str]
    settings: Mapping[str, str]
    measures: Sequence[Measure]
    worst_by: str
    rows: Sequence[Row]
    absent: Sequence[Absent] = ()
    summary_measures: Sequence[Measure] = ()
    summary: Mapping[str, Values] = field(default_factory=dict)
    axis: ErrorAxis | None = None
    notes: Sequence[str] = ()

    @cached_property
    def worst(self) -> Measure:
        """The measure that orders the songs."""
        return next(m for m in self.measures if m.key == self.worst_by)

    @cached_property
    def shown(self) -> list[Measure]:
        """The measures that have a value in some song."""
        return [m for m in self.measures if any(not math.isnan(row.values[m.key]) for row in self.rows)]

    @cached_property
    def summary_shown(self) -> list[Measure]:
        """The measures over all songs together that have a value for some instance."""
        return [m for m in self.summary_measures if any(not math.isnan(v[m.key]) for v in self.summary.values())]

    @cached_property
    def by_song(self) -> dict[str, list[Row]]:
        """The rows by song, the worst song by the first of its instances first, in the order of the instances."""
        order = {name: i for i, name in enumerate(self.instances)}
        songs: dict[str, list[Row]] = {}
        for row in sorted(self.rows, key=lambda r: order[r.instance]):
            songs.setdefault(row.id, []).append(row)
        return dict(sorted(songs.items(), key=lambda song: self._badness(song[1][0]), reverse=True))

    def _badness(self, row: Row) -> float:
        value = row.values[self.worst_by]
        return -math.inf if math.isnan(value) else -value if self.worst.better == "high" else value

    @cached_property
    def common(self) -> frozenset[str]:
        """The songs in which all instances could be compared."""
        return frozenset(id for id, rows in self.by_song.items() if len(rows) == len(self.instances))

    @cached_property
    def totals(self) -> list[Total]:
        """Every instance over all its songs."""
        return [self._total(name, self.by_song) for name in self.instances]

    @cached_property
    def common_totals(self) -> list[Total]:
        """Every instance over the songs that all have; empty where these are all songs, or none."""
        if len(self.common) in (0, len(self.by_song)):
            return []
        return [self._total(name, self.common) for name in self.instances]

    def _total(self, instance: str, ids: Collection[str]) -> Total:
        rows = [row for row in self.rows if row.instance == instance and row.id in ids]
        return Total(instance, len(rows), {m.key: _total_of(m, rows) for m in self.measures})

    def spread(self, instance: str) -> Spread | None:
        """Returns how an instance's errors are spread, every song weighing the same; None where it has none."""
        found = [row.spread for row in self.rows if row.instance == instance and row.spread is not None]
        if not found:
            return None
        return Spread(np.mean([s.within for s in found], axis=0), np.mean([s.bins for s in found], axis=0))

    def reasons(self) -> list[tuple[str, str, list[str]]]:
        """Returns instance, reason and ids of the songs that were not compared, the most frequent reason first."""
        groups: dict[tuple[str, str], list[str]] = {}
        for absent in self.absent:
            groups.setdefault((absent.instance, absent.reason), []).append(absent.id)
        found = [(instance, reason, ids) for (instance, reason), ids in groups.items()]
        return sorted(found, key=lambda group: -len(group[2]))


def _total_of(measure: Measure, rows: Sequence[Row]) -> float:
    known = [v for row in rows if not math.isnan(v := row.values[measure.key])]
    if not known:
        return math.nan
    total: Callable[[Sequence[float]], Any] = np.sum if measure.total == "sum" else np.mean
    return float(total(known))
