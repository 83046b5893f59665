"""Computes a fused group of instances for one partition: each song is decoded once, each instance commits its file."""

import os
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autosing.pipeline.columnfile import INHERITED, ColumnWriter, read_record
from autosing.pipeline.dataset import INDEX, PROBE, Partition, SongRow, split_address
from autosing.pipeline.faults import reached
from autosing.pipeline.graph import Graph, reads_index
from autosing.pipeline.listing import local_mark, mark_of
from autosing.pipeline.plan import has_probed, key_now
from autosing.pipeline.record import ColumnDigest, Record
from autosing.pipeline.snapshot import Commit
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row, Stage
from autosing.pipeline.store import Draft, Stamp
from autosing.signal.errors import DataError, RowError, UsageError

PROBED = ("probe.n_samples", "probe.sample_rate_hz")


@dataclass
class InstanceResult:
    """What one instance of one partition came to."""

    rows: int = 0
    errors: int = 0
    own_errors: int = 0
    busy_s: float = 0.0
    bytes: int = 0


@dataclass
class GroupResult:
    """What a pass over one partition came to, and the column files that it wrote."""

    partition: int
    audio_s: float = 0.0
    wall_s: float = 0.0
    instances: dict[str, InstanceResult] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)


@dataclass(frozen=True)
class Passed:
    """How far a pass over a partition is: songs behind it, of how many, and their length."""

    songs: int = 0
    of: int = 0
    audio_s: float = 0.0


@dataclass
class Passing:
    """A song on its way through the stages, with the errors it has met."""

    song: Song
    errors: dict[str, str]


class Models:
    """The models of a worker's stages, loaded on first use and kept."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[Stage, str | None], Any] = {}

    def of(self, stage: Stage, definition: str | None) -> Any:
        """Returns what the stage's `setup` gave; a new definition (a renewed fit) is loaded anew."""
        if (stage, definition) not in self._loaded:
            self._loaded[stage, definition] = stage.setup()
        return self._loaded[stage, definition]


