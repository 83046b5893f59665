"""Long recordings piece by piece: each is computed with what lies around it, so that together they are the whole."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor


def pieces(n_frames: int, size: int, context: int) -> Iterator[tuple[int, int, int, int]]:
    """Yields pieces of a series as (first, last, seen from, seen to), with up to `context` frames on either side."""
    for first in range(0, n_frames, size):
        last = min(first + size, n_frames)
        yield first, last, max(first - context, 0), min(last + context, n_frames)


@dataclass(frozen=True)
class Pieces:
    """How a recording of frames is cut: pieces of `size` frames, each computed with up to `context` on either side."""

    n_frames: int
    size: int
    context: int

    def each(self, compute: Callable[[int, int], Tensor], per_frame: int = 1) -> Iterator[npt.NDArray[np.float32]]:
        """Yields what is kept of each piece.

        Args:
            compute: returns the values (1, (last - first) per_frame, ...) of frames `first` to `last`.
            per_frame: values to a frame.
        """
        for first, last, seen_from, seen_to in pieces(self.n_frames, self.size, self.context):
            values: npt.NDArray[np.float32] = compute(seen_from, seen_to)[0].float().cpu().numpy()
            yield values[(first - seen_from) * per_frame : (last - seen_from) * per_frame]
