"""A stream of samples through gains on its short-time spectra, a stretch of frames at a time.

Frame `i` covers samples `[(i - 1) hop, (i + 1) hop)` under the square root of a Hann window, which is applied again
when frames are put together: gains of 1 give back the samples. A frame's gains may look at `context` frames on either
side and at nothing else, so they do not depend on where stretches begin, and memory does not grow with the stream.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft

from autosing.signal.decode import Samples

Spectra = npt.NDArray[np.complex64]
Gains = npt.NDArray[np.float32]
GainRule = Callable[[Spectra, slice], Gains]
"""Spectra (F, C, N) of successive frames, and which of them are asked for -> their gains (n, C or 1, N)."""

STRETCH_FRAMES = 512


def window_size(window_s: float, sample_rate: int) -> int:
    """Returns the even number of samples of a window that lasts about `window_s`, for which the transform is fast."""
    return 2 * int(next_fast_len(max(round(window_s * sample_rate / 2), 2), real=True))


def filtered(
    blocks: Iterable[Samples], size: int, rule: GainRule, context: int, stretch: int = STRETCH_FRAMES
) -> Iterator[Samples]:
    """Yields the stream (n, C) after the gains of `rule`, in blocks of other lengths and as long in all.

    Args:
        blocks: the stream (n, C).
        size: samples of a frame, even.
        rule: tells the gains.
        context: how many frames before and behind those asked for `rule` gets, where the stream has them.
        stretch: how many frames are asked for at once.
    """
    counted = _Counted(blocks)
    tail: Samples | None = None
    n_yielded = 0
    for spectra in _with_gains(_spectra(counted, size), rule, context, stretch):
        halves = irfft(spectra, size, axis=2) * _window(size)
        first, second = halves[..., : size // 2], halves[..., size // 2 :]
        before = np.zeros_like(second[:1]) if tail is None else tail
        joined = (first + np.concatenate([before, second[:-1]])).transpose(0, 2, 1).reshape(-1, spectra.shape[1])
        if tail is None:
            joined = joined[size // 2 :]
        tail = second[-1:]
        # Only the last stretch reaches beyond the stream, whose length is known by then.
        block = joined[: counted.n_frames - n_yielded]
        n_yielded += len(block)
        yield block.astype(np.float32, copy=False)


class _Counted:
    """Blocks and how many samples of them were taken."""

    def __init__(self, blocks: Iterable[Samples]) -> None:
        self._blocks = blocks
        self.n_frames = 0

    def __iter__(self) -> Iterator[Samples]:
        for block in self._blocks:
            self.n_frames += len(block)
            yield block


def _window(size: int) -> npt.NDArray[np.float32]:
    return np.sin(np.pi * np.arange(size) / size).astype(np.float32)


def _spectra(blocks: Iterable[Samples], size: int) -> Iterator[Spectra]:
    """Yields the spectra (F, C, N) of all frames; zeros stand before and behind the stream."""
    hop, pending = size // 2, None
    for block in blocks:
        pending = np.concatenate([np.zeros((hop, block.shape[1]), np.float32) if pending is None else pending, block])
        n_frames = len(pending) // hop - 1
        if n_frames > 0:
            yield _transformed(pending, n_frames, size)
            pending = pending[n_frames * hop :].copy()
    if pending is not None:
        n_frames = -(-len(pending) // hop)
        padded = np.zeros(((n_frames + 1) * hop, pending.shape[1]), np.float32)
        padded[: len(pending)] = pending
        yield _transformed(padded, n_frames, size)


def _transformed(samples: Samples, n_frames: int, size: int) -> Spectra:
    frames = np.lib.stride_tricks.sliding_window_view(samples, size, axis=0)[:: size // 2][:n_frames]
    spectra: Spectra = rfft(frames * _window(size), axis=2)
    return spectra


def _with_gains(spectra: Iterable[Spectra], rule: GainRule, context: int, stretch: int) -> Iterator[Spectra]:
    """Yields the spectra with their gains, `stretch` frames at a time."""
    held: Spectra | None = None
    start = 0
    for more in spectra:
        held = more if held is None else np.concatenate([held, more])
        while len(held) >= start + stretch + context:
            yield _stretch(held, start, start + stretch, rule, context)
            start += stretch
            held, start = held[max(start - context, 0) :], min(start, context)
    while held is not None and start < len(held):
        yield _stretch(held, start, min(start + stretch, len(held)), rule, context)
        start += stretch


def _stretch(held: Spectra, start: int, stop: int, rule: GainRule, context: int) -> Spectra:
    first = max(start - context, 0)
    gains = rule(held[first : stop + context], slice(start - first, stop - first))
    return held[start:stop] * gains
