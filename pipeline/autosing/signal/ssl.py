"""Features of speech encoders at 50 Hz: how songs are cut into windows and put together again.

Frame `i` is centred at (i + 1/2) / 50 s of the song. A song longer than a window is encoded in windows of equal length
that overlap by two contexts; of each only the part away from its inner edges is used. A frame knows nothing of what is
sung beyond its window, so window and context are part of what the features mean.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import UsageError

Wave = npt.NDArray[np.float32]
Features = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

RATE = Fraction(50)
SAMPLE_RATE = 16_000
HOP = 320


class Encoder(Protocol):
    """A pretrained encoder, ready to run.

    Args:
        margins: samples that it wants before and behind the samples of its frames.
        dim: width of its frames.
        batches: whether several windows at once are faster than one after the other.
        normalises: whether `normalised` is of the song as a whole.
    """

    margins: tuple[int, int]
    dim: int
    batches: bool
    normalises: bool

    @property
    def longest(self) -> int | None:
        """The most frames that it takes at once; None for any number."""

    def normalised(self, wave: Wave) -> Wave:
        """Returns a song's wave (T,) as the encoder wants to hear it."""

    def encode(self, waves: Wave) -> Features:
        """Returns the frames of equally long windows with margins: (B, T) at 16 kHz -> (B, F, D)."""


@dataclass(frozen=True)
class Window:
    """A window of a song, in frames.

    Args:
        start: its first frame.
        length: its number of frames.
        kept: first and last (exclusive) frame of the song that are taken from it.
    """

    start: int
    length: int
    kept: tuple[int, int]


@dataclass(frozen=True)
class Windowing:
    """How songs are cut into windows, in frames.

    Raises:
        UsageError: the contexts leave nothing of a window.
    """

    window: int
    context: int

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.context < self.window:
            raise UsageError(
                f"ssl: a window of {_seconds(self.window)} with {_seconds(self.context)} of context on both sides "
                "keeps nothing; make window_s longer than twice context_s"
            )

    @classmethod
    def of_seconds(cls, window_s: float, context_s: float) -> "Windowing":
        """Returns the windowing of two lengths in seconds, on the grid of 20 ms."""
        return cls(round(window_s * RATE), round(context_s * RATE))

    @property
    def step_s(self) -> Fraction:
        """Seconds from the start of a window to that of the next."""
        return (self.window - 2 * self.context) / RATE

    def check(self, encoder: Encoder) -> None:
        """Checks that an encoder takes windows of this length.

        Raises:
            UsageError: it does not.
        """
        if encoder.longest is not None and self.window > encoder.longest:
            raise UsageError(f"ssl: this model hears {_seconds(encoder.longest)} at once; set window_s to that or less")

    def windows(self, n_frames: int) -> list[Window]:
        """Returns the windows of a song; the last is moved back, so that those of a long song are equally long."""
        if n_frames <= self.window:
            return [Window(0, n_frames, (0, n_frames))] if n_frames else []
        last = n_frames - self.window
        starts = [*range(0, last, self.window - 2 * self.context), last]
        ends = [*(start + self.window - self.context for start in starts[:-1]), n_frames]
        begins = [0, *ends[:-1]]
        return [Window(s, self.window, (b, e)) for s, b, e in zip(starts, begins, ends, strict=True)]


def encode_songs(
    encoder: Encoder,
    waves: Sequence[Wave],
    n_frames: Sequence[int],
    windowing: Windowing,
    windows_per_batch: int = 1,
    covered: Sequence[Mask] | None = None,
    dtype: npt.DTypeLike = np.float16,
) -> list[Features]:
    """Returns the features (F, D) of each song; windows of equal length are encoded together.

    Args:
        encoder: the model.
        waves: (T,) at 16 kHz.
        n_frames: the number of frames that each song shall have.
        windowing: how long songs are cut.
        windows_per_batch: how many windows a GPU gets at once.
        covered: (F,) of each song: which frames are wanted. Windows without any are skipped, other frames are zeros.
        dtype: of the features.

    Raises:
        UsageError: the windows are longer than the encoder takes.
    """
    windowing.check(encoder)
    features: list[Features] = [np.zeros((n, encoder.dim), dtype) for n in n_frames]
    padded = [with_margins(encoder.normalised(w), n, encoder.margins) for w, n in zip(waves, n_frames, strict=True)]
    masks = covered or [np.ones(n, np.bool_) for n in n_frames]
    for batch in _batches(windowing, masks, windows_per_batch if encoder.batches else 1):
        encoded = encoder.encode(np.stack([_cut(padded[song], window, encoder) for song, window in batch]))
        for (song, window), frames in zip(batch, encoded, strict=True):
            begin, end = window.kept
            features[song][begin:end] = frames[begin - window.start : end - window.start]
    for frames, mask in zip(features, masks, strict=True):
        frames[~mask] = 0
    return features


def _batches(windowing: Windowing, masks: Sequence[Mask], windows_per_batch: int) -> Iterator[list[tuple[int, Window]]]:
    """Yields pairs of song and window with wanted frames, equally long ones together."""
    by_length: dict[int, list[tuple[int, Window]]] = {}
    for song, mask in enumerate(masks):
        wanted = (w for w in windowing.windows(len(mask)) if mask[slice(*w.kept)].any())
        for window in wanted:
            by_length.setdefault(window.length, []).append((song, window))
    for equal in by_length.values():
        for first in range(0, len(equal), windows_per_batch):
            yield equal[first : first + windows_per_batch]


def with_margins(wave: Wave, n_frames: int, margins: tuple[int, int]) -> Wave:
    """Returns a wave (T,) cut, or lengthened by silence, to the samples of its frames, with silence around."""
    before, behind = margins
    padded = np.zeros(before + n_frames * HOP + behind, np.float32)
    heard = wave[: n_frames * HOP]
    padded[before : before + len(heard)] = heard
    return padded


def _cut(padded: Wave, window: Window, encoder: Encoder) -> Wave:
    stop = (window.start + window.length) * HOP + sum(encoder.margins)
    return padded[window.start * HOP : stop]


def _seconds(n_frames: int) -> str:
    return f"{float(n_frames / RATE):g} s"
