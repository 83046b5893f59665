"""Truth and estimates of every song side by side, and the reason where one of them is missing."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, TypeVar

from autosing.evaluation.comparison import Absent
from autosing.pipeline.dataset import INDEX, PROBE, REFERENCE, Dataset, Partition, SongRow
from autosing.signal.errors import MissingColumn, RowError, UsageError

T = TypeVar("T")

DURATION = f"{PROBE}.duration_s"
LYRICS = f"{INDEX}.lrc_lyrics"


@dataclass(frozen=True)
class Source:
    """What is read of each song.

    Args:
        instances: the computed instances that are compared.
        columns: of each of them; a song without one is not compared.
        truths: columns of `reference.parquet`; a song without any is not compared.
        optional: further columns of the instances, where there are such.
        beside: further addresses, where there are such.
    """

    instances: Sequence[str]
    columns: Sequence[str]
    truths: Sequence[str]
    optional: Sequence[str] = ()
    beside: Sequence[str] = ()


@dataclass(frozen=True)
class Case:
    """One song: what is read of it, by address, and the rates of its series.

    Args:
        row: the values that its partition has.
        rates: frames per second of the series among them, by address.
        is_excluded: whether `exclude.txt` lists it.
    """

    row: SongRow
    rates: Mapping[str, Fraction]
    is_excluded: bool = False

    @property
    def song(self) -> tuple[str, int]:
        """The song's id and the number of its partition."""
        return self.row.id, self.row.partition

    def truth(self, column: str) -> Any:
        """Returns a column of the reference, None where there is none."""
        return self.row.values.get(f"{REFERENCE}.{column}")

    def value(self, instance: str, column: str) -> Any:
        """Returns a column of an instance, None where there is none."""
        return self.row.values.get(f"{instance}.{column}")

    def rate(self, instance: str, column: str) -> Fraction:
        """Returns the rate of a series that the song has."""
        return self.rates[f"{instance}.{column}"]

    def why_absent(self, instance: str, column: str) -> str | None:
        """Returns why an instance has no value in a column here; None where it has one."""
        if self.value(instance, column) is not None:
            return None
        if instance in self.row.errors:
            return f"error: {self.row.errors[instance]}"
        if f"{instance}.{column}" in self.row.values:
            return f"no {column} by nature"
        return f"not stored in partition {self.row.partition}; compute it with: autosing process"


def outcomes(case: Case, source: Source, make: Callable[[Case, str], T]) -> list[T | Absent]:
    """Returns for each instance what `make` makes of a song, or why there is nothing.

    Where the song has no truth, or is excluded, that is told once.
    """
    if case.is_excluded:
        return [Absent(*case.song, "", "listed in exclude.txt")]
    if all(_is_nothing(case.truth(column)) for column in source.truths):
        return [Absent(*case.song, "", f"no {' or '.join(source.truths)}")]
    return [outcome(case, name, source.columns, make) for name in source.instances]


def _is_nothing(value: Any) -> bool:
    """Whether there is no value, or a list of none."""
    return value is None or (isinstance(value, list) and not value)


def outcome(case: Case, instance: str, columns: Sequence[str], make: Callable[[Case, str], T]) -> T | Absent:
    """Returns what `make` makes of an instance of a song, or why there is nothing."""
    reasons = (case.why_absent(instance, column) for column in columns)
    if reason := next(filter(None, reasons), None):
        return Absent(*case.song, instance, reason)
    try:
        return make(case, instance)
    except RowError as error:
        return Absent(*case.song, instance, str(error))


@dataclass(frozen=True)
class Compared(Generic[T]):
    """What a data set's instances came to: of each, its settings; what was made of songs, and songs without."""

    instances: list[str]
    settings: dict[str, str]
    made: list[T]
    absent: list[Absent]


def compared(
    dataset: Dataset,
    stage: str,
    wanted: Sequence[str],
    source_of: Callable[[Sequence[str]], Source],
    of_case: Callable[[Case, Source], Iterable[T | Absent]],
) -> Compared[T]:
    """Returns what `of_case` makes of every song of a data set.

    Raises:
        UsageError: a wanted instance is of another stage.
        MissingColumn: there is no such instance, or no truth.
    """
    instances = chosen_instances(dataset, stage, wanted)
    source = source_of(instances)
    found = [o for case in cases(dataset, source) for o in of_case(case, source)]
    made = [o for o in found if not isinstance(o, Absent)]
    return Compared(instances, settings_of(dataset, instances), made, [o for o in found if isinstance(o, Absent)])


