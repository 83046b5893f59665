"""The tabular parts of a report: columns with their coverage, fits, errors by reason, and values of songs."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from autosing.page.numerals import duration, rate_of
from autosing.pipeline.artefact import read_fit
from autosing.pipeline.columnfile import open_parquet
from autosing.pipeline.dataset import INDEX, INDEX_TEXT_COLUMNS, PROBE, Dataset, Partition
from autosing.pipeline.graph import Graph
from autosing.pipeline.schema import Column
from autosing.pipeline.stage import fitted
from autosing.pipeline.status import errors_of, overview, plans

if TYPE_CHECKING:
    import polars as pl

IDS_SHOWN = 5
INDEX_MEANINGS = {
    "id": "name of the song",
    "audio": "the recording as it was ingested",
    "lrc_lyrics": "lyrics with times",
    "raw_lyrics": "lyrics without times",
    "language": "language of the lyrics",
    "split": "split that the data set prescribes",
}


@dataclass(frozen=True)
class Stored:
    """One column with what it is and how far it reaches, over all partitions.

    Args:
        column: what it is.
        with_value: songs that have a value.
        none: songs that have none by nature.
        own_errors: songs whose value failed here.
        inherited: songs whose value failed because an input has none.
        absent: songs of partitions in which it was not computed.
        bytes: stored size.
        keep: whether values are stored.
    """

    instance: str
    column: Column
    with_value: int
    none: int
    own_errors: int
    inherited: int
    absent: int
    bytes: int
    keep: bool = True

    @property
    def type(self) -> str:
        """The type of the value or of one element of the series."""
        return type_name(self.column.dtype)

    @property
    def rate(self) -> str:
        """The frame rate, "" for values."""
        return "" if self.column.rate is None else rate_of(self.column.rate)


def type_name(dtype: pa.DataType) -> str:
    """Returns an Arrow type as people say it: text, bytes, list of {text, start_s, end_s}."""
    if pa.types.is_list(dtype):
        return f"list of {type_name(dtype.value_type)}"
    if pa.types.is_struct(dtype):
        return "{" + ", ".join(dtype.field(i).name for i in range(dtype.num_fields)) + "}"
    if pa.types.is_large_string(dtype) or pa.types.is_string(dtype):
        return "text"
    if pa.types.is_large_binary(dtype) or pa.types.is_binary(dtype):
        return "bytes"
    return {"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(dtype), str(dtype))


def stored_columns(dataset: Dataset, graph: Graph) -> list[Stored]:
    """Returns all columns of a data set with their coverage, the index's first, inputs before what reads them."""
    import polars as pl

    described: dict[tuple[str, str], tuple[Column, bool]] = {}
    rows: list[tuple[Any, ...]] = []
    for partition in dataset.partitions:
        for instance, column, keep, *figures in _facts(partition, graph):
            described.setdefault((instance, column.name), (column, keep))
            rows.append((instance, column.name, *figures))
    names = ["instance", "column", "rows", "errors", "own_errors", "nulls", "bytes"]
    sums = pl.DataFrame(rows, names, orient="row").group_by("instance", "column", maintain_order=True).sum()
    n_songs = max((int(r[2]) for r in sums.rows() if r[0] == INDEX), default=0)
    found = [_stored(*described[row[0], row[1]], n_songs, *row) for row in sums.rows()]
    order = {name: i for i, name in enumerate([INDEX, "reference", *graph.closure(_known(dataset, graph))])}
    return sorted(found, key=lambda s: order.get(s.instance, len(order)))


def _stored(
    column: Column,
    keep: bool,
    n_songs: int,
    instance: str,
    _: str,
    rows: int,
    errors: int,
    own: int,
    nulls: int,
    n: int,
) -> Stored:
    none = nulls - errors if column.nullable and keep else 0
    if instance == INDEX:  # A partition without a column of the index has none by nature: nothing computes it.
        rows, none = n_songs, none + n_songs - rows
    return Stored(instance, column, rows - errors - none, none, own, errors - own, n_songs - rows, n, keep)


def _facts(partition: Partition, graph: Graph) -> Iterator[tuple[str, Column, bool, int, int, int, int, int]]:
    """Yields instance, column, whether it is kept, rows, errors, own errors, null values and stored bytes."""
    index = [
        Column(name, dtype, meaning=INDEX_MEANINGS.get(name, ""), nullable=name in INDEX_TEXT_COLUMNS)
        for name, dtype in partition.index_columns().items()
    ]
    n_songs, sizes = _file_facts(partition, INDEX, index)
    yield from ((INDEX, column, True, n_songs, 0, 0, *sizes[column.name]) for column in index)
    for instance in partition.instances():
        record = partition.record(instance)
        assert record is not None
        rows = (record.rows, record.errors, record.own_errors)
        columns = partition.columns(instance)
        sizes = _file_facts(partition, instance, columns)[1]
        yield from ((instance, column, True, *rows, *sizes[column.name]) for column in columns)
        if not record.keep and instance in graph.instances:
            yield from ((instance, column, False, *rows, 0, 0) for column in graph[instance].columns)


