"""Who sings a sample, as models are told: by a row of the set's table, or by a vector that any singer has."""

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import MissingColumn, SchemaMismatch
from autosing.training.manifest import Column, Manifest
from autosing.training.sample import Sample

SingerName = Literal["table", "embedding", "none"]
EMBEDDING = "singer_embedding"


def require_singers(manifest: Manifest, singer: SingerName) -> None:
    """Raises MissingColumn where a set does not say who sings, in the way that is asked for."""
    if singer == "embedding":
        manifest.require([EMBEDDING])
    if singer == "table" and not manifest.singers:
        raise MissingColumn(
            f"{manifest.url} names no singer; build it from songs with an `artist` or `singer`, "
            "or set singer=none or singer=embedding"
        )


def singer_row(sample: Sample, rows: Mapping[str, int], nobody: int) -> int:
    """Returns a singer's row of a table by name.

    Raises:
        SchemaMismatch: the table has no such singer.
    """
    name = sample.info["singer"]
    if name is None:
        return nobody
    if name not in rows:
        raise SchemaMismatch(f"sample {sample.key} is sung by {name!r}, who is not in the set's table; build it again")
    return rows[name]


def singer_vector(sample: Sample, width: int) -> npt.NDArray[np.float32]:
    """Returns a singer's vector (E,); zeros where there is none."""
    told = sample.info["values"][EMBEDDING]
    return np.zeros(width, np.float32) if told is None else np.asarray(told, np.float32)


def vector_width(column: Column) -> int:
    """Returns how many numbers a column of lists of fixed size has.

    Raises:
        SchemaMismatch: it is of another type.
    """
    found = re.search(r"\[(\d+)\]$", column.dtype)
    if not found:
        raise SchemaMismatch(f"{EMBEDDING} is of the type {column.dtype}, not a list of a fixed size; process it again")
    return int(found[1])
