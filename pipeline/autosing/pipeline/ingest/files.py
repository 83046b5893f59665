"""Files that sources are made of: which are sound, what text they hold, and where a name in a file may lead."""

import codecs
import csv
import fnmatch
import io
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from autosing.signal.errors import RowError, UsageError

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
LARGEST_LYRICS_BYTES = 4 << 20
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
LARGEST_TABLE_BYTES = 256 << 20
LONGEST_BELIEVED_S = 24 * 3600
# Where one recording lies in several codings, the first of these that there is.
_PREFERRED = (".wav", ".flac", *sorted(AUDIO_SUFFIXES - {".wav", ".flac"}))


class _Tabs(csv.excel_tab):
    quoting = csv.QUOTE_NONE


class UnreadableError(UsageError, RowError):
    """A file can't be read. It ends an ingest of plain files; in a layout, only the song that needs it is left out."""


class OutsideError(RowError):
    """A name in a file leads out of the folders that a source may read."""


def is_audio(path: Path) -> bool:
    """Whether a file's suffix is that of an audio format."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def passes(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a path relative to the source is let pass by globs; no `include` takes everything."""
    if any(fnmatch.fnmatch(name, glob) for glob in exclude):
        return False
    return not include or any(fnmatch.fnmatch(name, glob) for glob in include)


def path_text(path: Path) -> str:
    """Returns a path as text with `/`; bytes that are no UTF-8, which names on disk may hold, become `\\xNN`."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def read_bytes(path: Path) -> bytes:
    """Returns a file's bytes.

    Raises:
        UnreadableError: it can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path} can't be read ({error.strerror}); make it readable, or --exclude it") from error


def read_text(file: Path, largest_bytes: int = LARGEST_LYRICS_BYTES) -> str:
    """Returns the text of a file: UTF-8 with or without BOM, UTF-16 with BOM, else Windows-1252.

    Raises:
        UnreadableError: it can't be read, or has more than `largest_bytes`.
    """
    raw = read_bytes(file)
    if len(raw) > largest_bytes:
        told = f"{file} has {len(raw)} bytes; more than {largest_bytes} are a mistake in a file of this kind"
        raise UnreadableError(told)
    return decode_text(raw)


def beginning_of(file: Path, n_bytes: int = 1 << 12) -> str:
    """Returns the text of the first bytes of a file, which tell what it is; what they cut in two is left out."""
    with file.open("rb") as opened:
        return decode_text(opened.read(n_bytes), is_whole=False)


def decode_text(raw: bytes, encodings: Sequence[str] = ("utf-8-sig", "cp1252"), is_whole: bool = True) -> str:
    """Returns bytes as text: UTF-16 with BOM, else the first of `encodings` that fits, else Latin-1."""
    for encoding in ["utf-16"] if raw[:2] in UTF_16 else encodings:
        try:
            return codecs.getincrementaldecoder(encoding)().decode(raw, is_whole)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def rows_of(text: str) -> list[str]:
    """Returns the lines of a text; unlike `splitlines`, not what is between other separators, which texts hold."""
    return re.split(r"\r\n|\r|\n", text)


def first_line(file: Path, n_bytes: int = 1 << 12) -> str:
    """Returns the first line of a file, as far as it is within the first bytes."""
    return rows_of(beginning_of(file, n_bytes))[0]


def table_rows(text: str, where: str, delimiter: str = ",") -> list[dict[str, str]]:
    """Returns the rows of a table with a header; fields that a row lacks are missing, tabs come without quotes.

    Raises:
        UnreadableError: it is no such table.
    """
    dialect = _Tabs if delimiter == "\t" else csv.excel
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=None), dialect=dialect))
    except csv.Error as error:
        raise UnreadableError(f"{where} is no table: {error}") from error
    return [{name: field for name, field in row.items() if name and field is not None} for row in rows]


def header_seconds(audio: bytes) -> float:
    """Returns the length that the file's header claims; 0 where it claims nothing believable."""
    import soundfile

    try:
        info = soundfile.info(io.BytesIO(audio))
    except soundfile.LibsndfileError:
        return 0.0
    return float(info.duration) if 0 < info.duration < LONGEST_BELIEVED_S else 0.0


def audio_of_stem(folder: Path, stem: str) -> Path | None:
    """Returns the sound file `stem` with any suffix in a folder, lossless ones first; None where there is none."""
    if not _is_plain(stem):
        return None
    return next((p for suffix in _PREFERRED if (p := folder / f"{stem}{suffix}").is_file()), None)


def _is_plain(name: str) -> bool:
    return bool(name) and not set(name) & set("/\\\0") and name not in (".", "..")


def named_file(name: str, folders: Sequence[Path], roots: Iterable[Path], where: str) -> Path:
    """Returns the file that a name in a file stands for: the first that exists, in a folder that may be read.

    Args:
        name: as it was written; absolute, or relative to one of `folders`.
        folders: where relative names are looked up.
        roots: the folders in which the file must lie, links followed.
        where: what names it, for messages.

    Raises:
        OutsideError: it lies outside of `roots`.
        RowError: there is no such file, or it can't be looked for.
    """
    if not name or "\0" in name:
        raise RowError(f"{where} names no file: {name!r}")
    allowed = [root.resolve() for root in roots]

    def is_inside(path: Path) -> bool:
        return any(path.resolve().is_relative_to(root) for root in allowed)

    outside = OutsideError(f"{where} names {name}, which lies outside of {' and '.join(map(str, roots))}")
    inside = [path for folder in folders if is_inside(path := folder / name)]  # An absolute name stays what it is.
    if not inside:
        raise outside
    try:
        found = next((path for path in inside if path.is_file()), None) or _in_other_case(inside[0])
    except OSError as error:
        raise RowError(f"{where} names {name[:80]}, which can't be looked for ({error.strerror})") from error
    if found and not is_inside(found):  # What has the name in another case may be a link.
        raise outside
    if found is None:
        raise RowError(f"{where} names {name}, which does not exist")
    return found


def _in_other_case(path: Path) -> Path | None:
    """Returns the file of the same name but for case and Unicode form, as other systems find it."""
    if not path.parent.is_dir():
        return None
    wanted = _folded(path.name)
    return next((p for p in sorted(path.parent.iterdir()) if _folded(p.name) == wanted and p.is_file()), None)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
