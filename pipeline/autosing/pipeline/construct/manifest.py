"""`manifest.json`: what a built set holds and was built from. It is written last: with it the set is complete."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from autosing.pipeline.construct.inputs import Inputs
from autosing.pipeline.construct.split import Split
from autosing.pipeline.dataset import INDEX, split_address
from autosing.pipeline.store import Store

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """A tar and its index.

    Args:
        path: file name of the tar.
        index: file name of its index.
        samples: number of samples.
        seconds: their length.
        bytes: size of the tar.
        digest: blake2b of the index, which holds the CRC of every sample.
    """

    path: str
    index: str
    samples: int
    seconds: float
    bytes: int
    digest: str


@dataclass(frozen=True)
class SplitTotals:
    """The shards of one split and their sums."""

    samples: int
    seconds: float
    groups: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Manifest:
    """What a built set holds; the same for the same data, spec and seed, whoever built it where.

    Args:
        key: what the set was built from: equal keys, equal sets.
        sample: name of the sample spec.
        seed: of the order.
        snap_s: grid in seconds that starts were moved to; None where they were not moved.
        columns: name in the sample -> address, kind, dtype, rate, dim, unit, tied and definition.
        artefacts: instance -> digests of its models, of the columns' instances and all that they were computed from.
        contracts: instance -> its settings, of the same instances.
        singers: names of the singers, over all data sets.
        datasets: name, path, partitions, songs, licence, language and home page of each.
        drops: reason -> songs and cuts that are no samples; each is told in `drops.jsonl`.
        songs: songs read.
        candidates: songs without cuts and cuts of the others: `kept` and all `drops` together.
        kept: samples.
        splits: the splits; those that were not asked for are empty.
        duplicates: `recordings` that are there more than once, in how many `songs`; their groups are one group. Empty
            where the data sets have no fingerprints.
        audio: address, or addresses of several data sets, of the FLAC member; empty without.
        digest: of everything here, the paths of the data sets aside.
        format: version of this layout.
    """

    key: str
    sample: str
    seed: int
    snap_s: float | None
    columns: Mapping[str, Mapping[str, Any]]
    artefacts: Mapping[str, Mapping[str, str]]
    contracts: Mapping[str, Mapping[str, Any]]
    singers: tuple[str, ...]
    datasets: tuple[Mapping[str, Any], ...]
    drops: Mapping[str, int]
    songs: int
    candidates: int
    kept: int
    splits: Mapping[Split, SplitTotals]
    duplicates: Mapping[str, int] = field(default_factory=dict)
    audio: tuple[str, ...] = ()
    digest: str = ""
    format: int = FORMAT

    def signed(self) -> "Manifest":
        """Returns the manifest with its digest."""
        told = asdict(self) | {"digest": ""}
        told["datasets"] = [{k: v for k, v in d.items() if k != "path"} for d in self.datasets]
        return replace(self, digest=digest_of(told))

    def write(self, store: Store) -> None:
        """Writes it; from then on the set is complete."""
        with store.writing(MANIFEST) as path:
            path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def of_json(cls, text: str) -> "Manifest":
        """Returns the manifest of a text that `write` wrote."""
        told = json.loads(text)
        for name, split in told["splits"].items():
            told["splits"][name] = SplitTotals(**split | {"shards": tuple(Shard(**s) for s in split["shards"])})
        return cls(**told | {name: tuple(told[name]) for name in ("singers", "datasets", "audio")})


def digest_of(value: Any) -> str:
    """Returns the digest of a JSON-able value."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def describe_columns(inputs: Inputs) -> dict[str, dict[str, Any]]:
    """Returns what the manifest says about the columns."""
    told = {}
    for name, column in inputs.needs.columns.items():
        address = inputs.needs.addresses[name]
        instance = split_address(address)[0]
        described = column.describe()
        told[name] = {
            "address": address,
            **{k: described[k] for k in ("kind", "rate", "dim", "unit", "tied", "n_tokens")},
            "dtype": column.numpy_dtype.name if column.is_series else str(column.dtype),
            "definition": INDEX if instance == INDEX else inputs.records[instance].definition,
        }
    return told


def origins(inputs: Inputs) -> list[str]:
    """Returns the instances of the columns and all that they were computed from, sorted."""
    pending = [split_address(a)[0] for a in inputs.needs.addresses.values()]
    found: set[str] = set()
    while pending:
        name = pending.pop()
        if name in inputs.records and name not in found:
            found.add(name)
            pending.extend(inputs.records[name].inputs)
    return sorted(found)
