"""What every layout is given: a folder, what of it is wanted, and a list of what could not be taken."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from autosing.pipeline.ingest.files import header_seconds, is_audio, named_file, passes, path_text
from autosing.pipeline.ingest.partitions import NewSong, Problems
from autosing.signal.errors import RowError

T = TypeVar("T")
Text = Mapping[str, str | None]
# "and 3 more" says enough; a list of every file that nobody asked for does not help.
_FIRST = 3


@dataclass(frozen=True)
class Source:
    """A folder in some layout.

    Args:
        root: the folder.
        file: the file in it that lists the songs, where one was given.
        prefix: put before every id.
        include: globs of sound files relative to `root`; empty: all that the layout takes by itself.
        exclude: globs of sound files that are left out.
        artist: artist of every song that names none.
        audio_root: a further folder in which files that a manifest names may lie.
        problems: what was not taken, and why.
    """

    root: Path
    file: Path | None = None
    prefix: str = ""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    artist: str | None = None
    audio_root: Path | None = None
    problems: Problems = field(default_factory=Problems)

    @cached_property
    def files(self) -> list[Path]:
        """All files of the folder but hidden ones, sorted."""
        found = (p for p in self.root.rglob("*") if p.is_file())
        return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(self.root).parts))

    @cached_property
    def audio(self) -> list[Path]:
        """The sound files that `include` and `exclude` let pass."""
        return [p for p in self.files if is_audio(p) and self.wants(p)]

    @property
    def roots(self) -> list[Path]:
        """The folders that may be read."""
        return [self.root, *([self.audio_root] if self.audio_root else [])]

    def name(self, path: Path) -> str:
        """Returns a path relative to the folder that may be read in which it lies."""
        inside = next((root for root in self.roots if path.is_relative_to(root)), None)
        return path_text(path.relative_to(inside) if inside else path)

    def wants(self, path: Path) -> bool:
        """Whether `include` and `exclude` let a file pass."""
        return passes(self.name(path), self.include, self.exclude)

    def named(self, name: str, where: str, *folders: Path) -> Path:
        """Returns the file that a name in a file stands for; see `named_file`."""
        return named_file(name, [*(folders or (self.root,)), *self.roots[1:]], self.roots, where)

    def song(self, path: Path, text: Text, reference: dict[str, Any] | None = None, id: str = "") -> NewSong:
        """Returns the song in a sound file; its id is the path relative to the folder.

        Raises:
            RowError: the file can't be read.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RowError(f"{self.name(path)} can't be read ({error.strerror})") from error
        return self.song_of(data, text, reference, id or self.name(path), header_seconds(data))

    def song_of(self, data: bytes, text: Text, reference: dict[str, Any] | None, id: str, duration_s: float) -> NewSong:
        """Returns the song of encoded sound."""
        known = {column: value for column, value in text.items() if value}
        if self.artist:
            known.setdefault("artist", self.artist)
        return NewSong(self.prefix + id, data, dict(known), reference or {}, duration_s)

    def is_most(self, paths: Sequence[Path]) -> bool:
        """Whether some sound files are at least half of those in the folder, and not none."""
        return bool(paths) and 2 * len(paths) >= len(self.audio)

    def taken(self, items: Iterable[T], make: Callable[[T], NewSong | None]) -> Iterator[NewSong]:
        """Yields what `make` makes of each item; what can't be made is a problem, None is left out by wish."""
        for item in items:
            try:
                song = make(item)
            except RowError as error:
                self.problems.add(str(error))
                continue
            if song is not None:
                yield song

    def sung(self, paths: Iterable[Path], glob: str) -> list[Path]:
        """Returns the paths without those of speech, which are taken only where `include` is given and asks for them.

        Args:
            paths: sound files.
            glob: of those that hold speech.
        """
        every = list(paths)
        spoken = [] if self.include else [p for p in every if passes(self.name(p), [glob], ())]
        if spoken:
            names = _first([self.name(p) for p in spoken])
            self.problems.add(
                f"{_files(spoken)} of speech left out (--include {glob!r} takes them): {names}", len(spoken)
            )
        left_out = set(spoken)
        return [p for p in every if p not in left_out]

    def tell_unused(self, used: Iterable[Path], why: str) -> None:
        """Adds a problem where sound files are wanted that nothing used.

        Args:
            used: the files that were used.
            why: completes "N sound files ...: first of them".
        """
        seen = set(used)
        if unused := [self.name(p) for p in self.audio if p not in seen]:
            self.problems.add(f"{_files(unused)} {why}: {_first(unused)}", len(unused))


def _files(them: Sequence[Any]) -> str:
    return "1 sound file" if len(them) == 1 else f"{len(them)} sound files"


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FIRST} more" if len(names) > _FIRST else ""
    return ", ".join(names[:_FIRST]) + more


class Layout(NamedTuple):
    """How the files of a corpus lie, and how they become songs.

    Args:
        found: whether a folder is in this layout.
        songs: yields its songs.
    """

    found: Callable[[Source], bool]
    songs: Callable[[Source], Iterator[NewSong]]
