"""What a build reads: the columns of a sample spec, from column files that are fresh and mean the same everywhere."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from autosing.pipeline.construct.sample import SampleSpec
from autosing.pipeline.dataset import INDEX, PROBE, Dataset, Partition, split_address
from autosing.pipeline.graph import VOICE_ADDRESSES, Voice
from autosing.pipeline.plan import has_probed
from autosing.pipeline.record import Record, key_of
from autosing.pipeline.schema import Column
from autosing.pipeline.snapshot import Snapshot
from autosing.signal.errors import DataError, MissingColumn, SchemaMismatch, StaleColumn, UsageError

ALIGNMENT, WORDS = "align.inlier_ratio", "align.words"
FINGERPRINT = "quality.fingerprint"
PROBED = ("probe.n_samples", "probe.sample_rate_hz")
TEXT = ("index.title", "index.artist", "index.singer", "index.split")
LYRICS = ("index.raw_lyrics", "index.lrc_lyrics")
ABSENT = "absent"


@dataclass(frozen=True)
class NamedDataset:
    """A data set with what the settings say about it.

    Args:
        name: names it in samples and keys; it must not change while sets are to stay comparable.
        dataset: where it is.
        voice: where the voice is: the index audio itself, the stem `stems.vocals`, or `denoise.audio`.
        licence: of the recordings.
        language: of the lyrics.
        home_page: where to get it.
    """

    name: str
    dataset: Dataset
    voice: Voice = "index"
    licence: str | None = None
    language: str | None = None
    home_page: str | None = None

    def audio_address(self, audio: str) -> str:
        """Returns where `voice` or `mix` is found."""
        return VOICE_ADDRESSES[self.voice] if audio == "voice" else f"{INDEX}.audio"


@dataclass(frozen=True)
class Needs:
    """The columns that a spec needs.

    Args:
        spec: the spec.
        columns: name in the sample -> the column.
        addresses: name in the sample -> its address.
        aligned: names of the data sets whose alignment's confidence is looked at.
        fingerprint: address of what copies of a recording share; None where no data set has it.
    """

    spec: SampleSpec
    columns: Mapping[str, Column]
    addresses: Mapping[str, str]
    aligned: frozenset[str] = frozenset()
    fingerprint: str | None = None

    def read(self, source: NamedDataset) -> list[str]:
        """Returns the addresses that are read of every song."""
        spec = self.spec
        wanted = [*self.addresses.values(), *spec.quality, *PROBED, *TEXT]
        wanted += [f"{spec.cuts}.cuts"] if spec.cuts else LYRICS
        wanted += [WORDS] if spec.words else []
        wanted += [ALIGNMENT] if source.name in self.aligned else []
        wanted += [self.fingerprint] if self.fingerprint else []
        wanted += [source.audio_address(spec.audio)] if spec.audio else []
        return list(dict.fromkeys(wanted))


def find_needs(spec: SampleSpec, sources: Sequence[NamedDataset]) -> Needs:
    """Returns what a spec needs, its short names resolved in the first data set.

    Where one data set has fingerprints all must: of what has none, nobody could tell that it is a copy.

    Raises:
        MissingColumn: a column does not exist.
        UsageError: a column can't be in a sample, or has no bounds.
    """
    dataset = sources[0].dataset
    first = dataset.partitions[0]
    addresses = {name: _address(a, dataset) for name, a in spec.columns.items()}
    spec = replace(spec, quality={_address(a, dataset): bounds for a, bounds in spec.quality.items()})
    columns = {name: _column(first, address) for name, address in addresses.items()}
    for name, column in columns.items():
        if not column.is_series and _is_bytes(column.dtype):
            raise UsageError(
                f"samples.{spec.name}.columns.{name}: {addresses[name]} holds encoded audio; for audio in the samples "
                "give the spec `audio: voice` or `audio: mix`"
            )
    for address in spec.quality:
        column = _column(first, address)
        if column.is_series or not (pa.types.is_integer(column.dtype) or pa.types.is_floating(column.dtype)):
            raise UsageError(
                f"samples.{spec.name}.quality.{address}: it is no number that a song has one of; give such a column, "
                "as quality.snr_db"
            )
    aligned = _with(ALIGNMENT, sources) if spec.min_alignment is not None else frozenset()
    return Needs(spec, columns, addresses, aligned, FINGERPRINT if _with(FINGERPRINT, sources) else None)


def _address(name: str, dataset: Dataset) -> str:
    return name if "." in name else dataset.resolve(name)


def _column(partition: Partition, address: str) -> Column:
    instance, name = split_address(address)
    if instance == INDEX:
        known = {n: Column(n, t, nullable=True) for n, t in partition.index_columns().items()}
    else:
        _load(partition, instance)
        known = {c.name: c for c in partition.columns(instance)}
    if name not in known:
        where = f"partition {partition.number} of {partition.store.url}"
        raise MissingColumn(f"{where}: {address} does not exist; {instance} has {', '.join(sorted(known)) or 'none'}")
    return known[name]


def _is_bytes(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype))


def _with(address: str, sources: Sequence[NamedDataset]) -> frozenset[str]:
    """Returns the names of the data sets that have a column."""
    return frozenset(source.name for source in sources if _has(source.dataset.partitions[0], address))


def _has(partition: Partition, address: str) -> bool:
    instance, name = split_address(address)
    return instance in partition.instances() and name in {c.name for c in partition.columns(instance)}


def _load(partition: Partition, instance: str) -> Record:
    record = partition.record(instance)
    if record is None:
        url = partition.store.url
        raise MissingColumn(
            f"partition {partition.number} of {url} has no {instance}; compute it with: "
            f"autosing process {url} {instance}"
        )
    return record


def fresh_records(partition: Partition, instances: Iterable[str]) -> dict[str, Record]:
    """Returns the commit records of instances and of all that they were computed from.

    Raises:
        MissingColumn: a column file does not exist.
        StaleColumn: a column file was computed from something else than what is there now.
    """
    records: dict[str, Record] = {}
    for instance in (PROBE, *instances):
        _add_fresh(partition, instance, records)
    return records


def _add_fresh(partition: Partition, instance: str, records: dict[str, Record]) -> None:
    if instance in records or instance == INDEX:
        return
    record = _load(partition, instance)
    changed: list[str] = []
    if instance == PROBE:
        changed = [] if has_probed(partition, record) else ["index.parquet"]
    elif record.stage:
        for address in (*record.inputs, *(split_address(a)[0] for a in record.input_digests)):
            _add_fresh(partition, address, records)
        changed = _changed_inputs(record, records)
    if changed:
        url = partition.store.url
        raise StaleColumn(
            f"partition {partition.number} of {url}: {instance} is stale ({', '.join(changed)} changed since); compute "
            f"it again with: autosing process {url} {instance}"
        )
    records[instance] = record


def _changed_inputs(record: Record, records: Mapping[str, Record]) -> list[str]:
    redefined = [i for i, definition in record.inputs.items() if records[i].definition != definition]
    now = digests(record.input_digests, records)
    if not redefined and key_of(record.definition, now) == record.key:
        return []
    return redefined or [a for a in now if now[a] != record.input_digests[a]] or ["its definition"]


def digests(addresses: Iterable[str], records: Mapping[str, Record]) -> dict[str, str]:
    """Returns the digest of the column at each address."""
    found = {}
    for address in addresses:
        instance, column = split_address(address)
        known = records[PROBE].index["digests"] if instance == INDEX else records[instance].digests
        found[address] = str(known.get(column, ABSENT))
    return found


@dataclass(frozen=True)
class Inputs:
    """What a build reads, checked.

    Args:
        needs: the columns.
        records: commit records (the columns' and all that they were computed from) as far as they are the same in
            every partition: what the columns mean.
        fingerprint: data set -> partition -> address -> digest; equal fingerprints mean equal data.
    """

    needs: Needs
    records: Mapping[str, Record]
    fingerprint: Mapping[str, Mapping[int, Mapping[str, str]]]


def check_inputs(sources: Sequence[NamedDataset], spec: SampleSpec) -> Inputs:
    """Returns what a build of `spec` reads, after the commit records of all partitions were looked at.

    Raises:
        DataError: a column is missing, stale, not stored, or means something else elsewhere; or an id is there twice.
    """
    names = [source.name for source in sources]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"a build needs data sets of different names; these are {', '.join(names) or 'none'}")
    needs = find_needs(spec, sources)
    meant: dict[str, tuple[str, Record]] = {}
    fingerprint: dict[str, dict[int, dict[str, str]]] = {}
    for source in sources:
        addresses = needs.read(source)
        fingerprint[source.name] = {}
        snapshot = Snapshot(source.dataset)
        for partition in snapshot.partitions():
            records = fresh_records(partition, [split_address(a)[0] for a in addresses])
            _check_stored(source, addresses, records)
            _check_same(f"{source.name}/{partition.number}", records, meant)
            fingerprint[source.name][partition.number] = digests(addresses, records)
        snapshot.save()
        _check_ids(source)
    return Inputs(needs, {name: record for name, (_, record) in meant.items()}, fingerprint)


def _check_stored(source: NamedDataset, addresses: Sequence[str], records: Mapping[str, Record]) -> None:
    for instance in {split_address(a)[0] for a in addresses} - {INDEX}:
        if not records[instance].keep:
            raise MissingColumn(
                f"{source.name}: the values of {instance} are not stored (keep: false); set `keep: true` and run: "
                f"autosing process {source.dataset.url} {instance}"
            )


def _check_same(where: str, records: Mapping[str, Record], meant: dict[str, tuple[str, Record]]) -> None:
    """Checks that columns mean the same as in the partitions before."""
    known = {name: record for name, (_, record) in meant.items()}
    for name, record in records.items():
        first, same = meant.setdefault(name, (where, record))
        if record.definition != same.definition:
            raise SchemaMismatch(
                f"{name} is not the same column in {first} and {where} ({_difference(name, known, records)}); process "
                "both with the same settings and artefacts, or build them apart"
            )


def _difference(name: str, then: Mapping[str, Record], now: Mapping[str, Record]) -> str:
    """Returns in what two definitions differ, in the first input that is to blame."""
    a, b = then[name], now[name]
    for i in a.inputs.keys() & b.inputs.keys():
        if a.inputs[i] != b.inputs[i]:
            return _difference(i, then, now)
    facts = [
        {"stage": r.stage, "version": r.version, "inputs": ", ".join(sorted(r.inputs))}
        | {f"settings.{k}": v for k, v in r.settings.items()}
        | {f"models.{k}": v for k, v in r.models.items()}
        for r in (a, b)
    ]
    keys = [k for k in {**facts[0], **facts[1]} if facts[0].get(k) != facts[1].get(k)]
    return "; ".join(f"{name}: {k} {facts[0].get(k)!r} and {facts[1].get(k)!r}" for k in keys) or f"{name}: definition"


def _check_ids(source: NamedDataset) -> None:
    seen: dict[str, int] = {}
    for partition in source.dataset.partitions:
        for id in set(partition.ids()) - source.dataset.excluded:
            if id in seen:
                raise DataError(
                    f"{source.name}: the id {id!r} is in the partitions {seen[id]} and {partition.number}; leave it "
                    "out (exclude.txt) and ingest the songs under different ids"
                )
            seen[id] = partition.number
