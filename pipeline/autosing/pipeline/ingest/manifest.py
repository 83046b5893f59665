"""Manifests of JSON lines, plain or gzipped, and Hugging Face `metadata.csv`: their rows, and the files they name."""

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from autosing.pipeline.ingest.files import UTF_16, OutsideError, first_line
from autosing.pipeline.ingest.source import Source
from autosing.signal.errors import DataError, RowError, UsageError

SUFFIXES = (".jsonl", ".jsonl.gz")
TABLE = ".csv"
DELIMITERS = ",;\t"
METADATA = ("metadata.csv", "metadata.jsonl")
LONGEST_ROW_BYTES = 16 << 20
LARGEST_HELD_BYTES = 2 << 30


class Row(NamedTuple):
    """A row and where it stands."""

    where: str
    values: dict[str, Any]


def manifests(source: Source) -> list[Path]:
    """Returns the file that was given, or else those at the top of the folder and its folders' `metadata`."""
    if source.file is not None:
        return [source.file]
    names = [p for p in sorted(source.root.iterdir()) if p.is_file()]
    at_top = [
        p for p in names if p.name.endswith(SUFFIXES) or p.name in METADATA or (p.suffix == ".json" and first_row(p))
    ]
    return at_top + [p for name in METADATA for p in sorted(source.root.glob(f"*/{name}"))]


def first_row(path: Path) -> dict[str, Any]:
    """Returns the first row of a manifest, {} where it is none."""
    try:
        return next((_object(line) for _, line in _lines(path)), {})
    except (RowError, DataError):
        return {}


def grouped(source: Source, path: Path, names_of: Callable[[Mapping[str, Any]], Sequence[str]]) -> Iterator[Row]:
    """Yields the rows of a manifest, those that name the same sound first together, in the order of their first rows.

    Lines that are no JSON objects are problems. All names are looked at before the first row is yielded.

    Args:
        source: where problems go, and which folders may be read.
        path: the manifest.
        names_of: returns the sounds that a row names, at least one, which is "" where it names none.

    Raises:
        UsageError: a row names a file in a folder that may not be read.
        DataError: the manifest is damaged, or too large to be put in order.
    """
    groups: dict[str, list[tuple[int, bytes]]] = {}
    first_named: dict[str, int] = {}
    held = 0
    for number, line in _lines(path):
        held += len(line)
        if held > LARGEST_HELD_BYTES:
            raise DataError(f"{path} has more than {LARGEST_HELD_BYTES} bytes; split it")
        try:
            names = names_of(_object(line))
        except RowError as error:
            source.problems.add(f"{source.name(path)}:{number}: {error}")
            continue
        groups.setdefault(names[0], []).append((number, line))
        for name in names:
            first_named.setdefault(name, number)
    for name, number in first_named.items():
        _check_inside(source, name, f"{source.name(path)}:{number}", path)
    for lines in groups.values():
        yield from (Row(f"{source.name(path)}:{number}", _object(line)) for number, line in lines)


def _check_inside(source: Source, name: str, where: str, manifest: Path) -> None:
    try:
        sound_of(source, name, where, manifest)
    except RowError:
        return  # It is told with the rows that name it.


def sound_of(source: Source, name: str, where: str, manifest: Path) -> Path:
    """Returns the sound file that a row names: relative to the manifest, or to the audio root, or absolute inside them.

    Raises:
        UsageError: it lies elsewhere.
        RowError: it does not exist.
    """
    try:
        return source.named(name, where, manifest.parent)
    except OutsideError as error:
        raise UsageError(f"{error}; give the folder that it lies in with --audio-root FOLDER") from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.suffix == TABLE:
        yield from _table_lines(path)
        return
    with closing(_open(path)) as file:
        number = 0
        try:
            while line := file.readline(LONGEST_ROW_BYTES):
                number += 1
                if len(line) == LONGEST_ROW_BYTES:
                    raise DataError(f"{path}:{number} has more than {LONGEST_ROW_BYTES} bytes; is it JSON lines?")
                if line.strip():
                    yield number, line
        except (gzip.BadGzipFile, EOFError, OSError) as error:
            raise DataError(f"{path} is damaged after line {number} ({error}); copy it again") from error


def _table_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields the rows of a table with a header as JSON; it tells what is between its fields, as spreadsheets differ."""
    names = first_line(path, 1 << 16)
    with path.open("rb") as opened:
        encoding = "utf-16" if opened.read(2) in UTF_16 else "utf-8-sig"
    with path.open(encoding=encoding, newline="") as file:
        # A line of any length would be read whole; its rest is another row, which is told when it makes no sense.
        lines = iter(lambda: file.readline(LONGEST_ROW_BYTES), "")
        rows = csv.DictReader(lines, strict=True, delimiter=max(DELIMITERS, key=names.count))
        try:
            for row in rows:
                yield rows.line_num, json.dumps({key: value or None for key, value in row.items() if key}).encode()
        except (csv.Error, UnicodeDecodeError, OSError) as error:
            raise DataError(
                f"{path} is damaged after line {rows.line_num} ({error}); save it as CSV in UTF-8"
            ) from error


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _object(line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line.decode("utf-8-sig"))
        if rb"\u" in line:
            json.dumps(values, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise RowError(f"it is no UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except UnicodeEncodeError as error:  # As where a tool cut a text within an emoji.
        half = ascii(error.object[error.start])[1:-1]
        raise RowError(f"it holds half of a character ({half}), which is no text; remove it") from error
    except (ValueError, RecursionError) as error:
        raise RowError(f"it is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise RowError(f"it is no JSON object but a {type(values).__name__}")
    return values
