"""What a pass over a partition leaves: each instance commits its column file, all in the order of their inputs."""

import os
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autosing.pipeline.bucket import ANYTHING
from autosing.pipeline.columnfile import ColumnWriter, read_record
from autosing.pipeline.dataset import INDEX, PROBE, Partition, split_address
from autosing.pipeline.faults import reached
from autosing.pipeline.journal import EVERY_S, Journal, Kept
from autosing.pipeline.listing import local_mark, mark_of
from autosing.pipeline.outcomes import Models
from autosing.pipeline.passes import Pass, Passing
from autosing.pipeline.plan import has_probed, key_now, plan_partition
from autosing.pipeline.record import ColumnDigest, Record
from autosing.pipeline.snapshot import Commit
from autosing.pipeline.store import Draft, Stamp
from autosing.pipeline.store_errors import Changed
from autosing.signal.errors import DataError


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


class Group:
    """Column files that one pass over a partition makes.

    Args:
        songs: the pass.
        names: instances to commit, inputs first; what else is computed is so only because its unstored values are
            needed.
        again: instances that are computed although they are fresh; their songs with errors are computed again whatever
            an earlier attempt came to.
        journal_s: so many seconds of work may be lost when the pass is killed.
    """

    def __init__(
        self, songs: Pass, names: Sequence[str], again: Collection[str] = (), journal_s: float = EVERY_S
    ) -> None:
        self._pass, self.partition, self.graph = songs, songs.partition, songs.graph
        self.names = list(names)
        self._again, self._journal_s = again, journal_s
        self.result = GroupResult(self.partition.number, instances={n: InstanceResult() for n in self.names})

    def commit(self, models: Models) -> GroupResult:
        """Computes the group and commits its column files; nothing appears when anything fails.

        Where another run has made some of the files meanwhile, these are told and nothing is computed.
        """
        started = time.monotonic()
        self._versions = {n: self.partition.store.version(self.partition.folder, f"{n}.parquet") for n in self.names}
        if self._take_what_is_made():
            return self.result
        stamp, self._inputs = self._index_stamp(), self._input_versions()
        if PROBE in self.names:
            self.partition.ids()  # Refuses null, empty and repeated ones.
        self.partition.store.remove_leftovers(self.partition.folder, [f"{name}.parquet" for name in self.names])
        computed = self._pass.computed
        kept = [Kept(n, str(self.graph.definition(n)), self.graph[n].columns, n in self._again) for n in computed]
        place = self.partition.store, self.partition.folder
        journal = Journal(*place, kept, self.partition.n_songs(), self._journal_s)
        drafts = {n: self.partition.store.draft(self.partition.folder, f"{n}.parquet") for n in self.names}
        try:
            self._write(drafts, models, stamp, journal)
            for name in computed:
                journal.forget(name)
        finally:
            journal.close()
            for draft in drafts.values():
                draft.discard()
        self.result.audio_s, self.result.wall_s = self._pass.audio_s, time.monotonic() - started
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

    def _write(self, drafts: Mapping[str, Draft], models: Models, stamp: Stamp, journal: Journal) -> None:
        instances = {n: self.graph[n] for n in self.names}
        writers = {n: ColumnWriter(drafts[n].scratch, i.columns, i.keep) for n, i in instances.items()}
        index_digests = _IndexDigests(self.partition) if PROBE in self.names else None
        try:
            for passing in self._pass.songs(models, journal=journal):
                for name, writer in writers.items():
                    writer.add(passing.song.id, self._pass.outcome(name, passing))
                if index_digests:
                    index_digests.add(passing)
            if self._index_stamp() != stamp:
                raise self._index_changed()
            index = index_digests.described(stamp) if index_digests else {}
            self._publish(drafts, writers, index, journal)
        except BaseException:
            for writer in writers.values():
                writer.abandon()
            raise

    def _publish(
        self,
        drafts: Mapping[str, Draft],
        writers: Mapping[str, ColumnWriter],
        index: dict[str, Any],
        journal: Journal,
    ) -> None:
        records = {n: record for n in self._inputs if (record := self.partition.record(n)) is not None}
        # The values that were computed are of the files that were there before, and the records of these.
        if changed := [n for n, version in self._input_versions().items() if version != self._inputs[n]]:
            place = self.partition.store.path(self.partition.folder, f"{changed[0]}.parquet")
            raise Changed(f"{place} was written again while it was read; run the same command again")
        if PROBE not in self.names and not has_probed(self.partition, records[PROBE]):
            raise self._index_changed()
        for name, writer in writers.items():
            record = self._record(name, writer, records, index if name == PROBE else {})
            reached("before-write")
            writer.close(record)
            reached("between-write-and-rename")
            result = self.result.instances[name]
            result.busy_s = self._pass.busy_s[name]
            result.rows, result.errors, result.own_errors = record.rows, record.errors, record.own_errors
            result.bytes = drafts[name].scratch.stat().st_size
            if (commit := self._commit(drafts[name], record)) is not None:
                self.result.commits[name] = commit
            elif not self._is_made_by_another(name, record):
                break
            reached("after-rename")
            records[name] = record
            journal.forget(name)
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
                "busy_s": round(self._pass.busy_s[name], 3),
                "audio_s": round(self._pass.audio_s, 3),
            },
        )

    def _input_versions(self) -> dict[str, str | None]:
        """Returns the version of each column file that the pass reads, or whose record it does."""
        addresses = [a for n in self._pass.computed for a in self.graph.reads(n)]
        needed = {PROBE, *(split_address(a)[0] for a in addresses)} - {INDEX} - set(self.names)
        return {n: self.partition.store.version(self.partition.folder, f"{n}.parquet") for n in sorted(needed)}

    def _index_stamp(self) -> Stamp:
        stamp = self.partition.index_stamp()
        if stamp is None:
            raise DataError(f"partition {self.partition.number}: index.parquet is gone")
        return stamp


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
