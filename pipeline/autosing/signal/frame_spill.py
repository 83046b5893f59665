"""Frames of many songs on disk, read back in blocks: what a fit looks at when it does not fit into memory."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import UsageError
from autosing.signal.rows import DiskRows, slices

Floats = npt.NDArray[np.floating[Any]]
Float32s = npt.NDArray[np.float32]

BLOCK_FRAMES = 1 << 14


class FrameSpill:
    """Frames of many songs, one after the other, in a temporary file that vanishes with the process.

    Args:
        folder: where the file lies; the system's temporary folder by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder, self._rows = folder, DiskRows(np.float32, (0,), folder)
        self._starts: list[int] = []

    @property
    def dim(self) -> int:
        """Width of a frame; 0 before there is one."""
        return self._rows.shape[1]

    @property
    def n_frames(self) -> int:
        """How many frames there are."""
        return len(self._rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._rows.close()

    def append(self, series: Floats) -> None:
        """Adds the frames (F, D) of one song; float16 is kept as it is, anything else becomes float32.

        Raises:
            UsageError: the width differs from that of the songs before, or a number is not finite.
        """
        if not self._starts:
            dtype = np.float16 if series.dtype == np.float16 else np.float32
            self._rows = DiskRows(dtype, series.shape[1:], self._folder)
        if series.shape[1] != self.dim:
            raise UsageError(f"k-means: a song has {series.shape[1]} numbers a frame, those before {self.dim}")
        if not np.isfinite(series).all():
            raise UsageError("k-means: a song has frames that are not finite; compute its column again")
        self._starts.append(self.n_frames)
        self._rows.append(series)

    def blocks(self) -> Iterator[Float32s]:
        """Yields all frames in order, (<= BLOCK_FRAMES, D) at a time."""
        return (block.astype(np.float32, copy=False) for block in slices(self._rows, BLOCK_FRAMES))

    def sample(self, count: int, rng: np.random.Generator) -> Float32s:
        """Returns `count` different frames (count, D), in order."""
        chosen = np.sort(rng.choice(self.n_frames, count, replace=False))
        sampled = np.empty((count, self.dim), np.float32)
        for start, block in zip(range(0, self.n_frames, BLOCK_FRAMES), self.blocks(), strict=True):
            first, last = np.searchsorted(chosen, [start, start + len(block)])
            sampled[first:last] = block[chosen[first:last] - start]
        return sampled

    def song_starts(self) -> npt.NDArray[np.int64]:
        """Returns the first frame of each song that has frames."""
        return np.unique([s for s in self._starts if s < self.n_frames]).astype(np.int64)
