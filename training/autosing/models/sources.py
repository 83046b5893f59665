"""What accompanies the tokens that are sung, as language models are given it; the same for training and for singing."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.models.acoustic_input import pad_stack
from autosing.models.language_blocks import NOTHING
from autosing.signal.framing import centres_s

Array = npt.NDArray[Any]
SourceTokens = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


class Stream(NamedTuple):
    """Tokens (N,) at a rate, and how many different ones there may be."""

    tokens: Array
    rate: Fraction
    size: int


def source_of(streams: Sequence[Stream]) -> SourceTokens:
    """Returns streams as one source and its times in seconds, `NOTHING` first; each has rows of its own."""
    tokens, times_s, first = [np.array([NOTHING], np.int64)], [np.zeros(1)], 1
    for stream in streams:
        tokens.append(first + stream.tokens.astype(np.int64))
        times_s.append(centres_s(len(stream.tokens), stream.rate))
        first += stream.size
    return np.concatenate(tokens), np.concatenate(times_s).astype(np.float32)


def side_by_side(name: str, found: Sequence[tuple[Array, Array]]) -> dict[str, Array]:
    """Returns the tokens of a source of several samples, their times and their counts, by the names of a model."""
    return {
        name: pad_stack([tokens for tokens, _ in found]),
        f"{name}_s": pad_stack([times_s for _, times_s in found]),
        f"{name}_counts": np.array([len(tokens) for tokens, _ in found], np.int64),
    }