class Group:
    """One pass over a partition.

    Args:
        partition: what to read and where to write.
        graph: the data set's instances.
        names: instances to compute and commit, inputs first.
        extra: instances to compute only because their unstored values are needed.
        poison: songs that must not be processed (they killed a worker), with the message to record.
        on_batch: told how far the pass is, now and then.
    """

    def __init__(
        self,
        partition: Partition,
        graph: Graph,
        names: Sequence[str],
        extra: Sequence[str] = (),
        poison: Mapping[str, str] | None = None,
        on_batch: Callable[[Passed], None] | None = None,
    ) -> None:
        self.partition, self.graph = partition, graph
        self.names = list(names)
        self.computed = [n for n in graph.closure([*names, *extra]) if n in {*names, *extra}]
        self.poison = poison or {}
        self._streamed = graph.streamed(self.computed)
        self._on_batch = on_batch or (lambda passed: None)
        self.result = GroupResult(partition.number, instances={n: InstanceResult() for n in self.names})

    def passes(self, models: Models, ids: Collection[str] | None = None) -> Iterator[Passing]:
        """Yields the songs (or those with the given ids) after all computed stages have seen them."""
        n_songs, of = 0, self.partition.n_songs()
        for batch in self._batches(ids):
            for name in self.computed:
                self._apply(name, batch, models.of(self.graph[name].stage, self.graph.definition(name)))
            self.result.audio_s += sum(map(self._duration_s, batch))
            n_songs += len(batch)
            self._on_batch(Passed(n_songs, of, self.result.audio_s))
            yield from batch

    def commit(self, models: Models) -> GroupResult:
        """Computes the group and commits its column files; nothing appears when anything fails."""
        started = time.monotonic()
        stamp = self._index_stamp()
        if PROBE in self.names:
            self.partition.ids()  # Refuses null, empty and repeated ones.
        for name in self.names:
            self.partition.store.remove_leftovers(self.partition.folder, f"{name}.parquet")
        drafts = {n: self.partition.store.draft(self.partition.folder, f"{n}.parquet") for n in self.names}
        try:
            self._write(drafts, models, stamp)
        finally:
            for draft in drafts.values():
                draft.discard()
        self.result.wall_s = time.monotonic() - started
        return self.result

    def _write(self, drafts: Mapping[str, Draft], models: Models, stamp: Stamp) -> None:
        instances = {n: self.graph[n] for n in self.names}
        writers = {n: ColumnWriter(drafts[n].scratch, i.columns, i.keep) for n, i in instances.items()}
        index_digests = _IndexDigests(self.partition) if PROBE in self.names else None
        try:
            for passing in self.passes(models):
                for name, writer in writers.items():
                    writer.add(passing.song.id, self._outcome(name, passing))
                if index_digests:
                    index_digests.add(passing)
            if self._index_stamp() != stamp:
                raise self._index_changed()
            index = index_digests.described(stamp) if index_digests else {}
            self._publish(drafts, writers, index)
        except BaseException:
            for writer in writers.values():
                writer.abandon()
            raise

    def _publish(self, drafts: Mapping[str, Draft], writers: Mapping[str, ColumnWriter], index: dict[str, Any]) -> None:
        records = self._input_records()
        if PROBE not in self.names and not has_probed(self.partition, records[PROBE]):
            raise self._index_changed()
        for name, writer in writers.items():
            record = self._record(name, writer, records, index if name == PROBE else {})
            reached("before-write")
            writer.close(record)
            reached("between-write-and-rename")
            result = self.result.instances[name]
            result.rows, result.errors, result.own_errors = record.rows, record.errors, record.own_errors
            result.bytes = drafts[name].scratch.stat().st_size
            self.result.commits[name] = self._commit(drafts[name], record)
            reached("after-rename")
            records[name] = record

    def _commit(self, draft: Draft, record: Record) -> Commit:
        """Publishes a column file. What is told of an uploaded one is read back from where it is."""
        store, place = self.partition.store, (self.partition.folder, f"{record.instance}.parquet")
        if store.is_local:
            mark = local_mark(draft.scratch.stat())
            draft.publish()
            return Commit(mark, record)
        draft.publish()
        uploaded, read_back = mark_of(store, *place), read_record(store, self.partition.folder, record.instance)
        if uploaded is None or read_back is None:
            raise DataError(f"{store.path(*place)} was written and is not there; run the same command again")
        return Commit(uploaded, read_back)

    def _index_changed(self) -> DataError:
        return DataError(f"partition {self.partition.number}: index.parquet changed meanwhile; run again")

    def _record(self, name: str, writer: ColumnWriter, records: dict[str, Record], index: Mapping[str, Any]) -> Record:
        instance = self.graph[name]
        known = {**records, name: _bare_record(name, index)} if name == PROBE else records
        key, digests = key_now(self.graph, name, known)
        return Record(
            instance=name,
            stage=instance.stage_name,
            version=instance.stage.version,
            settings=instance.stage.settings(),
            models={k: str(v) for k, v in self.graph.model_digests(name).items()},
            inputs={k: str(v) for k, v in self.graph.input_definitions(name).items()},
            definition=str(self.graph.definition(name)),
            key=key,
            input_digests=digests,
            digests=writer.digests(),
            rows=writer.rows,
            errors=writer.errors,
            own_errors=writer.own_errors,
            keep=instance.keep,
            index=index,
            run={
                "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "busy_s": round(self.result.instances[name].busy_s, 3),
                "audio_s": round(self.result.audio_s, 3),
            },
        )

    def _input_records(self) -> dict[str, Record]:
        addresses = [a for n in self.names for a in self.graph.reads(n)]
        needed = {PROBE, *(split_address(a)[0] for a in addresses)} - {INDEX} - set(self.names)
        found = {n: self.partition.record(n) for n in needed}
        return {n: record for n, record in found.items() if record is not None}

    def _index_stamp(self) -> Stamp:
        stamp = self.partition.index_stamp()
        if stamp is None:
            raise DataError(f"partition {self.partition.number}: index.parquet is gone")
        return stamp

    def _addresses(self) -> list[str]:
        reads = [a for n in self.computed for a in self.graph.reads(n) if split_address(a)[0] not in self.computed]
        index = reads_index(self.graph, self.computed)
        if PROBE in self.names:
            index = sorted({*index, *self.partition.index_columns()} - {"id"})
        stored = [a for a in reads if split_address(a)[0] != INDEX]
        return [*(f"{INDEX}.{c}" for c in index), *stored, *(() if PROBE in self.computed else PROBED)]

    def _batches(self, ids: Collection[str] | None) -> Iterator[list[Passing]]:
        wanted_s = max((self.graph[n].stage.resources().batch_s for n in self.computed), default=0.0)
        batch: list[Passing] = []
        seconds = 0.0
        for row in self.partition.rows(list(dict.fromkeys(self._addresses()))):
            if ids is not None and row.id not in ids:
                continue
            reached("read")
            batch.append(self._passing(row))
            seconds += self._duration_s(batch[-1]) if wanted_s else 0.0
            if seconds >= wanted_s:
                yield batch
                batch, seconds = [], 0.0
        if batch:
            yield batch

    def _passing(self, row: SongRow) -> Passing:
        return Passing(Song(row.id, row.values, self.graph.audio_addresses, self._streamed), dict(row.errors))

    def _duration_s(self, passing: Passing) -> float:
        """Returns the length of a song; 0 where it can't be decoded, or must not be."""
        if passing.song.id in self.poison or PROBE in passing.errors:
            return 0.0
        try:
            return passing.song.duration_s
        except RowError:
            return 0.0

    def _apply(self, name: str, batch: Sequence[Passing], model: Any) -> None:
        started = time.monotonic()
        ready = [p for p in batch if not self._refused(name, p)]
        instance = self.graph[name]
        found = outcomes(instance.stage, [p.song for p in ready], model)
        for passing, outcome in zip(ready, found, strict=True):
            try:
                if isinstance(outcome, RowError):
                    raise outcome
                values = {c.name: c.canonical(outcome.get(c.name)) for c in instance.columns}
                passing.song.values.update({f"{name}.{c}": v for c, v in values.items()})
            except RowError as error:
                passing.errors[name] = str(error)
        if name in self.result.instances:
            self.result.instances[name].busy_s += time.monotonic() - started

    def _refused(self, name: str, passing: Passing) -> bool:
        """Records why a song can't be processed at all: an input has an error, or it killed a worker."""
        if passing.song.id in self.poison:
            passing.errors[name] = self.poison[passing.song.id]
            return True
        inputs = [] if name == PROBE else [PROBE, *self.graph.inputs(name)]
        for i in inputs:
            if i in passing.errors:
                error = passing.errors[i]
                passing.errors[name] = error if error.startswith(INHERITED) else f"{INHERITED}{i}: {error}"
                return True
        return False

    def _outcome(self, name: str, passing: Passing) -> Row | RowError:
        if name in passing.errors:
            return RowError(passing.errors[name])
        return {c.name: passing.song.values[f"{name}.{c.name}"] for c in self.graph[name].columns}


