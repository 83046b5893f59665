"""Which songs a report shows, and everything that is drawn of one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from autosing.pipeline.dataset import INDEX, PROBE, Dataset, Partition, SongRow
from autosing.pipeline.report.lanes import Span, Track
from autosing.pipeline.schema import Column
from autosing.signal.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

EXCERPT_S = 20.0
WORD_RATE = Fraction(10)
DRAWN = (
    *("mel", "f0_hz", "voiced", "voice_activity", "energy", "words", "cuts", "dropped"),
    *("ref_f0_hz", "ref_words", "ref_notes"),
)
MEASURED_SONGS = 500


@dataclass(frozen=True)
class SongView:
    """One song with the columns that are drawn, and the stretch of it that is shown.

    Args:
        id: its id.
        partition: number of its partition.
        start_s: where the stretch begins.
        end_s: where it ends.
        tracks: series by column name; absent where there is none.
        spans: words, cuts, what they leave, and notes by column name.
        strips: series of class numbers.
        audio: the encoded recording.
        errors: error by instance.
        duration_s: length of the song, as far as it is known.
    """

    id: str
    partition: int
    start_s: float
    end_s: float
    tracks: Mapping[str, Track]
    spans: Mapping[str, Sequence[Span]]
    strips: Sequence[Track]
    audio: bytes
    errors: Mapping[str, str] = field(default_factory=dict)
    duration_s: float = 0.0


def choose(values: "pl.DataFrame", songs: Sequence[str] | int) -> list[str]:
    """Returns the ids to show: the named ones, or so many, evenly over the songs that could be decoded.

    Raises:
        UsageError: a named song is not in the data set.
    """
    if not isinstance(songs, int):
        known = set(values["id"].to_list())
        unknown = [id for id in songs if id not in known]
        if unknown:
            some = ", ".join(values["id"].head(5).to_list())
            raise UsageError(f"no song has the id {unknown[0]!r}; there are {len(known)} songs, e.g. {some}")
        return list(songs)
    good = values.filter(~values["failed"])["id"].to_list()
    places = np.linspace(0, len(good) - 1, min(max(songs, 0), len(good))).round().astype(int)
    return [good[i] for i in places]


def views(dataset: Dataset, ids: Sequence[str]) -> Iterator[SongView]:
    """Yields the songs of the given ids in the order of the data set."""
    wanted = set(ids)
    for partition in dataset.partitions:
        if wanted.isdisjoint(partition.ids()):
            continue
        columns = drawn_columns(partition)
        duration = [f"{PROBE}.duration_s"] if PROBE in partition.instances() else []
        for row in partition.rows([f"{INDEX}.audio", *duration, *columns]):
            if row.id in wanted:
                yield view_of(row, columns)


def drawn_columns(partition: Partition) -> dict[str, Column]:
    """Returns by address the columns of a partition that a figure shows; of each kind the instance of shortest name."""
    found: dict[str, str] = {}
    columns: dict[str, Column] = {}
    for instance in sorted(partition.instances(), key=lambda name: (len(name), name)):
        for column in partition.columns(instance):
            address = f"{instance}.{column.name}"
            if column.name in DRAWN and column.name not in found:
                found[column.name] = address
                columns[address] = column
            elif column.is_series and column.dim is None and column.dtype == pa.uint16():
                columns[address] = column
    return columns


def view_of(row: SongRow, columns: Mapping[str, Column]) -> SongView:
    """Returns what is drawn of a song."""
    tracks: dict[str, Track] = {}
    spans: dict[str, Sequence[Span]] = {}
    strips = []
    for address, column in columns.items():
        value = row.values[address]
        if value is None:
            continue
        if column.rate is None:
            spans[column.name] = value
        elif column.name in DRAWN:
            tracks[column.name] = Track(value, column.rate, address)
        else:
            strips.append(Track(value, column.rate, address))
    duration_s = row.values.get(f"{PROBE}.duration_s") or EXCERPT_S
    start_s, end_s = excerpt(duration_s, activity(tracks, spans))
    audio = row.values[f"{INDEX}.audio"]
    return SongView(row.id, row.partition, start_s, end_s, tracks, spans, strips, audio, row.errors, duration_s)


def activity(tracks: Mapping[str, Track], spans: Mapping[str, Sequence[Span]]) -> Track | None:
    """Returns how much is sung when: by the words where they are known (instruments are voiced too), else by voice."""
    words = spans.get("words")
    if not words:
        return tracks.get("voice_activity") or tracks.get("voiced") or tracks.get("energy")
    sung = np.zeros(int(words[-1]["end_s"] * float(WORD_RATE)) + 1)
    for word in words:
        sung[int(word["start_s"] * float(WORD_RATE)) : int(word["end_s"] * float(WORD_RATE))] = 1
    return Track(sung, WORD_RATE)


def excerpt(duration_s: float, busy: Track | None) -> tuple[float, float]:
    """Returns start and end of what is shown: a short song whole, else the 20 s in which most is sung."""
    if duration_s <= EXCERPT_S:
        return 0.0, duration_s
    if busy is None:
        return 0.0, EXCERPT_S
    total = np.concatenate([[0.0], np.cumsum(busy.values, dtype=np.float64)])
    starts_s = np.arange(int(duration_s - EXCERPT_S) + 1)
    first, last = (
        np.minimum((times * float(busy.rate)).astype(int), len(total) - 1) for times in (starts_s, starts_s + EXCERPT_S)
    )
    start_s = float(starts_s[np.argmax(total[last] - total[first])])
    return start_s, start_s + EXCERPT_S


@dataclass(frozen=True)
class Voice:
    """How a song is sung: median F0, its range from the 5th to the 95th percentile, and how much of it is voiced."""

    median_f0_hz: float
    range_semitones: float
    voiced_share: float


def voices(dataset: Dataset, n_songs: int) -> list[Voice]:
    """Returns the voice of every song that has any; in a large data set, of a few hundred songs or one partition."""
    found = []
    for partition in dataset.partitions[:: max(n_songs // MEASURED_SONGS, 1)]:
        for address in [a for a, c in drawn_columns(partition).items() if c.name == "f0_hz"]:
            measured = (voice_of(row.values[address]) for row in partition.rows([address]))
            found += [voice for voice in measured if voice is not None]
    return found


def voice_of(f0_hz: Any) -> Voice | None:
    """Returns the voice of an F0 track (F,), 0 where unvoiced; None where nothing is voiced."""
    sung = f0_hz[f0_hz > 0] if f0_hz is not None else np.empty(0)
    if not len(sung):
        return None
    low, median, high = np.percentile(sung, [5, 50, 95])
    return Voice(float(median), float(12 * np.log2(high / low)), len(sung) / len(f0_hz))
