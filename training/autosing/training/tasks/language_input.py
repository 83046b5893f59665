"""Streams of tokens of samples as sources of a language model: with `NOTHING` before their own, times and counts."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy.typing as npt

from autosing.models.sources import SourceTokens, Stream, side_by_side, source_of
from autosing.signal.errors import DataError
from autosing.training.manifest import Column
from autosing.training.sample import Sample

__all__ = ["Array", "check_tokens", "coded_source", "side_by_side"]

Array = npt.NDArray[Any]


def coded_source(sample: Sample, columns: Mapping[str, Column], sizes: Sequence[int], setting: str) -> SourceTokens:
    """Returns the tokens of all columns as one source and their times, `NOTHING` first; each has rows of its own.

    Args:
        sample: that has the columns.
        columns: by name.
        sizes: how many different tokens each has.
        setting: that tells so, for messages.

    Raises:
        DataError: a column has a token beyond its size, or none.
    """
    streams = []
    for (name, column), size in zip(columns.items(), sizes, strict=True):
        check_tokens(sample, name, sample.series[name], size, setting)
        streams.append(Stream(sample.series[name], column.rate or Fraction(1), size))
    return source_of(streams)


def check_tokens(sample: Sample, name: str, tokens: Array, size: int, setting: str) -> None:
    """Raises DataError where a sample has no token, or one beyond a size."""
    if not len(tokens):
        raise DataError(f"sample {sample.key} has no {name}; build the set again")
    if tokens.max() >= size:
        raise DataError(
            f"sample {sample.key} has {name} {tokens.max()}, but {setting} is {size}; set it to how many there are"
        )
