"""Data sets of very many partitions whose column files are whole in everything that planning looks at, and empty else.

Every file is a copy of one that the pipeline itself wrote, with the commit record of its own partition in the footer:
digests are random, keys are made of them. A partition has one song, which nobody can decode.
"""

import json
import random
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autosing.pipeline.catalogue import SETTLED_S, Catalogue
from autosing.pipeline.columnfile import ColumnWriter
from autosing.pipeline.dataset import INDEX, PROBE, index_schema, split_address
from autosing.pipeline.graph import Graph
from autosing.pipeline.listing import list_partitions
from autosing.pipeline.record import RECORD_KEY, Record, key_of
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.store import Stamp, Store
from autosing.signal.errors import RowError

INSTANCES = ("probe", "quality", "f0", "f0.praat", "energy", "energy.mix", "mel", "ssl")
SETTINGS: Mapping[str, Mapping[str, Any]] = {"f0.praat": {"method": "praat"}, "energy.mix": {"audio": "mix"}}
INDEX_COLUMNS = ("audio", "lrc_lyrics", "raw_lyrics")


def graph_of(url: str) -> Graph:
    """Returns the stages of `INSTANCES` with their default settings."""
    return Project(stages=SETTINGS).graph(DatasetEntry(url))


@dataclass(frozen=True)
class Template:
    """The bytes of a column file, and the record in them."""

    raw: bytes
    record: Record

    def with_record(self, record: Record) -> bytes:
        """Returns the file with another record of the same length."""
        before, after = self.record.to_json(), record.to_json()
        if len(before) != len(after) or self.raw.count(before) != 1:
            raise SystemExit(f"{record.instance}: the record can't take the place of the template's")
        return self.raw.replace(before, after)


def fabricate(url: str, partitions: int, seed: int = 0) -> None:
    """Writes a data set in which every instance of every partition is fresh."""
    templates = templates_of(url)
    index_bytes = _index_bytes(url, partitions)
    for number in range(partitions):
        Path(url, str(number), "index.parquet").write_bytes(index_bytes)
        stamp = Store(url).stamp(str(number), "index.parquet")
        assert stamp is not None
        for name, record in records_of(templates, stamp, random.Random(f"{seed}/{number}")).items():
            Path(url, str(number), f"{name}.parquet").write_bytes(templates[name].with_record(record))


def fabricate_catalogued(url: str, partitions: int, seed: int = 0) -> None:
    """Writes a data set of empty files and a catalogue that tells what would be in them, were they fresh."""
    templates = templates_of(url)
    _index_bytes(url, partitions)
    for number in range(partitions):
        for name in (INDEX, *INSTANCES):
            Path(url, str(number), f"{name}.parquet").touch()
    store = Store(url)
    listing = list_partitions(store)
    catalogue = Catalogue(store, listing)
    for number, files in listing.items():
        for name, record in records_of(templates, files[INDEX].stamp, random.Random(f"{seed}/{number}")).items():
            catalogue.add(number, name, files[name], record)
    time.sleep(SETTLED_S)
    catalogue.save(listing)


def records_of(templates: Mapping[str, "Template"], stamp: Stamp, chance: random.Random) -> dict[str, Record]:
    """Returns the records of a partition with an index of that stamp, inputs first."""
    records: dict[str, Record] = {}
    for name, template in templates.items():
        records[name] = _record_of(template.record, records, stamp, chance)
    return records


def _index_bytes(url: str, partitions: int) -> bytes:
    """Makes the partitions' folders; returns what is in an index."""
    for number in range(partitions):
        Path(url, str(number)).mkdir(parents=True)
    path = Path(url, "index")
    table = pa.Table.from_pylist([{"id": "song", "audio": b"none"}], index_schema(INDEX_COLUMNS[1:]))
    pq.write_table(table, path)
    content = path.read_bytes()
    path.unlink()
    return content


def templates_of(url: str) -> dict[str, "Template"]:
    """Returns a whole column file of each instance of a data set, inputs first."""
    graph = graph_of(url)
    with tempfile.TemporaryDirectory() as scratch:
        return {name: _template(graph, name, Path(scratch)) for name in INSTANCES}


def _template(graph: Graph, name: str, folder: Path) -> Template:
    instance, path = graph[name], folder / f"{name}.parquet"
    writer = ColumnWriter(path, instance.columns)
    writer.add("song", RowError("fabricated"))
    nothing = "0" * 32
    stamp = {"size": 1000, "mtime_ns": 10**18, "digests": dict.fromkeys(INDEX_COLUMNS, nothing)}
    record = Record(
        name, instance.stage_name, instance.stage.version, instance.stage.settings(),
        {k: str(v) for k, v in graph.model_digests(name).items()},
        {k: str(v) for k, v in graph.input_definitions(name).items()},
        str(graph.definition(name)), nothing, dict.fromkeys(graph.reads(name), nothing), writer.digests(), 1, 1,
        index=stamp if name == PROBE else {},
        run={"finished": "2026-11-01T00:00:00Z", "host": "node-00001", "pid": 1000, "busy_s": 1.234, "audio_s": 240.1},
        crc32="0" * 8,
    )  # fmt: skip
    writer.close(record)
    raw = path.read_bytes()
    told = json.loads(pq.read_metadata(path).metadata[RECORD_KEY])
    told.pop("format")
    return Template(raw, Record(**told))


def _record_of(template: Record, records: Mapping[str, Record], stamp: Stamp, chance: random.Random) -> Record:
    """Returns the record of a partition's file: random digests of its own, the key that follows from its inputs."""
    index = dict(template.index)
    if index:
        told = {"size": stamp.size, "mtime_ns": stamp.mtime_ns}
        index = told | {"digests": {name: _digest(chance) for name in index["digests"]}}
    inputs = {address: _input_digest(address, records, index) for address in template.input_digests}
    return replace(
        template,
        index=index,
        input_digests=inputs,
        digests={name: _digest(chance) for name in template.digests},
        key=key_of(template.definition, inputs),
    )


def _input_digest(address: str, records: Mapping[str, Record], index: Mapping[str, Any]) -> str:
    instance, column = split_address(address)
    if instance == INDEX:
        digests: Mapping[str, str] = (index or records[PROBE].index)["digests"]
        return digests[column]
    return records[instance].digests[column]


def _digest(chance: random.Random) -> str:
    return f"{chance.getrandbits(128):032x}"
