"""Rows of any number, on disk or in memory, that are read by slices: what a long recording is made of on its way."""

import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Rows(Protocol):
    """What arrays and rows on disk have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Their number, and the shape of each."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Array: ...


class DiskRows:
    """Rows in a temporary file that vanishes with them.

    Args:
        dtype: of the values.
        width: shape of a row; () for scalars.
        folder: where the file lies; the system's temporary folder by default.
    """

    def __init__(self, dtype: npt.DTypeLike, width: tuple[int, ...] = (), folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (it lives as long as the rows)
        self.close = weakref.finalize(self, self._file.close)
        self._width, self._dtype, self._length = width, np.dtype(dtype), 0

    @property
    def shape(self) -> tuple[int, ...]:
        return (self._length, *self._width)

    @property
    def ndim(self) -> int:
        """Dimensions, as an array has them."""
        return 1 + len(self._width)

    @property
    def size(self) -> int:
        """How many values there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: slice, /) -> Array:
        """Returns the rows from one to another, as an array of its own."""
        first, last, step = rows.indices(self._length)
        assert step == 1, "rows are read as they lie"
        found = np.empty((max(last - first, 0), *self._width), self._dtype)
        if found.size:
            # Reading keeps the process small; a mapping would count as its memory until the kernel takes it back.
            self._file.seek(first * self._row_bytes)
            self._file.readinto(found.reshape(-1).view(np.uint8).data)
        return found

    def append(self, rows: Array) -> None:
        """Adds rows behind those that are there.

        Raises:
            OSError: the disk is full.
        """
        assert rows.shape[1:] == self._width, f"rows of {rows.shape[1:]} among those of {self._width}"
        self._file.seek(self._length * self._row_bytes)
        self._file.write(np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8).data)
        self._length += len(rows)

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self._width, dtype=np.int64)) * self._dtype.itemsize


@dataclass(frozen=True)
class Scaled:
    """Rows times a number, worked out as they are read."""

    rows: Rows
    factor: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows.shape

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice, /) -> Array:
        found = self.rows[rows]
        scaled: Array = found * found.dtype.type(self.factor)
        return scaled


def slices(rows: Rows, size: int) -> Iterator[Array]:
    """Yields the rows `size` at a time."""
    return (rows[first : first + size] for first in range(0, len(rows), size))