def _file_facts(
    partition: Partition, instance: str, columns: Sequence[Column]
) -> tuple[int, dict[str, tuple[int, int]]]:
    """Returns the number of rows, and null values and stored bytes by column; only what may be null is read."""
    nulls, n_bytes = Counter[str](), Counter[str]()
    nullable = [column.name for column in columns if column.nullable]
    with open_parquet(partition.store, partition.folder, f"{instance}.parquet") as file:
        for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
            for chunk in map(group.column, range(group.num_columns)):
                n_bytes[chunk.path_in_schema.split(".")[0]] += chunk.total_compressed_size
        for batch in file.iter_batches(columns=nullable, use_threads=False) if nullable else ():
            nulls.update({name: batch.column(name).null_count for name in nullable})
        return file.metadata.num_rows, {c.name: (nulls[c.name], n_bytes[c.name]) for c in columns}


def _known(dataset: Dataset, graph: Graph) -> list[str]:
    """Returns the instances that are stored somewhere and that the graph knows."""
    stored = {name for partition in dataset.partitions for name in partition.instances()}
    return [name for name in graph.names if name in stored]


def states(dataset: Dataset, graph: Graph) -> dict[str, str]:
    """Returns for each stored instance whether it is fresh, or in how many partitions and why it is not."""
    n = len(dataset.partitions)
    rows = overview(plans(dataset, graph, _known(dataset, graph)), graph).rows(named=True)
    return {
        row["instance"]: "fresh" if row["fresh"] == n else f"{row['fresh']} of {n} partitions fresh; {row['note']}"
        for row in rows
    }


def computed(dataset: Dataset) -> str:
    """Returns when the newest column file was computed, "" where none was."""
    records = (p.record(name) for p in dataset.partitions for name in p.instances())
    return max((str(r.run.get("finished", "")) for r in records if r is not None), default="")


@dataclass(frozen=True)
class Fitted:
    """An artefact: whose it is, what it was fitted with and on."""

    instance: str
    settings: str
    fitted_on: str


def fits(dataset: Dataset, graph: Graph) -> list[Fitted]:
    """Returns the artefacts of the stored instances."""
    found = []
    for name in _known(dataset, graph):
        stage = graph[name].stage
        record = read_fit(Path(applied.artefact)) if (applied := fitted(stage)) else None
        if record is not None:
            settings = ", ".join(f"{k} {json.dumps(v)}" for k, v in sorted(record.settings.items()))
            where = f"{record.partitions} of {len(dataset.partitions)} partitions, {duration(record.seconds)}"
            found.append(Fitted(name, settings, where))
    return found


@dataclass(frozen=True)
class Reason:
    """Errors of one kind: an example of the message, how many songs have it, and some of them."""

    instance: str
    error: str
    songs: int
    ids: Sequence[str]


def reasons(dataset: Dataset) -> list[Reason]:
    """Returns the errors that arose in the data set, alike up to their numbers, the most frequent first."""
    import polars as pl

    instances = sorted({name for partition in dataset.partitions for name in partition.instances()})
    groups = (
        errors_of(dataset, instances)
        .with_columns(pl.col("error").str.replace_all(r"\d+", "0").alias("kind"))
        .group_by("instance", "kind", maintain_order=True)
        .agg(pl.col("error").first(), pl.len().alias("songs"), pl.col("id").head(IDS_SHOWN).alias("ids"))
        .sort("songs", descending=True, maintain_order=True)
    )
    return [Reason(*row) for row in groups.select("instance", "error", "songs", "ids").rows()]


def song_values(dataset: Dataset) -> "pl.DataFrame":
    """Returns a row per song: partition, id, the index's short texts and every number that is a value of the song."""
    import polars as pl

    rows: list[dict[str, Any]] = []
    for partition in dataset.partitions:
        addresses = [f"{INDEX}.{name}" for name in INDEX_TEXT_COLUMNS if "lyrics" not in name]
        for instance in partition.instances():
            addresses += [f"{instance}.{c.name}" for c in partition.columns(instance) if _is_short(c)]
        addresses += [f"{PROBE}.error"] if PROBE in partition.instances() else []
        for row in partition.rows(addresses):
            rows.append({"partition": row.partition, "id": row.id, "failed": PROBE in row.errors, **row.values})
    return pl.DataFrame(rows, infer_schema_length=None)


def _is_short(column: Column) -> bool:
    numeric = pa.types.is_integer(column.dtype) or pa.types.is_floating(column.dtype)
    return not column.is_series and (numeric or column.name == "codec")