class _IndexDigests:
    """The digests of the index's own columns, which `probe` takes for everybody."""

    def __init__(self, partition: Partition) -> None:
        names = [n for n in partition.index_columns() if n != "id"]
        self._digests = {n: ColumnDigest() for n in names}

    def add(self, passing: Passing) -> None:
        for name, digest in self._digests.items():
            unreadable = name == "audio" and PROBE in passing.errors
            digest.add(passing.song.id, passing.song.values[f"{INDEX}.{name}"], unreadable)

    def described(self, stamp: Stamp) -> dict[str, Any]:
        digests = {n: d.hex() for n, d in self._digests.items()}
        return {"size": stamp.size, "mtime_ns": stamp.mtime_ns, "digests": digests}


def _bare_record(name: str, index: Mapping[str, Any]) -> Record:
    """A record that tells the index's digests only: `probe`'s own key is made of them."""
    return Record(name, "", 0, {}, {}, {}, "", "", {}, {}, 0, index=index)


def outcomes(stage: Stage, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
    """Returns what a stage makes of a micro-batch; a batch that raises is repeated song by song."""
    if not songs:
        return []
    reached("model-call")
    try:
        return stage.process(songs, model)
    except UsageError:
        raise
    except RowError as error:
        if len(songs) == 1:
            return [error]
    except Exception as error:  # the worker boundary: whatever a song does, its neighbours go on
        if len(songs) == 1:
            return [RowError(f"{type(error).__name__}: {error}")]
    return [outcome for song in songs for outcome in outcomes(stage, [song], model)]
