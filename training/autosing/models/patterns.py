"""Patterns: the codes of a codec's levels, each at its own rate, as columns that are predicted one after the other.

A pattern has rows, and each row holds some tokens of one level at columns of equal distance. In "bricks" (AutoSing) a
column lasts a fixed number of the finest frames; a level that is finer than a column has several rows, and one that is
coarser leaves cells empty in between. Unrolled, each column becomes as many as it lasts frames, and every token stands
in the frame in which it begins. Delays shift rows to the right, so that what is coarse is known when what is fine is
predicted.

Where no token is, a cell is `EMPTY`: it is no target, and no padding is learned. Which codes a row may have is told by
a mask over the vocabulary. A pattern lays out any number of tokens of each level and gives exactly these back.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import UsageError

Codes = npt.NDArray[np.integer[Any]]
Cells = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

EMPTY = -1
"""A cell that holds no token; where a model is given one, it is given a row of its table that no code has."""


NO_SAMPLE = -1
"""The segment, in a row of several samples, of what is of none: padding."""


@dataclass(frozen=True)
class Row:
    """A row of a pattern: token `first + m step` of its level stands in column `column + m every`, for m from 0.

    Attributes:
        level: whose tokens it holds.
        first: number of the first of them.
        step: from one to the next.
        column: where the first stands.
        every: columns from one to the next.
    """

    level: int
    first: int
    step: int
    column: int
    every: int

    def tokens(self, count: int) -> npt.NDArray[np.int64]:
        """Returns the numbers of its tokens among `count` of the level."""
        return np.arange(self.first, max(count, self.first), self.step)

    def columns(self, count: int) -> npt.NDArray[np.int64]:
        """Returns where these stand."""
        return self.column + self.every * np.arange(len(self.tokens(count)))


@dataclass(frozen=True)
class Pattern:
    """How tokens of several levels lie in columns.

    Attributes:
        rows: from the coarsest level to the finest.
        column_frames: how many of the finest frames a column lasts.
    """

    rows: tuple[Row, ...]
    column_frames: int

    @property
    def n_levels(self) -> int:
        """How many levels there are."""
        return 1 + max(row.level for row in self.rows)

    def n_columns(self, counts: Sequence[int]) -> int:
        """Returns how many columns hold so many tokens of each level; there is none behind the last."""
        return max((int(columns[-1]) + 1 for _, _, columns in self._places(counts) if len(columns)), default=0)

    def mask(self, counts: Sequence[int]) -> Mask:
        """Returns which cells (R, N) hold a token."""
        found = np.zeros((len(self.rows), self.n_columns(counts)), bool)
        for number, _, columns in self._places(counts):
            found[number, columns] = True
        return found

    def laid_out(self, levels: Sequence[Codes]) -> Cells:
        """Returns the codes of all levels in cells (R, N).

        Raises:
            UsageError: there are more levels, or fewer, than the pattern has.
        """
        counts = [len(codes) for codes in levels]
        cells = np.full((len(self.rows), self.n_columns(counts)), EMPTY, np.int64)
        for number, tokens, columns in self._places(counts):
            cells[number, columns] = levels[self.rows[number].level][tokens]
        return cells

    def taken(self, cells: Cells, counts: Sequence[int]) -> list[npt.NDArray[np.int64]]:
        """Returns the codes of each level that lie in cells (R, N'), of which there may be more than needed.

        Raises:
            UsageError: cells are missing or empty where a token has to be.
        """
        if len(cells) != len(self.rows) or cells.shape[1] < self.n_columns(counts):
            raise UsageError(
                f"cells of shape {cells.shape} hold no {', '.join(map(str, counts))} tokens of the levels; "
                f"({len(self.rows)}, {self.n_columns(counts)}) would"
            )
        levels = [np.full(count, EMPTY, np.int64) for count in counts]
        for number, tokens, columns in self._places(counts):
            levels[self.rows[number].level][tokens] = cells[number, columns]
        for level, codes in enumerate(levels):
            if (codes < 0).any():
                raise UsageError(f"{int((codes < 0).sum())} cells of level {level} are empty; fill them all first")
        return levels

    def allowed(self, sizes: Sequence[int], width: int) -> Mask:
        """Returns which codes each row may have (R, V), of a vocabulary of `width` that is as large as any level.

        Raises:
            UsageError: a level has more codes.
        """
        if len(sizes) != self.n_levels or max(sizes) > width:
            raise UsageError(
                f"a vocabulary of {width} is to hold levels of {', '.join(map(str, sizes))} codes; give the sizes of "
                f"{self.n_levels} levels, and a width of at least {max(sizes, default=0)}"
            )
        return np.arange(width) < np.array([sizes[row.level] for row in self.rows])[:, None]

    def times_s(self, n_columns: int, finest_rate: Fraction) -> npt.NDArray[np.float64]:
        """Returns the middle of each column in seconds, before delays (N,)."""
        return np.asarray((np.arange(n_columns) + 0.5) * self.column_frames / float(finest_rate), np.float64)

    def unrolled(self) -> "Pattern":
        """Returns the pattern with a column for each of the finest frames: the same rows, tokens in their own time."""
        frames = self.column_frames
        rows = (
            replace(row, column=row.column * frames + row.first * frames // row.step, every=row.every * frames)
            for row in self.rows
        )
        return Pattern(tuple(rows), 1)

    def _places(self, counts: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Yields the number of each row, the numbers of its tokens, and their columns."""
        if len(counts) != self.n_levels:
            raise UsageError(f"there are {len(counts)} levels, but the pattern is of {self.n_levels}; give one of each")
        for number, row in enumerate(self.rows):
            count = counts[row.level]
            yield number, row.tokens(count), row.columns(count)


def bricks(strides: Sequence[int], column_frames: int, delays: Sequence[int] | None = None) -> Pattern:
    """Returns the pattern of columns that last `column_frames` of the finest frames.

    Args:
        strides: how many of the finest frames a token of each level lasts, such as 8, 4, 2, 1.
        column_frames: of a column; each stride divides it or is a multiple of it.
        delays: of each level, in columns; one more from level to level where not told.

    Raises:
        UsageError: a stride does not fit the columns, or there are not as many delays as strides.
    """
    delays = range(len(strides)) if delays is None else delays
    if not strides or len(delays) != len(strides) or min(delays) < 0 or column_frames < 1:
        raise UsageError(
            f"a pattern of {len(strides)} levels with the delays {list(delays)} and columns of {column_frames} frames "
            "is none; give at least one level, a delay from 0 for each, and columns of at least one frame"
        )
    rows: list[Row] = []
    for level, (stride, delay) in enumerate(zip(strides, delays, strict=True)):
        if stride < 1 or (column_frames % stride and stride % column_frames):
            raise UsageError(
                f"tokens of {stride} frames do not fit columns of {column_frames}; one must be a multiple of the other"
            )
        n_rows = max(column_frames // stride, 1)
        rows += [Row(level, i, n_rows, delay, max(stride // column_frames, 1)) for i in range(n_rows)]
    return Pattern(tuple(rows), column_frames)
