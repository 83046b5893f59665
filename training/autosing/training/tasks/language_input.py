"""Streams of tokens of samples as sources of a language model: with `NOTHING` before their own, times and counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.models.acoustic_input import pad_stack
from autosing.models.language_blocks import NOTHING
from autosing.signal.errors import DataError
from autosing.signal.framing import centres_s
from autosing.training.manifest import Column
from autosing.training.sample import Sample

Array = npt.NDArray[Any]


def coded_source(
    sample: Sample, columns: Mapping[str, Column], sizes: Sequence[int], setting: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Returns the tokens of all columns as one source and their times, `NOTHING` first; each has rows of its own.

    Args:
        sample: that has the columns.
        columns: by name.
        sizes: how many different tokens each has.
        setting: that tells so, for messages.

    Raises:
        DataError: a column has a token beyond its size, or none.
    """
    tokens, times_s, first = [np.array([NOTHING], np.int64)], [np.zeros(1)], 1
    for (name, column), size in zip(columns.items(), sizes, strict=True):
        codes = sample.series[name].astype(np.int64)
        check_tokens(sample, name, codes, size, setting)
        tokens.append(first + codes)
        times_s.append(centres_s(len(codes), column.rate or 1))  # type: ignore[arg-type]
        first += size
    return np.concatenate(tokens), np.concatenate(times_s).astype(np.float32)


def check_tokens(sample: Sample, name: str, tokens: Array, size: int, setting: str) -> None:
    """Raises DataError where a sample has no token, or one beyond a size."""
    if not len(tokens):
        raise DataError(f"sample {sample.key} has no {name}; build the set again")
    if tokens.max() >= size:
        raise DataError(
            f"sample {sample.key} has {name} {tokens.max()}, but {setting} is {size}; set it to how many there are"
        )


def side_by_side(name: str, found: Sequence[tuple[Array, Array]]) -> dict[str, Array]:
    """Returns the tokens of a source of several samples, their times and their counts, by the names of a model."""
    return {
        name: pad_stack([tokens for tokens, _ in found]),
        f"{name}_s": pad_stack([times_s for _, times_s in found]),
        f"{name}_counts": np.array([len(tokens) for tokens, _ in found], np.int64),
    }
