"""What a data set holds and what is left to do, as tables; reads listings and commit records only."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autosing.pipeline.artefact import fitted_on
from autosing.pipeline.dataset import PROBE, Dataset, Partition
from autosing.pipeline.graph import Graph
from autosing.pipeline.plan import PartitionPlan, plan_partition
from autosing.pipeline.snapshot import Snapshot
from autosing.pipeline.stage import fitted
from autosing.signal.errors import AutosingError, DataError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class PartitionStatus:
    """The plan of one partition, or why there is none."""

    number: int
    plan: PartitionPlan | None
    problem: str = ""


def plans(dataset: Dataset, graph: Graph, targets: Sequence[str]) -> list[PartitionStatus]:
    """Returns the plan of every partition; a partition that can't be read is told, not raised."""
    found = []
    snapshot = Snapshot(dataset)
    for partition in snapshot.partitions():
        try:
            found.append(PartitionStatus(partition.number, plan_partition(partition, graph, targets)))
        except AutosingError as error:
            found.append(PartitionStatus(partition.number, None, str(error)))
    snapshot.save()
    return found


def findings(found: Sequence[PartitionStatus]) -> "pl.DataFrame":
    """Returns one row per partition and instance: partition, instance, state, reason, own_errors."""
    import polars as pl

    rows = [
        (s.number, f.instance, f.state, f.reason, f.own_errors) for s in found if s.plan for f in s.plan.findings
    ] + [(s.number, "index", "unreadable", s.problem, 0) for s in found if not s.plan]
    schema = {"partition": pl.Int64, "instance": pl.String, "state": pl.String, "reason": pl.String,
              "own_errors": pl.Int64}  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def overview(found: Sequence[PartitionStatus], graph: Graph) -> "pl.DataFrame":
    """Returns one row per instance: fresh, due, waits, blocked (partitions), errors (songs), note."""
    import polars as pl

    states = ("fresh", "due", "waits", "blocked")
    table = (
        findings(found)
        .group_by("instance", maintain_order=True)
        .agg(
            *(pl.col("state").eq(state).sum().alias(state) for state in states),
            pl.col("own_errors").sum().alias("errors"),
            pl.col("reason").filter(pl.col("reason") != "").first().fill_null("").alias("note"),
        )
    )
    notes = [_note(graph, len(found), *row) for row in table.select("instance", "note").rows()]
    return table.with_columns(pl.Series("note", notes, dtype=pl.String))


def _note(graph: Graph, n_partitions: int, instance: str, note: str) -> str:
    stage = graph.instances[instance].stage if instance in graph.instances else None
    applied = fitted(stage)
    return "; ".join(n for n in (note, fitted_on(applied, n_partitions) if applied else "") if n)


@dataclass(frozen=True)
class Cost:
    """What a run would compute: audio hours and stored bytes by instance; None where neither is known.

    Args:
        instance: its name.
        partitions: how many are not fresh.
        audio_h: hours of audio in them.
        bytes: what will be stored.
        reasons: why, each once.
        is_estimate: whether the hours of some are what the files' headers claim, as they were not decoded yet.
    """

    instance: str
    partitions: int
    audio_h: float | None
    bytes: int | None
    reasons: tuple[str, ...]
    is_estimate: bool


@dataclass(frozen=True)
class _Hours:
    """How long a partition's songs are, measured or claimed; None where neither is known."""

    hours: float | None
    is_claimed: bool = False


def costs(dataset: Dataset, graph: Graph, found: Sequence[PartitionStatus]) -> list[Cost]:
    """Returns what is not fresh, inputs first, with its hours of audio and its bytes as far as they can be known."""
    hours = {s.number: _audio_h(dataset, s.number) for s in found if s.plan and not s.plan.is_fresh}
    rows: dict[str, list[tuple[_Hours, str]]] = {}
    for status in found:
        for f in status.plan.findings if status.plan else ():
            if f.state != "fresh":
                rows.setdefault(f.instance, []).append((hours[status.number], f.reason))
    return [_cost(graph, name, parts) for name, parts in rows.items()]


def _cost(graph: Graph, name: str, parts: Sequence[tuple[_Hours, str]]) -> Cost:
    known = [length.hours for length, _ in parts if length.hours is not None]
    audio_h = sum(known) if len(known) == len(parts) else None
    per_second = sum(c.bytes_per_second for c in graph[name].columns) if graph[name].keep else 0.0
    size = None if audio_h is None else int(audio_h * 3600 * per_second)
    reasons = tuple(dict.fromkeys(reason for _, reason in parts))
    return Cost(name, len(parts), audio_h, size, reasons, any(length.is_claimed for length, _ in parts))


def _audio_h(dataset: Dataset, number: int) -> _Hours:
    partition = dataset.partition(number)
    try:
        if partition.record(PROBE) is not None:
            return _Hours(sum(r.values["probe.duration_s"] or 0.0 for r in partition.rows(["probe.duration_s"])) / 3600)
        claimed_s = partition.claimed_s()
        return _Hours(None if claimed_s is None else claimed_s / 3600, is_claimed=True)
    except AutosingError:
        return _Hours(None)


def explain(dataset: Dataset, graph: Graph, number: int, instance: str) -> list[str]:
    """Returns why an instance of a partition is fresh or not, a line for it and each of its inputs.

    Raises:
        AutosingError: the partition or the instance is unknown.
    """
    partition = dataset.partition(number)
    plan = plan_partition(partition, graph, [instance])
    lines = [f"{f.instance}: {f.state}" + (f" ({f.reason})" if f.reason else "") for f in plan.findings]
    record = partition.record(instance)
    if record is not None:
        lines += [
            f"rows {record.rows}, errors {record.errors} (own {record.own_errors})",
            f"settings {dict(record.settings)}",
            f"definition {record.definition}, key {record.key}",
            *(f"input {address}: {digest}" for address, digest in record.input_digests.items()),
            f"computed {record.run.get('finished', '?')} on {record.run.get('host', '?')}",
        ]
    return lines


def partitions_with_errors(dataset: Dataset, targets: Sequence[str]) -> dict[int, Collection[str]]:
    """Returns the instances with own errors by partition: what `retry` computes again."""
    found: dict[int, list[str]] = {}
    snapshot = Snapshot(dataset)
    for partition in snapshot.partitions():
        for name in partition.instances():
            if (not targets or name in targets) and _own_errors(partition, name):
                found.setdefault(partition.number, []).append(name)
    snapshot.save()
    return dict(found.items())


def _own_errors(partition: Partition, name: str) -> int:
    try:
        record = partition.record(name)
    except DataError:  # A foreign or damaged file: `process` computes it again.
        return 0
    return record.own_errors if record else 0


def errors_of(dataset: Dataset, instances: Sequence[str], inherited: bool = False) -> "pl.DataFrame":
    """Returns one row per song and instance with an error: partition, id, instance, error."""
    import polars as pl

    from autosing.pipeline.columnfile import INHERITED

    rows = [
        (row.partition, row.id, name, error)
        for partition in dataset.partitions
        for row in partition.rows([f"{i}.error" for i in instances if i in partition.instances()])
        for name, error in row.errors.items()
        if inherited or not error.startswith(INHERITED)
    ]
    schema = {"partition": pl.Int64, "id": pl.String, "instance": pl.String, "error": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")
