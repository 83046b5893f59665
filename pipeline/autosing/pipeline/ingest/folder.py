"""A folder of audio files, with lyrics beside them and `artist/song` folders where there are any."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autosing.pipeline.ingest.files import (
    AUDIO_SUFFIXES,
    header_seconds,
    is_audio,
    passes,
    path_text,
    read_bytes,
    read_text,
)
from autosing.pipeline.ingest.partitions import NewSong
from autosing.signal.errors import UsageError

LYRICS_FILE = "lyrics.txt"


@dataclass(frozen=True)
class FolderSource:
    """Songs in a folder and its subfolders.

    Args:
        root: the folder.
        prefix: put before every id.
        include: globs of paths relative to `root`; empty: every file with a suffix of an audio format.
        exclude: globs of paths that are left out.
        artist: artist of every song; None: the topmost folder above the song, if any. A folder with a single audio
            file is itself the song.
    """

    root: Path
    prefix: str = ""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    artist: str | None = None

    def paths(self) -> list[Path]:
        """Returns the audio files, sorted."""
        found = []
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if path.is_file() and self._is_wanted(name, path):
                found.append(path)
        return found

    def songs(self) -> Iterator[NewSong]:
        """Yields the songs, reading one file at a time.

        Raises:
            UsageError: the folder holds no audio.
        """
        paths = self.paths()
        if not paths:
            by = "that --include and --exclude let pass" if self.include or self.exclude else "of a known suffix"
            raise UsageError(f"{self.root} holds no audio files {by} (suffixes {' '.join(sorted(AUDIO_SUFFIXES))})")
        shared = _shared_lyrics(paths)
        for path in paths:
            yield self._song(path, shared.get(path.parent), path.parent in shared)

    def _is_wanted(self, name: str, path: Path) -> bool:
        is_taken = bool(self.include) or (is_audio(path) and not any(part.startswith(".") for part in Path(name).parts))
        return is_taken and passes(name, self.include, self.exclude)

    def _song(self, path: Path, lyrics: Path | None, is_alone: bool) -> NewSong:
        relative = Path(path_text(path.relative_to(self.root)))
        audio = read_bytes(path)
        *folders, title = (
            relative.parent.parts if is_alone and len(relative.parts) > 1 else relative.with_suffix("").parts
        )
        artist = self.artist or (folders[0] if folders else None)
        text = {"artist": artist, "title": title} | _lyrics(path, lyrics)
        return NewSong(self.prefix + relative.as_posix(), audio, text, duration_s=header_seconds(audio))


def _shared_lyrics(paths: Sequence[Path]) -> dict[Path, Path | None]:
    """Returns for each folder with a single song the lyrics in it, whatever they are called, or None."""
    shared: dict[Path, Path | None] = {}
    for folder, n_songs in Counter(p.parent for p in paths).items():
        if n_songs == 1:
            lrc, text = sorted(folder.glob("*.lrc")), sorted(folder.glob(LYRICS_FILE))
            shared[folder] = next((files[0] for files in (lrc, text) if len(files) == 1), None)
    return shared


def _lyrics(path: Path, shared: Path | None) -> dict[str, str | None]:
    """Returns the lyrics columns: the files of the same stem, else the folder's own."""
    candidates = [path.with_suffix(".lrc"), path.with_suffix(".txt")]
    files = [f for f in candidates if f.is_file()] or ([shared] if shared else [])
    columns: dict[str, str | None] = {}
    for file in files:
        column = "lrc_lyrics" if file.suffix == ".lrc" else "raw_lyrics"
        columns.setdefault(column, read_text(file))
    return columns
