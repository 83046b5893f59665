"""Samples in rows of one length: which share a row, so that batches have one shape and little padding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.models.patterns import NO_SAMPLE

Array = npt.NDArray[Any]
Numbers = npt.NDArray[np.int64]

# Samples among which one is looked for that fits what is left of a row.
AHEAD = 64
# Sources are padded to multiples of it: what they hold per second differs, and few lengths are wanted.
SOURCE_MULTIPLE = 128


@dataclass(frozen=True)
class Rows:
    """The rows of a batch.

    Attributes:
        n: how many.
        seconds: that each holds.
        beside_s: that a sample takes beside its own seconds.
    """

    n: int
    seconds: float
    beside_s: float = 0.0


def pack(seconds: npt.NDArray[np.float32], rows: Rows) -> tuple[Numbers, Numbers]:
    """Returns an order of samples (N,), and where batches begin in it (M,).

    A row begins with the sample that waits longest; then comes the longest of the next `AHEAD` that still fits, until
    none does. Samples that are longer than a row have one to themselves.

    Args:
        seconds: of samples, in an order that is wanted as far as rows get full.
        rows: of each batch.
    """
    order, begins = list[int](), list[int]()
    waiting, upcoming, n_rows = list[int](), iter(range(len(seconds))), 0
    lengths = np.minimum(seconds.astype(np.float64) + rows.beside_s, rows.seconds).tolist()
    while True:
        waiting += [n for _, n in zip(range(AHEAD - len(waiting)), upcoming, strict=False)]
        if not waiting:
            return np.array(order, np.int64), np.array(begins, np.int64)
        if n_rows % rows.n == 0:
            begins.append(len(order))
        n_rows += 1
        left_s, chosen = rows.seconds, [0]
        while chosen:
            number = waiting.pop(chosen[0])
            order.append(number)
            left_s -= lengths[number]
            fitting = [place for place, n in enumerate(waiting) if lengths[n] <= left_s]
            chosen = sorted(fitting, key=lambda place: -lengths[waiting[place]])[:1]


def rows_of(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Returns the numbers of samples by rows: each row takes them in order as far as they fit."""
    rows, left = list[list[int]](), 0
    for number, length in enumerate(lengths):
        if not rows or length > left:
            rows.append([])
            left = row_length
        rows[-1].append(number)
        left -= length
    return rows


class Stream(NamedTuple):
    """Arrays of one length each, (N, ...), by the names that they have in a batch, sample by sample."""

    arrays: Mapping[str, Sequence[Array]]
    fills: Mapping[str, int]

    @property
    def lengths(self) -> list[int]:
        """Of the samples."""
        return [len(one) for one in next(iter(self.arrays.values()))]


def packed(
    streams: Mapping[str, Stream], of_samples: Mapping[str, Array], rows: Rows, row_length: int
) -> dict[str, Array]:
    """Returns samples in rows (R, ...): streams one after the other, what is of samples side by side (R, K, ...).

    `<stream>_segments` (R, N) tell which of its row's samples each place is of, `NO_SAMPLE` of padding.

    Args:
        streams: by name; the first is what rows are filled by.
        of_samples: arrays (B, ...).
        rows: of the batch; it gets more only where it has more than fit.
        row_length: of the first stream.
    """
    first = next(iter(streams.values()))
    places = rows_of(first.lengths, row_length)
    places += [[] for _ in range(rows.n - len(places))]
    found: dict[str, Array] = {}
    for name, stream in streams.items():
        lengths = stream.lengths
        longest = max(sum(lengths[n] for n in row) for row in places)
        size = max(row_length, longest) if stream is first else -(-longest // SOURCE_MULTIPLE) * SOURCE_MULTIPLE
        for key, arrays in stream.arrays.items():
            found[key] = _laid(places, arrays, size, stream.fills.get(key, 0))
        numbers = [np.full(length, 0, np.int64) for length in lengths]
        for row in places:
            for k, n in enumerate(row):
                numbers[n][:] = k
        found[f"{name}_segments"] = _laid(places, numbers, size, NO_SAMPLE)
    # A power of two, since the number of samples in a row is another for each batch.
    most = 1 << max(max(map(len, places)) - 1, 0).bit_length()
    for name, array in of_samples.items():
        found[name] = np.zeros((len(places), most, *array.shape[1:]), array.dtype)
        for r, row in enumerate(places):
            found[name][r, : len(row)] = array[row]
    return found


def _laid(places: Sequence[Sequence[int]], arrays: Sequence[Array], size: int, fill: int) -> Array:
    like = arrays[0]
    found = np.full((len(places), size, *like.shape[1:]), fill, like.dtype)
    for r, row in enumerate(places):
        if row:
            together = np.concatenate([arrays[n] for n in row])
            found[r, : len(together)] = together
    return found
