"""What built sets say of themselves: columns, contracts, singers and the tars of each split; one set, or several."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from autosing.signal.errors import DataError, MissingColumn, SchemaMismatch, UsageError
from autosing.training.files import Files, open_files, plain_name

MANIFEST = "manifest.json"
FORMAT = 1
# A built manifest of a million songs has a few MB.
MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class Column:
    """One column of the samples: a series with a rate in frames per second, or one value per sample.

    Attributes:
        name: in the samples.
        dtype: of an element.
        rate: frames per second; None for a value.
        dim: width of a frame; None for scalars.
        definition: what it means: equal definitions, comparable numbers.
        address: where it lies in a data set, `instance.column`; artefacts and contracts are named by instances.
        tied: rates of the streams whose frame counts are in exact ratio.
        n_tokens: of tokens, how many different ones there may be, where the set tells it.
    """

    name: str
    dtype: str
    rate: Fraction | None
    dim: int | None
    definition: str
    address: str
    tied: tuple[Fraction, ...] = ()
    n_tokens: int | None = None

    @property
    def instance(self) -> str:
        """The stage instance that computed it."""
        return self.address.rpartition(".")[0]


# The name under which a task asks for the samples' audio, where the set was built with it.
AUDIO = "audio"


@dataclass(frozen=True)
class Shard:
    """One tar of a split, its index beside it, and what both must hold; names inside the set's folder."""

    path: str
    index: str
    samples: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a built set says of itself, or what several say that agree.

    Attributes:
        url: of the set's folder; of several, all of them.
        columns: by name; of several sets, those that mean the same in all.
        artefacts: digests by instance.
        contracts: settings by instance, such as the MelSpec.
        singers: the one global table.
        splits: the tars of each split of a set; of several sets, they stay with their set.
        digest: of everything, the weights of several sets included.
        conflicts: of several sets, why a column is not common to all.
        has_audio: whether every sample has a FLAC member.
    """

    url: str
    columns: Mapping[str, Column]
    artefacts: Mapping[str, Any]
    contracts: Mapping[str, Any]
    singers: tuple[str, ...]
    splits: Mapping[str, tuple[Shard, ...]]
    digest: str
    conflicts: Mapping[str, str] = field(default_factory=dict)
    has_audio: bool = False

    @classmethod
    def read(cls, url: str | Path) -> "Manifest":
        """Returns the manifest of one built set.

        Raises:
            DataError: there is none.
            SchemaMismatch: it is of another format or incomplete.
        """
        return cls.of_files(open_files(url))

    @classmethod
    def of_files(cls, files: Files) -> "Manifest":
        """Returns the manifest among the files of a built set; see `read`."""
        file = files.where(MANIFEST)
        size = files.size(MANIFEST)
        if size is None:
            raise DataError(f"{files.url} has no {MANIFEST}; give a folder that `autosing build` wrote")
        if size > MOST_BYTES:
            raise SchemaMismatch(f"{file} has {size} bytes, more than any manifest; build the set again")
        try:
            content = json.loads(files.read(MANIFEST))
        except ValueError as error:
            raise SchemaMismatch(f"{file} is not JSON ({error}); build the set again") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else None
            raise SchemaMismatch(f"{file} is of format {found!r}, not {FORMAT}; build the set again with this version")
        try:
            return cls._parsed(files.url, content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SchemaMismatch(f"{file} is incomplete ({error!r}); build the set again") from error

    @classmethod
    def _parsed(cls, url: str, content: Mapping[str, Any]) -> "Manifest":
        columns = {name: _column(name, told) for name, told in content["columns"].items()}
        splits = {
            split: tuple(_shard(told, f"{url}/{MANIFEST}") for told in content["splits"][split]["shards"])
            for split in content["splits"]
        }
        singers = tuple(content["singers"])
        has_audio = bool(content.get("audio"))
        origins = content["artefacts"], content["contracts"]
        return cls(url, columns, *origins, singers, splits, content["digest"], has_audio=has_audio)

    def has(self, split: str) -> bool:
        """Says whether a split exists and holds a sample."""
        return any(shard.samples for shard in self.splits.get(split, ()))

    def contract(self, column: str) -> Mapping[str, Any]:
        """Returns the settings that a column was computed with, such as the MelSpec of a mel; empty if it has none."""
        return dict(self.contracts.get(self.columns[column].instance) or {})

    def require(self, columns: Sequence[str]) -> None:
        """Raises MissingColumn unless every one of `columns`, and the audio where it is among them, is in the set."""
        if AUDIO in columns and not self.has_audio:
            raise MissingColumn(f"{self.url} holds no audio; build it from a sample spec with `audio: voice`")
        missing = [name for name in columns if name not in self.columns and name != AUDIO]
        differing = [name for name in missing if name in self.conflicts]
        if differing:
            raise SchemaMismatch(
                f"the sets cannot be trained on together: {self.conflicts[differing[0]]}; "
                "build them with the same settings and artefacts, or choose settings that do without the column"
            )
        if missing:
            raise MissingColumn(
                f"{self.url} has no column {', '.join(missing)}; it has {', '.join(sorted(self.columns))}: "
                "name the column in the samples' spec and build again, or choose settings that do without it"
            )


def rates_of(columns: Mapping[str, Column]) -> dict[str, Fraction]:
    """Returns the rates of those columns that are series, by name."""
    return {name: column.rate for name, column in columns.items() if column.rate is not None}


def described(columns: Mapping[str, Column]) -> dict[str, Any]:
    """Returns what a model's contract says of the columns it is given: `rates`, and `definitions`."""
    return {
        "rates": {name: str(rate) for name, rate in rates_of(columns).items()},
        "definitions": {name: column.definition for name, column in columns.items()},
    }


