"""Computes a fused group of instances for one partition: each song is decoded once, each instance commits its file."""

import os
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from autosing.pipeline.bucket import ANYTHING
from autosing.pipeline.columnfile import INHERITED, ColumnWriter, read_record
from autosing.pipeline.dataset import INDEX, PROBE, Partition, SongRow, split_address
from autosing.pipeline.faults import reached
from autosing.pipeline.graph import Graph, reads_index
from autosing.pipeline.journal import EVERY_S, Journal, Kept, row_key
from autosing.pipeline.listing import local_mark, mark_of
from autosing.pipeline.plan import has_probed, key_now, plan_partition
from autosing.pipeline.record import ColumnDigest, Record
from autosing.pipeline.schema import Column
from autosing.pipeline.snapshot import Commit
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row, Stage
from autosing.pipeline.store import Draft, Stamp
from autosing.signal.errors import DataError, RowError, UsageError

PROBED = ("probe.n_samples", "probe.sample_rate_hz")
ANY = ""
"""In place of an instance: whichever it is."""


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
    """What a pass over one partition came to: the column files that it wrote, and those that another run has made."""

    partition: int
    audio_s: float = 0.0
    wall_s: float = 0.0
    instances: dict[str, InstanceResult] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    found: dict[str, Commit] = field(default_factory=dict)


@dataclass(frozen=True)
class Passed:
    """How far a pass over a partition is: songs behind it, of how many, and their length."""

    songs: int = 0
    of: int = 0
    audio_s: float = 0.0


@dataclass(frozen=True)
class Call:
    """Songs that a stage is at.

    Args:
        instance: whose stage.
        ids: of the songs.
        audio_s: how long they are, as far as that is known.
    """

    instance: str
    ids: tuple[str, ...]
    audio_s: float


