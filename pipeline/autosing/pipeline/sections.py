"""Columns of a recording on tape, a section at a time: what is in memory does not grow with its length.

A section is heard with as much on either side as its stage looks at, and begins where the windows or blocks of the
stage begin in the whole song, so that its frames are those of the whole song.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from autosing.pipeline.dataset import split_address
from autosing.pipeline.graph import Graph
from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Reach, Row, Stage
from autosing.signal.errors import RowError
from autosing.signal.framing import common_period
from autosing.signal.rows import DiskRows
from autosing.signal.tape import Seconds

SHORTEST_S = 60


@dataclass(frozen=True)
class Place:
    """Where a section of a song lies.

    Attributes:
        heard: what the stage gets of the song.
        kept: what is taken of that.
    """

    heard: Seconds
    kept: Seconds


def places(duration_s: Fraction, reach: Reach, grid_s: Fraction) -> Iterator[Place]:
    """Yields where the sections of a song lie.

    Args:
        duration_s: of the song.
        reach: of the stage.
        grid_s: on which samples and frames begin.
    """
    context_s = math.ceil(Fraction(reach.context_s) / grid_s) * grid_s
    period_s = common_period([1 / grid_s, 1 / reach.period_s])
    length_s = math.ceil(SHORTEST_S / period_s) * period_s
    # What would be a short section at the end is the end of the last one: it has whole windows.
    count = max(int((duration_s - 2 * context_s) / length_s), 1)
    for number in range(count):
        start_s, is_last = number * length_s, number == count - 1
        heard = Seconds(start_s, None if is_last else start_s + length_s + 2 * context_s)
        yield Place(heard, Seconds(context_s * (number > 0), None if is_last else length_s + context_s))


def computed(graph: Graph, name: str, song: Song, model: Any) -> dict[str, Any]:
    """Returns the columns of an instance by address, of a song on tape section by section.

    Args:
        graph: the instance's.
        name: of the instance.
        song: with the values that the stage reads.
        model: what the stage's `setup` gave.

    Raises:
        RowError: the stage refuses the song.
    """
    stage, columns = graph[name].stage, graph[name].columns
    reach = stage.reach(model) if song.is_on_tape else None
    if reach is None or not all(column.is_series for column in columns):
        row = _whole(stage, song, model)
        found = {column.name: column.canonical(row.get(column.name)) for column in columns}
    else:
        found = _by_sections(graph, name, song, model, reach)
    return {f"{name}.{column}": value for column, value in found.items()}


def _whole(stage: Stage, song: Song, model: Any) -> Row:
    held = {address: song.values[address] for address in stage.reads()}
    if not stage.slices:
        held = {address: v[:] if isinstance(v, DiskRows) else v for address, v in held.items()}
    return _row(stage, song.with_values({**song.values, **held}), model)


def _by_sections(graph: Graph, name: str, song: Song, model: Any, reach: Reach) -> dict[str, Any]:
    stage, columns = graph[name].stage, graph[name].columns
    read = {address: _column(graph, address) for address in stage.reads()}
    rates = [c.rate for c in (*columns, *read.values()) if c is not None and c.rate is not None]
    tied = [rate for column in columns for rate in column.tied]
    # In a second every sample rate has a whole number of samples.
    grid_s = common_period([Fraction(1), *rates, *tied])
    found = {c.name: DiskRows(c.numpy_dtype, () if c.dim is None else (c.dim,)) for c in columns}
    duration_s = Fraction(song.n_samples, song.sample_rate)
    for place in places(duration_s, reach, grid_s):
        row = _row(stage, _section(song, place, read), model)
        for column in columns:
            assert column.rate is not None
            kept = place.kept.frames(column.rate)
            found[column.name].append(column.canonical(row.get(column.name))[kept])
    return found


def _section(song: Song, place: Place, read: Mapping[str, Column | None]) -> Song:
    values = dict(song.values)
    for address, column in read.items():
        if column is not None and column.rate is not None:
            values[address] = values[address][place.heard.frames(column.rate)]
    return song.section(place.heard, values)


def _row(stage: Stage, song: Song, model: Any) -> Row:
    (outcome,) = stage.process([song], model)
    if isinstance(outcome, RowError):
        raise outcome
    return outcome


def _column(graph: Graph, address: str) -> Column | None:
    """Returns the column of an address; None for one of the index."""
    instance, name = split_address(address)
    if instance not in graph.instances:
        return None
    return next((column for column in graph[instance].columns if column.name == name), None)
