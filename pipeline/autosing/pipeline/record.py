"""The commit record in a column file's footer, and the three hashes that decide freshness.

- `definition` is what a column means: stage, version, settings, models and the definitions of its inputs. It is the
  same in every partition.
- a column's `digest` covers id, value and "has an error" of every row of one partition.
- `key` is the definition together with the digests of the input columns. A file is fresh when its stored key equals
  the key computed now; that a file exists proves nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from autosing.signal.errors import DataError

RECORD_KEY = b"autosing.record"
FORMAT = 1


@dataclass(frozen=True)
class Record:
    """What a column file says about itself.

    Args:
        instance: its name.
        stage: stage name; "" for files written by ingest.
        version: stage version.
        settings: the settings that define the values.
        models: digest of each model.
        inputs: definition of each input instance.
        definition: see the module.
        key: see the module.
        input_digests: digest of each input column, by address.
        digests: digest of each own column.
        rows: number of rows.
        errors: rows with an error, inherited ones included.
        own_errors: rows whose error arose here.
        keep: whether the values are in the file.
        index: digests of the index's columns and its size and time (`probe` only).
        run: when and where it was computed; never compared.
        crc32: seal of the file, "" where it has none.
    """

    instance: str
    stage: str
    version: int
    settings: Mapping[str, Any]
    models: Mapping[str, str]
    inputs: Mapping[str, str]
    definition: str
    key: str
    input_digests: Mapping[str, str]
    digests: Mapping[str, str]
    rows: int
    errors: int = 0
    own_errors: int = 0
    keep: bool = True
    index: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    crc32: str = ""

    def to_json(self) -> bytes:
        """Returns the footer's bytes."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True).encode()

    @classmethod
    def of_json(cls, raw: bytes, name: str) -> "Record":
        """Returns the record of a footer.

        Raises:
            DataError: the record is of another format.
        """
        try:
            told = json.loads(raw)
            if told.pop("format") == FORMAT:
                return cls(**told)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise DataError(f"{name}: its commit record is not of format {FORMAT}; compute the column again")


def definition_of(
    stage: str, version: int, settings: Mapping[str, Any], models: Mapping[str, str], inputs: Mapping[str, str]
) -> str:
    """Returns the definition: what a column means, wherever it is computed."""
    return _hash({"stage": stage, "version": version, "settings": settings, "models": models, "inputs": inputs})


def key_of(definition: str, input_digests: Mapping[str, str]) -> str:
    """Returns the key: what a column file must have been computed from to be fresh."""
    return _hash({"definition": definition, "inputs": input_digests})


def _hash(value: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


class ColumnDigest:
    """The running digest of one column: id, value and error flag of every row, in order."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, id: str, value: Any, is_error: bool) -> None:
        """Adds one row; `value` is None, bytes, an array, or anything JSON can tell."""
        payload = _payload(value)
        name = id.encode()
        self._hash.update(len(name).to_bytes(8, "little") + name)
        self._hash.update(bytes([is_error, value is None]) + len(payload).to_bytes(8, "little"))
        self._hash.update(payload)

    def hex(self) -> str:
        """Returns the digest so far."""
        return self._hash.hexdigest()


def _payload(value: Any) -> bytes | memoryview:
    if value is None:
        return b""
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value).data.cast("B") if value.size else b""
    if isinstance(value, (bytes, memoryview)):
        return value
    return json.dumps(value, sort_keys=True, default=str).encode()