@dataclass
class Passing:
    """A song on its way through the stages, with the errors it has met, and digests of values by address."""

    song: Song
    errors: dict[str, str]
    digests: dict[str, bytes] = field(default_factory=dict)

    def digest(self, address: str) -> bytes:
        """Returns what tells a value of the song from any other."""
        if address not in self.digests:
            digest = ColumnDigest()
            digest.add(self.song.id, self.song.values[address], False)
            self.digests[address] = bytes.fromhex(digest.hex())
        return self.digests[address]


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
        poison: instance (or `ANY`) and song that must not come together, as a process died of it, with the message to
            record.
        apart: instance and song that must not be in a micro-batch with others.
        again: instances that are computed although they are fresh; their songs with errors are computed again whatever
            an earlier attempt came to.
        journal_s: so many seconds of work may be lost when the pass is killed.
        on_batch: told how far the pass is, now and then.
        on_call: told which songs a stage is at, before it is and, by None, after it was.
    """

    def __init__(
        self,
        partition: Partition,
        graph: Graph,
        names: Sequence[str],
        extra: Sequence[str] = (),
        poison: Mapping[tuple[str, str], str] | None = None,
        apart: Collection[tuple[str, str]] = (),
        again: Collection[str] = (),
        journal_s: float = EVERY_S,
        on_batch: Callable[[Passed], None] | None = None,
        on_call: Callable[[Call | None], None] | None = None,
    ) -> None:
        self.partition, self.graph = partition, graph
        self.names = list(names)
        self.computed = [n for n in graph.closure([*names, *extra]) if n in {*names, *extra}]
        self.poison, self._apart = poison or {}, apart
        self._streamed = graph.streamed(self.computed)
        self._on_batch = on_batch or (lambda passed: None)
        self._on_call = on_call or (lambda call: None)
        self._again, self._journal_s = again, journal_s
        self._journal: Journal | None = None
        self.result = GroupResult(partition.number, instances={n: InstanceResult() for n in self.names})

    @cached_property
    def _n_songs(self) -> int:
        return self.partition.n_songs()

    def passes(self, models: Models, ids: Collection[str] | None = None) -> Iterator[Passing]:
        """Yields the songs (or those with the given ids) after all computed stages have seen them."""
        n_songs = 0
        for batch in self._batches(models, ids):
            for name in self.computed:
                if name != PROBE:
                    self._apply(name, batch, models)
            self.result.audio_s += sum(map(self._duration_s, batch))
            n_songs += len(batch)
            if self._journal:
                self._journal.passed(n_songs)
            self._on_batch(Passed(n_songs, self._n_songs, self.result.audio_s))
            yield from batch

    def commit(self, models: Models) -> GroupResult:
        """Computes the group and commits its column files; nothing appears when anything fails.

        Where another run has made some of the files meanwhile, these are told and nothing is computed.
        """
        started = time.monotonic()
        self._versions = {n: self.partition.store.version(self.partition.folder, f"{n}.parquet") for n in self.names}
        if self._take_what_is_made():
            return self.result
        stamp = self._index_stamp()
        if PROBE in self.names:
            self.partition.ids()  # Refuses null, empty and repeated ones.
        for name in self.names:
            self.partition.store.remove_leftovers(self.partition.folder, f"{name}.parquet")
        kept = [Kept(n, self._definition(n), self.graph[n].columns, n in self._again) for n in self.computed]
        place = self.partition.store, self.partition.folder
        self._journal = Journal(*place, kept, self._n_songs, self._journal_s)
        drafts = {n: self.partition.store.draft(self.partition.folder, f"{n}.parquet") for n in self.names}
        try:
            self._write(drafts, models, stamp)
            for name in self.computed:
                self._journal.forget(name)
        finally:
            self._journal.close()
            for draft in drafts.values():
                draft.discard()
        self.result.wall_s = time.monotonic() - started
        return self.result

    def _take_what_is_made(self) -> bool:
        """Takes in files that are fresh although the driver had them computed; returns whether there are any.

        Another run has made them, or an attempt of this process that could not make all.
        """
        there = [n for n in self.names if self._versions[n] is not None and n not in self._again]
        fresh = plan_partition(self.partition, self.graph, there).of("fresh") if there else []
        commits = {n: commit for n in there if n in fresh and (commit := self._commit_there(n)) is not None}
        if not commits:
            return False
        self.result.instances = {}
        for name, commit in commits.items():
            if (commit.record.run.get("host"), commit.record.run.get("pid")) == (socket.gethostname(), os.getpid()):
                self.result.instances[name] = _told(commit)
                self.result.commits[name] = commit
            else:
                self.result.found[name] = commit
        return True

    def _commit_there(self, name: str) -> Commit | None:
        """Returns what is in the place of a column file."""
        store, folder = self.partition.store, self.partition.folder
        mark, record = mark_of(store, folder, f"{name}.parquet"), read_record(store, folder, name)
        return Commit(mark, record) if mark and record else None

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
            if (commit := self._commit(drafts[name], record)) is not None:
                self.result.commits[name] = commit
            elif not self._is_made_by_another(name, record):
                break
            reached("after-rename")
            records[name] = record
            if self._journal:
                self._journal.forget(name)
        for name in self.names:
            if name not in self.result.commits:
                writers[name].abandon()
                del self.result.instances[name]

    def _commit(self, draft: Draft, record: Record) -> Commit | None:
        """Publishes a column file, unless another run was first; what is told of an uploaded one is read back."""
        name, store = record.instance, self.partition.store
        mark = local_mark(draft.scratch.stat()) if store.is_local else None
        if not draft.publish(ANYTHING if name in self._again else self._versions[name]):
            return None
        committed = Commit(mark, record) if mark else self._commit_there(name)
        if committed is None:
            raise DataError(f"{draft.target} was written and is not there; run the same command again")
        return committed

    def _is_made_by_another(self, name: str, record: Record) -> bool:
        """Takes in a file that another run has made meanwhile; returns whether it has the same values.

        Where it has not (a model on a GPU need not give the same bits twice), what reads it is computed from it later.

        Raises:
            DataError: it is not what this run would make.
        """
        there = self._commit_there(name)
        if there is None or there.record.key != record.key:
            place = self.partition.store.path(self.partition.folder, f"{name}.parquet")
            told = f"{place} was written meanwhile by a run with other settings or inputs"
            raise DataError(f"{told}; end one of the two, and run the same command again")
        self.result.found[name] = there
        return there.record.digests == record.digests

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

    def _batches(self, models: Models, ids: Collection[str] | None) -> Iterator[list[Passing]]:
        wanted_s = max((self.graph[n].stage.resources().batch_s for n in self.computed), default=0.0)
        batch: list[Passing] = []
        seconds = 0.0
        for row in self.partition.rows(list(dict.fromkeys(self._addresses()))):
            if ids is not None and row.id not in ids:
                continue
            reached("read")
            batch.append(self._passing(row))
            if PROBE in self.computed:  # Which tells how long the song is.
                self._apply(PROBE, batch[-1:], models)
            seconds += self._duration_s(batch[-1]) if wanted_s else 0.0
            if seconds >= wanted_s:
                yield batch
                batch, seconds = [], 0.0
        if batch:
            yield batch

    def _passing(self, row: SongRow) -> Passing:
        return Passing(Song(row.id, row.values, self.graph.audio_addresses, self._streamed), dict(row.errors))

    def _duration_s(self, passing: Passing) -> float:
        """Returns the length of a song; 0 where it can't be decoded."""
        return 0.0 if PROBE in passing.errors else passing.song.duration_s

    def _apply(self, name: str, batch: Sequence[Passing], models: Models) -> None:
        started = time.monotonic()
        ready = [p for p in batch if not self._refused(name, p)]
        for passing, outcome in zip(ready, self._outcomes(name, ready, models), strict=True):
            if isinstance(outcome, RowError):
                passing.errors[name] = str(outcome)
            else:
                passing.song.values.update({f"{name}.{c}": v for c, v in outcome.items()})
        if name in self.result.instances:
            self.result.instances[name].busy_s += time.monotonic() - started

    def _outcomes(self, name: str, ready: Sequence[Passing], models: Models) -> list[Row | RowError]:
        """Returns what an instance makes of a micro-batch, or made of it in an attempt that was killed."""
        if self._journal is None or not ready:
            return self._computed(name, ready, models)
        keys = [self._key(name, passing) for passing in ready]
        found = self._journal.recall(name, keys)
        if found is None:
            found = self._computed(name, ready, models)
            self._journal.note(name, keys, found)
        return found

    def _computed(self, name: str, ready: Sequence[Passing], models: Models) -> list[Row | RowError]:
        if not ready:
            return []
        instance = self.graph[name]
        model = models.of(instance.stage, self.graph.definition(name))
        made: dict[str, Row | RowError] = {}
        for songs in self._in_calls(name, [p.song for p in ready]):
            found = outcomes(instance.stage, songs, model, lambda called: self._on_call(self._call(name, called)))
            made |= {song.id: outcome for song, outcome in zip(songs, found, strict=True)}
            self._on_call(None)
        return [_canonical(made[p.song.id], instance.columns) for p in ready]

    def _in_calls(self, name: str, songs: Sequence[Song]) -> Iterator[list[Song]]:
        """Yields the songs of a micro-batch: those that must be alone, and the others together."""
        together = [s for s in songs if (name, s.id) not in self._apart]
        if together:
            yield together
        yield from ([s] for s in songs if (name, s.id) in self._apart)

    def _call(self, name: str, songs: Sequence[Song]) -> Call:
        # Nobody but `probe` has measured them.
        audio_s = 0.0 if name == PROBE else sum(song.duration_s for song in songs)
        return Call(name, tuple(song.id for song in songs), audio_s)

    def _key(self, name: str, passing: Passing) -> bytes:
        """Returns what a song's row is kept under: its definition, and all that it is computed from."""
        addresses = (*self.graph.reads(name), *(() if name == PROBE else PROBED))
        return row_key(self._definition(name), passing.song.id, list(map(passing.digest, addresses)))

    def _definition(self, name: str) -> str:
        return str(self.graph.definition(name))

    def _refused(self, name: str, passing: Passing) -> bool:
        """Records why a song can't be processed at all: an input has an error, or it killed a worker."""
        for known in (ANY, passing.song.id), (name, passing.song.id):
            if known in self.poison:
                passing.errors[name] = self.poison[known]
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


