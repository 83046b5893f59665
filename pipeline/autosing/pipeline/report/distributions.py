"""How the values of the songs are distributed, as small charts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from autosing.page.charts import bars, histogram
from autosing.page.numerals import number, songs, whole
from autosing.pipeline.dataset import INDEX
from autosing.pipeline.report.songs import Voice
from autosing.pipeline.report.tables import Stored

if TYPE_CHECKING:
    import polars as pl

NAMED = ("index.singer", "index.artist", "index.language", "index.split", "probe.codec")
MOST_NAMES = 8
FEW_VALUES = 6


@dataclass(frozen=True)
class Chart:
    """A picture with what it shows, the address of the column and the figures in words."""

    title: str
    address: str
    picture: Markup
    told: str


def value_charts(values: "pl.DataFrame", columns: Sequence[Stored]) -> Iterator[Chart]:
    """Yields a histogram of every value column that differs between songs; counts of samples repeat the duration."""
    for stored in columns:
        column, address = stored.column, f"{stored.instance}.{stored.column.name}"
        if address not in values.columns or column.unit == "samples":
            continue
        found = values[address].drop_nulls()
        if found.n_unique() < 2 or not found.dtype.is_numeric():
            continue
        if found.dtype.is_integer() and found.n_unique() <= FEW_VALUES:
            yield _counts(found.cast(str), _title(stored), address, column.unit)
        else:
            yield chart_of(found.cast(float).to_numpy(), _title(stored), address, column.unit)


def _title(stored: Stored) -> str:
    """Returns the meaning of a column without its finer points."""
    return stored.column.meaning.split(";")[0] or stored.column.name


def constants(values: "pl.DataFrame", columns: Sequence[Stored]) -> list[str]:
    """Returns the measured values that all songs have in common, as `meaning: value`."""
    found = []
    for stored in columns:
        address = f"{stored.instance}.{stored.column.name}"
        is_measured = address in values.columns and stored.instance != INDEX and stored.column.unit != "samples"
        single = values[address].drop_nulls().unique().to_list() if is_measured else []
        if len(single) == 1:
            told = single[0] if isinstance(single[0], str) else number(single[0], stored.column.unit)
            found.append(f"{_title(stored)}: {told}")
    return found


def name_charts(values: "pl.DataFrame") -> Iterator[Chart]:
    """Yields how many songs each singer, language, split or coding has; equal columns only once."""
    shown: list[pl.Series] = []
    for address in NAMED:
        if address not in values.columns or values[address].drop_nulls().n_unique() < 2:
            continue
        names = values[address].cast(str)
        if not any(names.equals(other) for other in shown):
            shown.append(names)
            yield _counts(names, address.rpartition(".")[2], address)


def voice_charts(voices: Sequence[Voice]) -> Iterator[Chart]:
    """Yields how high, how wide and how much is sung."""
    if not voices:
        return
    median, semitones, share = np.array([(v.median_f0_hz, v.range_semitones, v.voiced_share) for v in voices]).T
    yield chart_of(median, "median F0 of a song", "f0_hz", "Hz")
    yield chart_of(semitones, "F0 range of a song, 5th to 95th percentile", "f0_hz", "semitones")
    yield chart_of(100 * share, "voiced share of a song", "f0_hz", "%")


def chart_of(values: npt.NDArray[np.float64], title: str, address: str, unit: str) -> Chart:
    """Returns the histogram of values (N,) with their median and range in words."""
    low, median, high = (float(v) for v in np.percentile(values, [0, 50, 100]))
    told = f"{songs(len(values))}, {number(low)} to {number(high, unit)}, median {number(median, unit)}"
    return Chart(title, address, histogram(values, unit, f"{title}: {told}"), told)


def _counts(names: "pl.Series", title: str, address: str, unit: str = "") -> Chart:
    found = names.drop_nulls().value_counts(sort=True).rows()
    shown = [(f"{name} {unit}".strip(), float(n)) for name, n in found[:MOST_NAMES]]
    more = f", and {whole(len(found) - MOST_NAMES)} more" if len(found) > MOST_NAMES else ""
    told = f"{songs(len(names) - names.null_count())}, {whole(len(found))} different{more}"
    return Chart(title, address, bars(shown, f"{title}: {told}"), told)
