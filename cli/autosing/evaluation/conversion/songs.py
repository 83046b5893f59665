"""The songs that conversion models are judged on: their columns, who is to sing them, and what that singer sings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autosing.evaluation.heard import Wave
from autosing.evaluation.recordings import audio_of, evenly, voice_of
from autosing.pipeline.dataset import INDEX, Dataset, SongRow, split_address
from autosing.signal.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from autosing.models.directory import LoadedModel

Array = npt.NDArray[Any]
PITCH = ("f0_hz", "voiced")
SINGER, ARTIST, TITLE = f"{INDEX}.singer", f"{INDEX}.artist", f"{INDEX}.title"


@dataclass(frozen=True)
class Task:
    """A song to convert.

    Attributes:
        id: of the song.
        source: who sings it.
        target: who is to sing it.
        wave: the recording at `SPEC.sample_rate`.
        series: the columns that the model is given, by name.
        wanted: the same song by the target, where the set has it.
        wanted_pitch: `f0_hz` and `voiced` of that, as far as the model is given pitch.
    """

    id: str
    source: str
    target: str
    wave: Wave
    series: Mapping[str, Array]
    wanted: Wave | None = None
    wanted_pitch: Mapping[str, Array] = field(default_factory=dict)

    @property
    def wanted_f0_hz(self) -> float | None:
        """The median pitch of what the target sings; None where it is not known."""
        f0_hz = self.wanted_pitch.get("f0_hz", np.zeros(0))
        return float(np.median(f0_hz[f0_hz > 0])) if (f0_hz > 0).any() else None


@dataclass(frozen=True)
class Choice:
    """Which songs are converted, to whom.

    Attributes:
        songs: how many, evenly over the set.
        singers: of the model's table, who sing them in turns; empty for all.
        parallel: whether only songs are taken that the set has by another of them, who is then the target: songs of the
            same title.
    """

    songs: int = 8
    singers: tuple[str, ...] = ()
    parallel: bool = False


def tasks_of(dataset: Dataset, loaded: "LoadedModel", choice: Choice) -> list[Task]:
    """Returns the songs to convert; those whose recording or columns, or the target's, lack a value are left out.

    Raises:
        UsageError: a column is not computed, a singer is not in the model's table, or there is no such song.
        CheckpointError: a column means something else than in training.
    """
    addresses = addresses_of(dataset, loaded)
    singers = _known(loaded, choice.singers)
    names = list(_names(dataset))
    pairs = _parallel(names, singers) if choice.parallel else _in_turns(names, singers)
    chosen = evenly(choice.songs, len(pairs))
    wanted = {pair[0]: pair for n, pair in enumerate(pairs) if n in chosen}
    found = list(_read(dataset, addresses, wanted))
    if not found:
        what = " by two singers of the model's under one title" if choice.parallel else ""
        raise UsageError(f"{dataset.url} has no song{what} that can be read; see `autosing errors`")
    return found


def addresses_of(dataset: Dataset, loaded: "LoadedModel") -> dict[str, str]:
    """Returns where the columns lie that a model is given, once they are known to mean what they meant in training."""
    first, told = dataset.partitions[0], loaded.contract
    addresses = {name: address for name, address in told["columns"].items() if name != "mel"}
    for name, address in addresses.items():
        instance = split_address(address)[0]
        record = first.record(instance)
        if record is None:
            raise UsageError(f"{address} is not computed yet; run `autosing process {dataset.url} {instance}`")
        if record.definition != told["definitions"][name]:
            raise CheckpointError(
                f"{address} of {dataset.url} is computed otherwise than in the set that the model was trained on: "
                "other settings, features, codebook or encoder; process it with those of the training set"
            )
    return addresses


def singer_of(row: SongRow) -> str | None:
    """Returns who sings a song, where that is known."""
    named = row.values.get(SINGER) or row.values.get(ARTIST)
    return str(named) if named else None


def _known(loaded: "LoadedModel", singers: Sequence[str]) -> list[str]:
    known = list(loaded.contract.get("singers", ()))
    if not known:
        raise UsageError("the model has no table of singers, so there is no one to convert to")
    unknown = [name for name in singers if name not in known]
    if unknown:
        raise UsageError(f"the model knows no singer {unknown[0]!r}; it knows {', '.join(known)}")
    return list(singers) or known


def _names(dataset: Dataset) -> Iterator[tuple[str, str, str | None]]:
    """Yields id, singer and title of the songs in use whose singer is known."""
    columns = [address for address in (SINGER, ARTIST, TITLE) if _has(dataset, address)]
    for row in dataset.read(columns):
        singer = singer_of(row)
        if singer and row.id not in dataset.excluded:
            yield row.id, singer, row.values.get(TITLE)


def _has(dataset: Dataset, address: str) -> bool:
    return split_address(address)[1] in dataset.partitions[0].index_columns()


def _in_turns(names: Sequence[tuple[str, str, str | None]], singers: Sequence[str]) -> list[tuple[str, str, str]]:
    """Returns song, target and "" for each song: the singers in turns, each song to someone else than who sings it."""
    found = []
    for n, (id, singer, _) in enumerate(names):
        others = [name for name in singers if name != singer] or list(singers)
        found.append((id, others[n % len(others)], ""))
    return found


def _parallel(names: Sequence[tuple[str, str, str | None]], singers: Sequence[str]) -> list[tuple[str, str, str]]:
    """Returns song, target and the target's song of the same title."""
    by_title: dict[str, list[tuple[str, str]]] = {}
    for id, singer, title in names:
        if title:
            by_title.setdefault(title, []).append((id, singer))
    found = []
    for songs in by_title.values():
        for id, singer in songs:
            others = [(other, who) for other, who in songs if who != singer and who in singers]
            if others:
                found.append((id, others[0][1], others[0][0]))
    return sorted(found)


def _read(dataset: Dataset, addresses: Mapping[str, str], wanted: Mapping[str, tuple[str, str, str]]) -> Iterator[Task]:
    audio = audio_of(dataset)
    columns = [address for address in (SINGER, ARTIST) if _has(dataset, address)]
    needed = {*wanted, *(other for _, _, other in wanted.values() if other)}
    rows = {}
    for row in dataset.read(list(dict.fromkeys([audio, *addresses.values(), *columns]))):
        if row.id in needed:
            rows[row.id] = (row, voice_of(row, audio))
    for id, target, other in wanted.values():
        row, wave = rows[id]
        series = {name: row.values[address] for name, address in addresses.items()}
        if wave is None or any(values is None for values in series.values()):
            continue
        pitch, sung = dict[str, Array](), None
        if other:
            theirs, sung = rows[other]
            pitch = {name: theirs.values[addresses[name]] for name in PITCH if name in addresses}
            if sung is None or any(values is None for values in pitch.values()):
                continue
        yield Task(id, singer_of(row) or "", target, wave, series, sung, pitch)