def _told(commit: Commit) -> InstanceResult:
    record = commit.record
    return InstanceResult(record.rows, record.errors, record.own_errors, record.run.get("busy_s", 0), commit.mark.size)


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


def _canonical(outcome: Row | RowError, columns: Sequence[Column]) -> Row | RowError:
    """Returns values as they will be read back, or why they can't be stored."""
    if isinstance(outcome, RowError):
        return outcome
    try:
        return {c.name: c.canonical(outcome.get(c.name)) for c in columns}
    except RowError as error:
        return error


def outcomes(
    stage: Stage, songs: Sequence[Song], model: Any, on_call: Callable[[Sequence[Song]], None] = lambda songs: None
) -> list[Row | RowError]:
    """Returns what a stage makes of a micro-batch.

    A batch that raises is repeated song by song, one for which a GPU has no room in halves.

    Args:
        stage: which.
        songs: of the micro-batch.
        model: what the stage's `setup` gave.
        on_call: told which songs the stage gets, before it gets them.
    """
    if not songs:
        return []
    on_call(songs)
    reached("model-call")
    n = 1
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
        n = (len(songs) + 1) // 2 if is_out_of_gpu_memory(error) else 1
    if n > 1:  # Here nothing holds the arrays of the failed call any more.
        sys.modules["torch"].cuda.empty_cache()
    parts = [songs[i : i + n] for i in range(0, len(songs), n)]
    return [outcome for part in parts for outcome in outcomes(stage, part, model, on_call)]


def is_out_of_gpu_memory(error: BaseException) -> bool:
    """Returns whether a GPU had no room; torch is not loaded for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)
