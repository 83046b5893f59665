"""Which source a path is, and the one function that ingests it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autosing.pipeline.ingest.annotation import REFERENCE_COLUMNS
from autosing.pipeline.ingest.files import AUDIO_SUFFIXES
from autosing.pipeline.ingest.folder import FolderSource
from autosing.pipeline.ingest.gtsinger import GTSINGER
from autosing.pipeline.ingest.hts import HTS
from autosing.pipeline.ingest.jamendolyrics import JAMENDOLYRICS
from autosing.pipeline.ingest.jsonl import JSONL
from autosing.pipeline.ingest.lhotse import LHOTSE
from autosing.pipeline.ingest.ljspeech import LJSPEECH
from autosing.pipeline.ingest.m4singer import M4SINGER
from autosing.pipeline.ingest.opencpop import OPENCPOP, OPENCPOP_SONGS
from autosing.pipeline.ingest.opensinger import OPENSINGER
from autosing.pipeline.ingest.partitions import IngestResult, append_songs, bytes_of
from autosing.pipeline.ingest.pjs import PJS
from autosing.pipeline.ingest.source import Source
from autosing.pipeline.ingest.svcc import SVCC
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS as SYNTHETIC_COLUMNS
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.ingest.tables import TableSource
from autosing.pipeline.ingest.ultrastar import ULTRASTAR
from autosing.pipeline.ingest.vctk import VCTK
from autosing.signal.errors import UsageError

SYNTHETIC = "synthetic:"
TABLES = frozenset([".parquet", ".arrow"])
LAYOUTS = {
    "m4singer": M4SINGER,
    "opencpop": OPENCPOP,
    "opencpop-songs": OPENCPOP_SONGS,
    "opensinger": OPENSINGER,
    "vctk": VCTK,
    "ljspeech": LJSPEECH,
    "jamendolyrics": JAMENDOLYRICS,
    "gtsinger": GTSINGER,
    "pjs": PJS,
    "svcc": SVCC,
    "ultrastar": ULTRASTAR,
    "lhotse": LHOTSE,
    "jsonl": JSONL,
    "hts": HTS,
}
"""Layouts by name, in the order in which a folder is tried: the more telling ones first."""
MANIFESTS = ("lhotse", "jsonl")
FORMATS = ("auto", "folder", "parquet", "synthetic", *LAYOUTS)


@dataclass(frozen=True)
class IngestOptions:
    """How a source is read.

    Args:
        format: one of `FORMATS`.
        prefix: put before every id.
        include: globs of sound files to take (not of tables).
        exclude: globs of sound files to leave out (not of tables).
        artist: artist of songs that name none.
        partition_mb: size at which a partition is full.
        audio_root: a further folder in which files that a manifest names may lie.
    """

    format: str = "auto"
    prefix: str = ""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    artist: str | None = None
    partition_mb: float = 256
    audio_root: str | None = None


def ingest(source: str, url: str, options: IngestOptions) -> IngestResult:
    """Appends the songs of `source` to the data set at `url`.

    Args:
        source: a folder, a manifest, a Parquet file or tree, or `synthetic:SONGS[xSECONDS][@SEED]`.
        url: the data set.
        options: how to read it.

    Raises:
        UsageError: the source does not exist, holds no songs, its format is unknown, or a partition has no size.
        DataError: ids clash.
    """
    limit = bytes_of(options.partition_mb)
    if options.format not in FORMATS:
        raise UsageError(f"the format {options.format!r} is unknown; known: {', '.join(FORMATS)}")
    if source.startswith(SYNTHETIC) or options.format == "synthetic":
        synthetic = SyntheticSource.of(source.removeprefix(SYNTHETIC), options.prefix)
        return append_songs(url, synthetic.songs(), SYNTHETIC_COLUMNS, limit)
    root = Path(source)
    if not root.exists():
        raise UsageError(f"{source} does not exist; give a folder, a Parquet file or synthetic:SONGS")
    given = _source(root, options)
    format = _detect(root, given) if options.format == "auto" else options.format
    if format in LAYOUTS:
        _check_kind(root, format)
        songs = LAYOUTS[format].songs(given)
        return append_songs(url, songs, REFERENCE_COLUMNS, limit, given.problems)
    if format == "folder":
        folder = FolderSource(root, options.prefix, options.include, options.exclude, options.artist)
        return append_songs(url, folder.songs(), partition_bytes=limit)
    table = TableSource(root, options.prefix, options.artist, given.audio_root, given.problems)
    return append_songs(url, table.songs(), partition_bytes=limit, problems=given.problems)


def _source(root: Path, options: IngestOptions) -> Source:
    audio_root = Path(options.audio_root) if options.audio_root else None
    if audio_root is not None and not audio_root.is_dir():
        raise UsageError(f"--audio-root {audio_root} is no folder; give the folder that sound files lie in")
    folder, file = (root, None) if root.is_dir() else (root.parent, root)
    return Source(folder, file, options.prefix, options.include, options.exclude, options.artist, audio_root)


def _check_kind(root: Path, format: str) -> None:
    if root.is_file() and format not in MANIFESTS:
        raise UsageError(f"{root} is a file, and {format} is a layout of folders; give the folder it lies in")


def _detect(root: Path, source: Source) -> str:
    """Returns the format of a source: a layout, else sound files, unless there are only tables."""
    if root.is_file():
        manifest = next((name for name in MANIFESTS if LAYOUTS[name].found(source)), None)
        if root.suffix not in TABLES and manifest is None:
            raise UsageError(
                f"{root} is no Parquet file; give the folder it lies in, with --include {root.name}, or a manifest of "
                "JSON lines with audio_filepath in the first"
            )
        return manifest or "parquet"
    # Without --include and --exclude, which say what to take and not what is there.
    whole = Source(root)
    found = next((name for name, layout in LAYOUTS.items() if layout.found(whole)), None)
    if found is not None:
        return found
    suffixes = {p.suffix.lower() for p in root.rglob("*")}
    return "parquet" if suffixes & TABLES and not suffixes & AUDIO_SUFFIXES else "folder"
