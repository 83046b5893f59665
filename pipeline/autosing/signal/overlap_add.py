"""A stream through something that sees a window at a time: overlapping windows, faded into each other."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from autosing.signal.decode import Samples
from autosing.signal.decode_stream import in_blocks


def overlap_add(
    blocks: Iterable[Samples], window: int, hop: int, process: Callable[[Samples], Samples]
) -> Iterator[Samples]:
    """Yields the stream (n, C) as `process` gives it back window by window, in blocks of `hop`, as long in all.

    Windows begin at every multiple of `hop`, whatever the blocks. Each weighs most in its middle and least at its ends
    (triangles), and weights sum to 1 everywhere.

    Args:
        blocks: the stream.
        window: samples that `process` gets at once; behind the end of the stream they are zeros.
        hop: samples from window to window, at most `window`.
        process: windows (window, C) -> (window, C).
    """
    weight = _triangle(window)[:, None]
    total, shares = np.zeros((window, 1), np.float32), np.zeros((window, 1), np.float32)
    for heard in _windows(blocks, window, hop):
        padded = np.zeros((window, heard.shape[1]), np.float32)
        padded[: len(heard)] = heard
        total = total + weight * process(padded)
        shares += weight
        yield (total[:hop] / shares[:hop])[: len(heard)]
        total = np.concatenate([total[hop:], np.zeros_like(total[:hop])])
        shares = np.concatenate([shares[hop:], np.zeros_like(shares[:hop])])


def _triangle(window: int) -> npt.NDArray[np.float32]:
    rising = np.arange(1, window + 1, dtype=np.float32)
    return np.divide(np.minimum(rising, rising[::-1]), window, dtype=np.float32)


def _windows(blocks: Iterable[Samples], window: int, hop: int) -> Iterator[Samples]:
    """Yields what lies in each window (n, C); the last ones reach behind the end and are shorter."""
    held: Samples | None = None
    for block in in_blocks(blocks, hop):
        held = block if held is None else np.concatenate([held, block])
        while len(held) >= window:
            yield held[:window]
            held = held[hop:]
    while held is not None and len(held):
        yield held
        held = held[hop:]
