"""Small data sets whose series hold their own frame numbers, written the way stages write them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from autosing.pipeline.columnfile import ColumnWriter
from autosing.pipeline.construct.inputs import NamedDataset
from autosing.pipeline.dataset import INDEX, PROBE, Dataset, Partition, index_schema, split_address
from autosing.pipeline.record import ColumnDigest, Record, definition_of, key_of
from autosing.pipeline.schema import CUTS, WORDS, Column
from autosing.pipeline.stages.probe import Probe
from autosing.signal.errors import RowError
from autosing.signal.framing import frames, tied_frames

SAMPLE_RATE = 8000
TIED = (Fraction(25, 2), Fraction(25), Fraction(50))
SERIES = {
    "units": (Column("units", pa.uint16(), Fraction(50), nullable=True, n_tokens=5000),),
    "mel": (Column("mel", pa.float16(), Fraction(375, 4), 3, "ln"),),
    "f0": (Column("f0_hz", pa.float32(), Fraction(100), unit="Hz"), Column("voiced", pa.uint8(), Fraction(100))),
    "energy": (Column("energy", pa.float32(), Fraction(100)),),
    "tokens": tuple(Column(f"t{int(1000 / rate)}", pa.uint16(), rate, tied=TIED) for rate in TIED),
}
VALUES = {
    "quality": (Column("loudness_lufs", pa.float32(), unit="LUFS", nullable=True),),
    "align": (Column("words", WORDS, nullable=True), Column("inlier_ratio", pa.float32(), nullable=True)),
    "cuts": (Column("cuts", CUTS),),
}
READS = {"mel": ("index.audio",), "units": ("mel.mel",), "cuts": ("probe.duration_s", "energy.energy")}


@dataclass(frozen=True)
class ToySong:
    """A song by its length, cuts (seconds), index text and what goes wrong with it (instance -> error)."""

    id: str
    seconds: float = 6.0
    cuts: Sequence[tuple[float, float]] = ((0.0, 2.5), (2.5, 6.0))
    text: Mapping[str, str | None] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    nulls: Sequence[str] = ()
    loudness_lufs: float = -20.0
    inlier_ratio: float | None = 1.0

    @property
    def n_samples(self) -> int:
        return round(self.seconds * SAMPLE_RATE)


def toy_songs(n: int, artists: int = 4) -> list[ToySong]:
    """Returns songs of different lengths by a few artists."""
    return [
        ToySong(f"song {i}", 6.0 + i % 3, text={"artist": f"artist {i % artists}", "title": f"title {i // 2}"})
        for i in range(n)
    ]


def write_toy(
    root: Path,
    partitions: Sequence[Sequence[ToySong]],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    models: Mapping[str, Mapping[str, str]] | None = None,
    name: str = "toy",
) -> NamedDataset:
    """Writes a data set with fresh columns of every kind.

    Args:
        root: where.
        partitions: its songs.
        settings: instance -> settings in its record.
        models: instance -> model digests in its record.
        name: the data set's name.
    """
    dataset = Dataset(str(root))
    for number, songs in enumerate(partitions):
        write_index(root, number, songs)
        partition = Partition(dataset.store, number)
        write_column(partition, PROBE, songs)
        for instance in ("mel", "units", "f0", "energy", "tokens", "quality", "align", "cuts"):
            write_column(partition, instance, songs, (settings or {}).get(instance), (models or {}).get(instance))
    return NamedDataset(name, dataset)


def write_index(root: Path, number: int, songs: Sequence[ToySong]) -> None:
    """Writes `index.parquet`; the audio is a ramp, so that every sample tells its place."""
    columns = sorted({c for song in songs for c in song.text})
    folder = root / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"id": s.id, "audio": _ramp(s.n_samples), **{c: s.text.get(c) for c in columns}} for s in songs]
    pq.write_table(pa.Table.from_pylist(rows, index_schema(columns)), folder / "index.parquet")


def _ramp(n_samples: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, (np.arange(n_samples) % 2**15).astype(np.int16), SAMPLE_RATE, format="FLAC")
    return file.getvalue()


def write_column(
    partition: Partition,
    instance: str,
    songs: Sequence[ToySong],
    settings: Mapping[str, Any] | None = None,
    models: Mapping[str, str] | None = None,
) -> None:
    """Writes a column file with the record of a stage of the same name."""
    columns = Probe().columns() if instance == PROBE else {**SERIES, **VALUES}[instance]
    with partition.store.writing(partition.folder, f"{instance}.parquet") as path:
        writer = ColumnWriter(path, columns)
        for song in songs:
            writer.add(song.id, _outcome(instance, columns, song))
        writer.close(_record(partition, instance, writer, settings or {}, models or {}))


def _outcome(instance: str, columns: Sequence[Column], song: ToySong) -> Mapping[str, Any] | RowError:
    if instance in song.errors:
        return RowError(song.errors[instance])
    values = _values(song)
    return {c.name: c.canonical(None if c.name in song.nulls else values[c.name]) for c in columns}


def _values(song: ToySong) -> dict[str, Any]:
    seconds = [(s, min(s + 0.4, song.seconds)) for s in np.arange(0, song.seconds, 0.5).tolist()]
    words = [{"text": f"w{i}", "start_s": s, "end_s": e, "line": i // 4} for i, (s, e) in enumerate(seconds)]
    values: dict[str, Any] = {
        "n_samples": song.n_samples,
        "duration_s": song.seconds,
        "sample_rate_hz": SAMPLE_RATE,
        "channels": 1,
        "codec": "flac/pcm_16",
        "audio_digest": song.id,
        "lyrics_digest": None,
        "loudness_lufs": song.loudness_lufs,
        "words": words,
        "inlier_ratio": song.inlier_ratio,
        "cuts": [{"text": f"{s} to {e}", "start_s": s, "end_s": e} for s, e in song.cuts],
    }
    for column in (c for columns in SERIES.values() for c in columns):
        assert column.rate is not None
        n = frames(song.n_samples, SAMPLE_RATE, column.rate)
        if column.tied:
            n = tied_frames(song.n_samples, SAMPLE_RATE, column.tied)[column.tied.index(column.rate)]
        ramp = np.arange(n) % 256 if column.name == "voiced" else np.arange(n)
        values[column.name] = ramp if column.dim is None else np.repeat(ramp[:, None], column.dim, axis=1)
    return values


def _record(
    partition: Partition, instance: str, writer: ColumnWriter, settings: Mapping[str, Any], models: Mapping[str, str]
) -> Record:
    index = _index_digests(partition) if instance == PROBE else {}
    reads = () if instance == PROBE else READS.get(instance, ("index.audio",))
    records = {i: partition.record(i) for i in {PROBE, *(split_address(a)[0] for a in reads)} if i != INDEX}
    inputs = {i: r.definition for i, r in records.items() if r is not None and i not in (PROBE, instance)}
    digests = {a: _digest(a, records) for a in reads}
    definition = definition_of(instance, 1, settings, models, inputs)
    return Record(instance, instance, 1, settings, models, inputs, definition, key_of(definition, digests), digests,
                  writer.digests(), writer.rows, writer.errors, writer.own_errors, index=index)  # fmt: skip


def _digest(address: str, records: Mapping[str, Record | None]) -> str:
    instance, column = split_address(address)
    record = records[PROBE if instance == INDEX else instance]
    assert record is not None
    return str(record.index["digests"][column] if instance == INDEX else record.digests[column])


def _index_digests(partition: Partition) -> dict[str, Any]:
    names = [n for n in partition.index_columns() if n != "id"]
    digests = {n: ColumnDigest() for n in names}
    for row in partition.rows([f"index.{n}" for n in names]):
        for name, digest in digests.items():
            digest.add(row.id, row.values[f"index.{name}"], False)
    stamp = partition.store.stamp(partition.folder, "index.parquet")
    assert stamp is not None
    return {"size": stamp.size, "mtime_ns": stamp.mtime_ns, "digests": {n: d.hex() for n, d in digests.items()}}
