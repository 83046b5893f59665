"""A pass over the songs of a partition: each is decoded once and goes through all stages that are computed."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from autosing.pipeline.columnfile import INHERITED
from autosing.pipeline.dataset import INDEX, PROBE, Partition, SongRow, split_address
from autosing.pipeline.faults import reached
from autosing.pipeline.graph import Graph, reads_index
from autosing.pipeline.journal import Journal, row_key
from autosing.pipeline.outcomes import Models, canonical, outcomes
from autosing.pipeline.record import ColumnDigest
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row
from autosing.signal.errors import RowError

PROBED = ("probe.n_samples", "probe.sample_rate_hz")
ANY = ""
"""In place of an instance: whichever it is."""


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


class Pass:
    """Computes instances for the songs of a partition.

    Args:
        partition: what to read.
        graph: the data set's instances.
        names: instances to compute.
        poison: instance (or `ANY`) and song that must not come together, as a process died of it, with the message to
            record.
        apart: instance and song that must not be in a micro-batch with others.
        on_batch: told how far the pass is, now and then.
        on_call: told which songs a stage is at, before it is and, by None, after it was.

    Attributes:
        computed: the names, inputs first.
        audio_s: length of the songs so far.
        busy_s: seconds that each instance took.
    """

    def __init__(
        self,
        partition: Partition,
        graph: Graph,
        names: Collection[str],
        poison: Mapping[tuple[str, str], str] | None = None,
        apart: Collection[tuple[str, str]] = (),
        on_batch: Callable[[Passed], None] | None = None,
        on_call: Callable[[Call | None], None] | None = None,
    ) -> None:
        self.partition, self.graph = partition, graph
        self.computed = [n for n in graph.closure([*names]) if n in names]
        self.audio_s = 0.0
        self.busy_s: defaultdict[str, float] = defaultdict(float)
        self._poison, self._apart = poison or {}, apart
        self._streamed = graph.streamed(self.computed)
        self._on_batch = on_batch or (lambda passed: None)
        self._on_call = on_call or (lambda call: None)
        self._journal: Journal | None = None

    def songs(
        self, models: Models, ids: Collection[str] | None = None, journal: Journal | None = None
    ) -> Iterator[Passing]:
        """Yields the songs (or those with the given ids) after all computed stages have seen them."""
        n_songs, of, self._journal = 0, self.partition.n_songs(), journal
        for batch in self._batches(models, ids):
            for name in self.computed:
                if name != PROBE:
                    self._apply(name, batch, models)
            self.audio_s += sum(map(self._duration_s, batch))
            n_songs += len(batch)
            if self._journal:
                self._journal.passed(n_songs)
            self._on_batch(Passed(n_songs, of, self.audio_s))
            yield from batch

    def _addresses(self) -> list[str]:
        reads = [a for n in self.computed for a in self.graph.reads(n) if split_address(a)[0] not in self.computed]
        index = reads_index(self.graph, self.computed)
        if PROBE in self.computed:
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
        self.busy_s[name] += time.monotonic() - started

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
        return [canonical(made[p.song.id], instance.columns) for p in ready]

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
        return row_key(self.definition(name), passing.song.id, list(map(passing.digest, addresses)))

    def definition(self, name: str) -> str:
        """Returns what an instance means."""
        return str(self.graph.definition(name))

    def _refused(self, name: str, passing: Passing) -> bool:
        """Records why a song can't be processed at all: an input has an error, or it killed a worker."""
        for known in (ANY, passing.song.id), (name, passing.song.id):
            if known in self._poison:
                passing.errors[name] = self._poison[known]
                return True
        inputs = [] if name == PROBE else [PROBE, *self.graph.inputs(name)]
        for i in inputs:
            if i in passing.errors:
                error = passing.errors[i]
                passing.errors[name] = error if error.startswith(INHERITED) else f"{INHERITED}{i}: {error}"
                return True
        return False

    def outcome(self, name: str, passing: Passing) -> Row | RowError:
        """Returns what an instance says of a song that has passed."""
        if name in passing.errors:
            return RowError(passing.errors[name])
        return {c.name: passing.song.values[f"{name}.{c.name}"] for c in self.graph[name].columns}
