"""Divides the songs of a data set into partitions of a good size, in another folder, with all columns that are fresh.

The songs of partitions with the same columns are put beside each other, in their order, and packed anew. Rows are the
same to the bit; records are made of them again, so that what was fresh stays fresh. A run that was killed goes on with
the partition that it was at: how far it is lies beside the partitions, and until the end nobody takes them for a set.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

from autosing.pipeline.construct.manifest import digest_of
from autosing.pipeline.dataset import EXCLUDE, REPARTITION, UNFINISHED, Dataset
from autosing.pipeline.ingest.partitions import bytes_of
from autosing.pipeline.leftovers import TEMPORARY
from autosing.pipeline.store import Store, explained_refusals
from autosing.pipeline.upkeep.orphans import MODELS
from autosing.pipeline.upkeep.rewrite import Limits, Rewriter
from autosing.pipeline.upkeep.stream import Position
from autosing.pipeline.upkeep.survey import Sources, check_ids
from autosing.signal.errors import DataError, UsageError

FORMAT = 1
COPY_BYTES = 4 << 20
Told = Callable[[str], None]


@dataclass(frozen=True)
class Repartitioned:
    """What a data set was divided into; while it goes on, how far that is.

    Args:
        source: the data set that it was made of.
        fingerprint: of the state of that, and of the limits.
        partition_mb: audio at which a partition is full.
        hours: length at which a partition is full.
        before: partitions of the source.
        songs: its songs.
        after: partitions that were written.
        next: the source, in their order, and the row there that the next partition begins with; None at the end.
        left: why columns were left behind -> instance -> in how many partitions.
        format: version of this layout.
    """

    source: str
    fingerprint: str
    partition_mb: float
    hours: float
    before: int
    songs: int
    after: int = 0
    next: tuple[int, int] | None = (0, 0)
    left: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    format: int = FORMAT

    def write(self, store: Store, name: str) -> None:
        """Writes it beside the partitions."""
        with store.writing(name) as path:
            path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def repartition(
    source_url: str, target_url: str, partition_mb: float = 256, hours: float = 4.0, told: Told | None = None
) -> Repartitioned:
    """Writes the songs of a data set and all columns that are fresh into partitions of a good size.

    Args:
        source_url: the data set; it is never written to.
        target_url: a new folder, or one that this command was stopped at.
        partition_mb: audio at which a partition is full.
        hours: length at which a partition is full.
        told: is told the name of every file that was written.

    Raises:
        UsageError: the target is another data set, or lies in the source; a partition has no size.
        DataError: the source can't be read, or changed since the run that was stopped; the disk is full.
    """
    source, target = Dataset(source_url), Store(target_url)
    _check_apart(source.store, target)
    bytes_of(partition_mb)  # Told before anything is written.
    sources = Sources.of(source.partitions)
    fingerprint = digest_of([FORMAT, sources.states, partition_mb, hours])
    plan = Repartitioned(source_url, fingerprint, partition_mb, hours, len(sources), sources.n_songs, left=sources.left)
    with explained_refusals(target_url):
        begun = _begun(target, plan)
        if begun.next is None:
            return begun
        check_ids(source.partitions)
        _copy_beside(source.store, target)
        return _write(target, sources, begun, told or (lambda name: None))


def _check_apart(source: Store, target: Store) -> None:
    a, b = f"{source.path()}/", f"{target.path()}/"
    if a.startswith(b) or b.startswith(a):
        raise UsageError(f"{target.url} and {source.url} lie in each other; give a folder elsewhere")


def _begun(target: Store, plan: Repartitioned) -> Repartitioned:
    """Returns how far an earlier run of the same command came; where there was none, the beginning.

    Raises:
        UsageError: the target is something else.
    """
    for name in (UNFINISHED, REPARTITION):
        if (text := target.read_text(name)) is not None:
            return _same(target.path(name), text, plan)
    # A run that was killed at once has left half of the note that it began.
    target.remove_leftovers("", [UNFINISHED])
    if any(not entry.name.startswith(f"{TEMPORARY}{UNFINISHED}.") for entry in target.entries()):
        raise UsageError(f"{target.url} holds something already; give a new folder")
    plan.write(target, UNFINISHED)
    return plan


def _same(path: str, text: str, plan: Repartitioned) -> Repartitioned:
    try:
        told = json.loads(text)
        begun = Repartitioned(**told | {"next": None if told["next"] is None else tuple(told["next"])})
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}); begin again with a new folder") from error
    if begun.fingerprint != plan.fingerprint:
        raise UsageError(
            f"{path} tells of another beginning: {begun.source}, as it was then, with {begun.partition_mb:g} MB and "
            f"{begun.hours:g} h; give the same, or a new folder"
        )
    return begun


def _copy_beside(source: Store, target: Store) -> None:
    """Copies what lies beside the partitions: the excluded songs, and artefacts that columns were computed by."""
    if source.stamp(EXCLUDE) is not None:
        _copy(source, target, (EXCLUDE,))
    for parts in _files(source, (MODELS,)):
        _copy(source, target, parts)


def _files(store: Store, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for entry in store.entries(*parts):
        if entry.name.startswith(TEMPORARY):
            continue
        inner = (*parts, entry.name)
        if entry.is_folder:
            yield from _files(store, inner)
        else:
            yield inner


def _copy(source: Store, target: Store, parts: tuple[str, ...]) -> None:
    with source.open(*parts) as file, target.writing(*parts) as path, path.open("wb") as copy:
        shutil.copyfileobj(file, copy, COPY_BYTES)


def _write(target: Store, sources: Sources, done: Repartitioned, told: Told) -> Repartitioned:
    """Writes the partitions that are left, noting after each how far it is."""
    limits = Limits(bytes_of(done.partition_mb), done.hours * 3600)
    start = Position(*done.next) if done.next else Position(len(sources))
    rewriter = Rewriter(target, sources, limits, start, told)
    while rewriter.position:
        rewriter.write(done.after)
        at = rewriter.position
        done = replace(done, after=done.after + 1, next=(at.source, at.row) if at else (len(sources), 0))
        done.write(target, UNFINISHED)
    done = replace(done, next=None)
    done.write(target, REPARTITION)
    target.remove(UNFINISHED)
    return done