def chosen_instances(dataset: Dataset, stage: str, wanted: Sequence[str]) -> list[str]:
    """Returns the wanted instances of a stage, each once; where none is wanted, all that are stored.

    Raises:
        UsageError: a wanted instance is of another stage.
        MissingColumn: a wanted one is stored in no partition, or there is none at all.
    """
    stages = _stored_stages(dataset)
    known = [name for name, its_stage in stages.items() if its_stage == stage]
    for name in wanted:
        if stages.get(name, stage) != stage:
            raise UsageError(f"{name} is an instance of {stages[name]}, not of {stage}; there are: {', '.join(known)}")
        if name not in known:
            there = f"there are: {', '.join(known)}" if known else f"no {stage} is stored"
            raise MissingColumn(
                f"{dataset.url} has no {name}; {there}; compute it with: autosing process {dataset.url} {name}"
            )
    if not known:
        raise MissingColumn(f"{dataset.url} has no {stage}; compute it with: autosing process {dataset.url} {stage}")
    return list(dict.fromkeys(wanted)) or known


def _stored_stages(dataset: Dataset) -> dict[str, str]:
    """Returns the stage of every stored instance, the shorter names first."""
    found: dict[str, str] = {}
    for partition in dataset.partitions:
        for name in partition.instances():
            if name not in found and (record := partition.record(name)) is not None and record.stage:
                found[name] = record.stage
    return dict(sorted(found.items(), key=lambda entry: (len(entry[0]), entry[0])))


def settings_of(dataset: Dataset, instances: Sequence[str]) -> dict[str, str]:
    """Returns what each instance was computed with, in words; where partitions differ, it says so."""
    told = {}
    for name in instances:
        records = [r for p in dataset.partitions if (r := p.record(name)) is not None]
        told[name] = ", ".join(f"{key} {value}" for key, value in sorted(records[0].settings.items()))
        if len({r.definition for r in records}) > 1:
            told[name] += "; other partitions were computed with other settings or inputs"
    return told


def cases(dataset: Dataset, source: Source, ids: Collection[str] | None = None) -> Iterator[Case]:
    """Yields the songs of a data set, all or those of the given ids, with what their partition has of `source`.

    Raises:
        MissingColumn: no partition has any of the reference columns.
    """
    if not any(_present(partition, REFERENCE, source.truths) for partition in dataset.partitions):
        raise MissingColumn(
            f"{dataset.url} has no {' or '.join(source.truths)} in its reference.parquet, so nothing can be compared; "
            "ingest it from a layout that has them, or compare another thing"
        )
    for partition in dataset.partitions:
        if ids is not None and not {*ids} & {*partition.ids()}:
            continue
        rates = _rates(partition, source)
        wanted = [*rates, *(f"{i}.error" for i in source.instances if i in partition.instances())]
        for row in partition.rows(wanted):
            if ids is None or row.id in ids:
                yield Case(row, {a: r for a, r in rates.items() if r}, row.id in dataset.excluded)


def _rates(partition: Partition, source: Source) -> dict[str, Fraction]:
    """Returns the addresses of `source` that a partition has, with their rates; 0 for values."""
    found: dict[str, Fraction] = {}
    beside = [(address.rpartition(".")[0], [address.rpartition(".")[2]]) for address in source.beside]
    for instance, columns in (
        *((name, (*source.columns, *source.optional)) for name in source.instances),
        (REFERENCE, source.truths),
        *beside,
    ):
        found |= _present(partition, instance, columns)
    return found


def _present(partition: Partition, instance: str, columns: Sequence[str]) -> dict[str, Fraction]:
    if instance == INDEX:
        return {f"{INDEX}.{c}": Fraction(0) for c in columns if c in partition.index_columns()}
    if instance not in partition.instances():
        return {}
    stored = {column.name: column.rate or Fraction(0) for column in partition.columns(instance)}
    return {f"{instance}.{c}": stored[c] for c in columns if c in stored}
