"""A folder of audio files, with lyrics beside them and `artist/song` folders where there are any."""

import fnmatch
import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autosing.pipeline.ingest.partitions import NewSong
from autosing.signal.errors import UsageError

AUDIO_SUFFIXES = frozenset(
    [
        ".aac",
        ".ac3",
        ".aif",
        ".aifc",
        ".aiff",
        ".alac",
        ".ape",
        ".au",
        ".caf",
        ".flac",
        ".m4a",
        ".mka",
        ".mkv",
        ".mp2",
        ".mp3",
        ".mp4",
        ".mpga",
        ".oga",
        ".ogg",
        ".opus",
        ".ra",
        ".sph",
        ".tta",
        ".w64",
        ".wav",
        ".wave",
        ".weba",
        ".webm",
        ".wma",
        ".wv",
    ]
)
LYRICS_FILE = "lyrics.txt"
LARGEST_LYRICS_BYTES = 4 << 20
LONGEST_BELIEVED_S = 24 * 3600


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
            if path.is_file() and self._is_wanted(name, path.suffix.lower()):
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

    def _is_wanted(self, name: str, suffix: str) -> bool:
        if any(fnmatch.fnmatch(name, glob) for glob in self.exclude):
            return False
        if self.include:
            return any(fnmatch.fnmatch(name, glob) for glob in self.include)
        return suffix in AUDIO_SUFFIXES and not any(part.startswith(".") for part in Path(name).parts)

    def _song(self, path: Path, lyrics: Path | None, is_alone: bool) -> NewSong:
        relative = Path(_as_text(path.relative_to(self.root)))
        audio = _read_bytes(path)
        *folders, title = (
            relative.parent.parts if is_alone and len(relative.parts) > 1 else relative.with_suffix("").parts
        )
        artist = self.artist or (folders[0] if folders else None)
        text = {"artist": artist, "title": title} | _lyrics(path, lyrics)
        return NewSong(self.prefix + relative.as_posix(), audio, text, duration_s=header_seconds(audio))


def _as_text(path: Path) -> str:
    """Returns a path as text; bytes that are no UTF-8, which names on disk may hold, become `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read ({error.strerror}); make it readable, or --exclude it") from error


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
        columns.setdefault(column, _read_text(file))
    return columns


def _read_text(file: Path) -> str:
    """Returns the text of a small file: UTF-8 with or without BOM, UTF-16 with BOM, else Windows-1252."""
    raw = _read_bytes(file)
    if len(raw) > LARGEST_LYRICS_BYTES:
        raise UsageError(f"{file} has {len(raw)} bytes; lyrics of more than {LARGEST_LYRICS_BYTES} are a mistake")
    encodings = ["utf-16"] if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def header_seconds(audio: bytes) -> float:
    """Returns the length that the file's header claims; 0 where it claims nothing believable."""
    import soundfile

    try:
        info = soundfile.info(io.BytesIO(audio))
    except soundfile.LibsndfileError:
        return 0.0
    return float(info.duration) if 0 < info.duration < LONGEST_BELIEVED_S else 0.0
