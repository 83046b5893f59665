"""Which source a path is, and the one function that ingests it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autosing.pipeline.ingest.folder import AUDIO_SUFFIXES, FolderSource
from autosing.pipeline.ingest.partitions import IngestResult, append_songs
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource
from autosing.pipeline.ingest.tables import TableSource
from autosing.signal.errors import UsageError

FORMATS = ("auto", "folder", "parquet", "synthetic")
SYNTHETIC = "synthetic:"


@dataclass(frozen=True)
class IngestOptions:
    """How a source is read.

    Args:
        format: one of `FORMATS`.
        prefix: put before every id.
        include: globs of files to take (folders only).
        exclude: globs of files to leave out (folders only).
        artist: artist of songs that name none.
        partition_mb: size at which a partition is full.
    """

    format: str = "auto"
    prefix: str = ""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    artist: str | None = None
    partition_mb: float = 256


def ingest(source: str, url: str, options: IngestOptions) -> IngestResult:
    """Appends the songs of `source` to the data set at `url`.

    Args:
        source: a folder, a Parquet file or tree, or `synthetic:SONGS[xSECONDS][@SEED]`.
        url: the data set.
        options: how to read it.

    Raises:
        UsageError: the source does not exist, holds no songs, or its format is unknown.
        DataError: ids clash.
    """
    limit = int(options.partition_mb * (1 << 20))
    if source.startswith(SYNTHETIC) or options.format == "synthetic":
        synthetic = SyntheticSource.of(source.removeprefix(SYNTHETIC), options.prefix)
        return append_songs(url, synthetic.songs(), REFERENCE_COLUMNS, limit)
    root = Path(source)
    if not root.exists():
        raise UsageError(f"{source} does not exist; give a folder, a Parquet file or synthetic:SONGS")
    format = _detect(root) if options.format == "auto" else options.format
    if format == "folder":
        folder = FolderSource(root, options.prefix, options.include, options.exclude, options.artist)
        return append_songs(url, folder.songs(), partition_bytes=limit)
    if format == "parquet":
        return append_songs(url, TableSource(root, options.prefix, options.artist).songs(), partition_bytes=limit)
    raise UsageError(f"the format {format!r} is unknown; known: {', '.join(FORMATS)}")


def _detect(root: Path) -> str:
    """Returns the format of a source: sound files, unless there are only tables (metadata lies beside sound, too)."""
    if root.is_file():
        if root.suffix != ".parquet":
            raise UsageError(f"{root} is no Parquet file; give the folder it lies in, with --include {root.name}")
        return "parquet"
    suffixes = {p.suffix.lower() for p in root.rglob("*")}
    return "parquet" if ".parquet" in suffixes and not suffixes & AUDIO_SUFFIXES else "folder"
