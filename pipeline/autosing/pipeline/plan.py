"""Which columns of a partition are missing or stale, and why. Reads commit records only."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from autosing.pipeline.dataset import INDEX, PROBE, REFERENCE, Partition, split_address
from autosing.pipeline.graph import Graph
from autosing.pipeline.record import Record, key_of
from autosing.signal.errors import DataError

State = Literal["fresh", "due", "waits", "blocked"]


@dataclass(frozen=True)
class Finding:
    """What the plan found about one instance of one partition.

    Args:
        instance: its name.
        state: `fresh`; `due` (missing or stale); `waits` (known only once an input was computed); `blocked` (an
            artefact must be fitted first).
        reason: why, for a person.
        own_errors: rows whose error arose here, as far as the file tells.
    """

    instance: str
    state: State
    reason: str = ""
    own_errors: int = 0


@dataclass(frozen=True)
class PartitionPlan:
    """The findings about one partition, inputs first."""

    partition: Partition
    findings: tuple[Finding, ...]

    def of(self, state: State) -> list[str]:
        """Returns the instances in a state, inputs first."""
        return [f.instance for f in self.findings if f.state == state]

    @property
    def is_fresh(self) -> bool:
        """Whether nothing is left to do."""
        return all(f.state == "fresh" for f in self.findings)


def plan_partition(
    partition: Partition, graph: Graph, targets: Iterable[str], forced: Collection[str] = ()
) -> PartitionPlan:
    """Returns what is fresh, due, waiting or blocked among the targets and all that they need.

    Raises:
        AutosingError: the index itself can't be used.
    """
    records: dict[str, Record] = {}
    findings: dict[str, Finding] = {}
    for name in graph.closure(targets):
        finding = _examine(partition, graph, name, records, findings, name in forced)
        findings[name] = finding
    return PartitionPlan(partition, tuple(findings.values()))


def runnable(graph: Graph, plan: PartitionPlan) -> list[str]:
    """Returns the due instances that can run now, in one fused pass: their inputs are fresh or run with them."""
    ready = set(plan.of("fresh"))
    chosen: list[str] = []
    for name in plan.of("due"):
        if all(i in ready for i in graph.inputs(name)):
            chosen.append(name)
            ready.add(name)
    return chosen


def recomputed(graph: Graph, names: Iterable[str]) -> list[str]:
    """Returns the instances outside `names` whose unstored values (`keep: false`) `names` need, inputs first."""
    chosen, wanted = list(names), set(names)
    extra: set[str] = set()
    pending = list(chosen)
    while pending:
        for name in graph.inputs(pending.pop()):
            if not graph[name].keep and name not in wanted | extra:
                extra.add(name)
                pending.append(name)
    return [n for n in graph.closure(chosen) if n in extra]


def key_now(graph: Graph, name: str, records: dict[str, Record]) -> tuple[str, dict[str, str]]:
    """Returns the key an instance must have now, and the digests of its input columns that it is made of."""
    definition = graph.definition(name)
    if definition is None:
        raise DataError(f"{name}: it has no definition before its artefact is fitted")
    digests = input_digests(graph, name, records)
    return key_of(definition, digests), digests


def input_digests(graph: Graph, name: str, records: dict[str, Record]) -> dict[str, str]:
    """Returns the digests that an instance's input columns have now, by address."""
    return {address: _digest(address, records) for address in graph.reads(name)}


def _digest(address: str, records: dict[str, Record]) -> str:
    instance, column = split_address(address)
    if instance == INDEX:
        return str(records[PROBE].index["digests"].get(column, "absent"))
    return records[instance].digests[column]


def _examine(
    partition: Partition, graph: Graph, name: str, records: dict[str, Record], before: dict[str, Finding], forced: bool
) -> Finding:
    inputs = [] if name == PROBE else [PROBE, *graph.inputs(name)]
    if any(before[i].state == "blocked" for i in inputs) or graph.definition(name) is None:
        return Finding(name, "blocked", graph.fit_reason(name) or "an input waits for a fit")
    try:
        record = partition.record(name)
    except DataError as error:
        return Finding(name, "due", str(error))
    if record is None:
        return Finding(name, "due", "missing")
    records[name] = record
    reason = "asked for again" if forced else difference(record, graph, name)
    if reason:
        return Finding(name, "due", reason, record.own_errors)
    unsure = [i for i in inputs if before[i].state != "fresh"]
    if unsure:
        return Finding(name, "waits", f"input {unsure[0]}: {before[unsure[0]].reason}", record.own_errors)
    return _compare_keys(partition, graph, name, records)


def _compare_keys(partition: Partition, graph: Graph, name: str, records: dict[str, Record]) -> Finding:
    record = records[name]
    if name == PROBE:
        if not has_probed(partition, record):
            return Finding(name, "due", "index.parquet was written again")
        return Finding(name, "fresh", own_errors=record.own_errors)
    _load_references(partition, graph, name, records)
    digests = input_digests(graph, name, records)
    if digests == record.input_digests:  # And the definition is the same: so is the key, which is the hash of both.
        return Finding(name, "fresh", own_errors=record.own_errors)
    changed = [a for a, digest in digests.items() if record.input_digests.get(a) != digest]
    return Finding(name, "due", f"changed: {', '.join(changed) or 'its inputs'}", record.own_errors)


def has_probed(partition: Partition, record: Record) -> bool:
    """Returns whether `probe`'s record is of the index as it is now."""
    stamp = partition.index_stamp()
    return stamp is not None and (record.index["size"], record.index["mtime_ns"]) == (stamp.size, stamp.mtime_ns)


def _load_references(partition: Partition, graph: Graph, name: str, records: dict[str, Record]) -> None:
    if REFERENCE in {split_address(a)[0] for a in graph.reads(name)} and REFERENCE not in records:
        record = partition.record(REFERENCE)
        if record is None:
            raise DataError(f"partition {partition.number} has no reference.parquet, which {name} reads")
        records[REFERENCE] = record


def difference(record: Record, graph: Graph, name: str) -> str:
    """Returns in which way a stored column means something else than the instance now does; "" for none."""
    instance = graph[name]
    if record.definition == graph.definition(name):
        return "" if record.keep == instance.keep else f"keep: {record.keep} -> {instance.keep}"
    now: dict[str, object] = {"stage": instance.stage_name, "version": instance.stage.version}
    now |= {f"settings.{k}": v for k, v in instance.stage.settings().items()}
    now |= {f"models.{k}": v for k, v in graph.model_digests(name).items()}
    now |= {f"definition of {k}": v for k, v in graph.input_definitions(name).items()}
    then: dict[str, object] = {"stage": record.stage, "version": record.version}
    then |= {f"settings.{k}": v for k, v in record.settings.items()}
    then |= {f"models.{k}": v for k, v in record.models.items()}
    then |= {f"definition of {k}": v for k, v in record.inputs.items()}
    changes = [f"{k}: {then.get(k)} -> {now.get(k)}" for k in {**then, **now} if then.get(k) != now.get(k)]
    return "; ".join(changes) or "its definition changed"