def joined(manifests: Sequence[Manifest], weights: Sequence[float]) -> Manifest:
    """Returns what several built sets have in common: columns that mean the same, and the singers of all.

    Args:
        manifests: of the sets.
        weights: how often the samples of each are taken per epoch.

    Raises:
        UsageError: a weight is missing or not above 0.
    """
    if len(manifests) != len(weights) or not all(0 < weight < float("inf") for weight in weights):
        raise UsageError(f"{len(manifests)} sets need as many weights above 0, but they are {list(weights)}")
    if len(manifests) == 1 and weights[0] == 1:
        return manifests[0]
    names = sorted({name for manifest in manifests for name in manifest.columns})
    told = {name: _conflict(name, manifests) for name in names}
    text = json.dumps([[manifest.digest, weight] for manifest, weight in zip(manifests, weights, strict=True)])
    return Manifest(
        url=", ".join(manifest.url for manifest in manifests),
        columns={name: manifests[0].columns[name] for name in names if not told[name]},
        artefacts=_agreed([manifest.artefacts for manifest in manifests]),
        contracts=_agreed([manifest.contracts for manifest in manifests]),
        singers=tuple(sorted({singer for manifest in manifests for singer in manifest.singers})),
        splits={s: tuple(shard for m in manifests for shard in m.splits.get(s, ())) for s in _splits(manifests)},
        digest=hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        conflicts={name: conflict for name, conflict in told.items() if conflict},
        has_audio=all(manifest.has_audio for manifest in manifests),
    )


def _splits(manifests: Sequence[Manifest]) -> list[str]:
    return sorted({split for manifest in manifests for split in manifest.splits})


def _conflict(name: str, manifests: Sequence[Manifest]) -> str:
    """Returns how two sets differ in a column; empty where all mean the same."""
    first = manifests[0]
    for other in manifests[1:]:
        a, b = first.columns.get(name), other.columns.get(name)
        if a is None or b is None:
            return f"{first.url if a is None else other.url} has no column {name}"
        for part in ("dtype", "rate", "dim", "tied", "definition"):
            if getattr(a, part) != getattr(b, part):
                return f"{name}.{part} is {getattr(a, part)} in {first.url} and {getattr(b, part)} in {other.url}"
    return ""


def _agreed(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the entries that no table contradicts."""
    names = sorted({name for table in tables for name in table})
    found: dict[str, list[Any]] = {name: [table[name] for table in tables if name in table] for name in names}
    return {name: values[0] for name, values in found.items() if all(value == values[0] for value in values)}


def _column(name: str, told: Mapping[str, Any]) -> Column:
    rate = Fraction(told["rate"]) if told["rate"] else None
    tied = tuple(Fraction(rate) for rate in told.get("tied", ()))
    address, told_tokens = told["address"], told.get("n_tokens")
    return Column(name, told["dtype"], rate, told["dim"], told["definition"], address, tied, told_tokens)


def _shard(told: Mapping[str, Any], owner: str) -> Shard:
    path, index = (plain_name(told[name], owner) for name in ("path", "index"))
    return Shard(path, index, told["samples"], told["bytes"])
