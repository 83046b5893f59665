"""What the lyrics aligner hears: log-mels of the mix and of what both channels have in common, at 50 Hz.

Lead voices are mixed to the centre, so bins where left and right agree belong to the voice more often than others.
A mono recording has the same bands twice. Each band is normalised over the song, which takes studio and level out.
"""

import functools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autosing.signal.mel import MelSpec, slaney_filters

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000
RATE = Fraction(50)
N_MELS = 80
DIM = 2 * N_MELS
SPEC = MelSpec(SAMPLE_RATE, n_fft=1024, hop=320, win=640, n_mels=N_MELS, fmin_hz=60.0, fmax_hz=8000.0, floor=1e-4)
LEAST_SPREAD = 0.2  # nats; added to a band's deviation, so that silence is not blown up
_BLOCK_FRAMES = 1024
_BANDS_AT_ONCE = 16


def lyric_mel(blocks: Iterable[Floats], n_frames: int) -> Floats:
    """Returns the bands (n_frames, 160) of a recording: 80 of the mix, 80 of the centre, normalised over the song.

    Args:
        blocks: samples (n, C) at 16 kHz, one after the other; of more than two channels the first two are left and
            right. A mono recording has its bands twice.
        n_frames: at 50 Hz. Frame `i` covers `[i, i + 1) / 50` seconds and is centred there; what is beyond the samples
            is silent.
    """
    bands = np.empty((n_frames, DIM), np.float32)
    for number, sides in enumerate(_stretches(blocks, n_frames)):
        bands[number * _BLOCK_FRAMES :][:_BLOCK_FRAMES] = _bands(sides)
    # In place and a few bands at a time, or a song of two hours would be in memory five times.
    for first in range(0, DIM if n_frames else 0, _BANDS_AT_ONCE):
        some = bands[:, first : first + _BANDS_AT_ONCE]
        spread = some.std(0) + LEAST_SPREAD
        some -= some.mean(0)
        some /= spread
    return bands


def _stretches(blocks: Iterable[Floats], n_frames: int) -> Iterator[Floats]:
    """Yields left and right (2, n) of some frames at once, as far as those frames look to either side."""
    source = iter(blocks)
    seen = np.zeros((2, SPEC.pad), np.float32)  # what the first frame sees before the first sample
    for start in range(0, n_frames, _BLOCK_FRAMES):
        count = min(_BLOCK_FRAMES, n_frames - start)
        wanted = (count - 1) * SPEC.hop + SPEC.n_fft
        parts, length = [seen], seen.shape[1]
        while length < wanted and (block := next(source, None)) is not None:
            parts.append(_sides(block))
            length += len(block)
        seen = np.concatenate(parts, axis=1)
        yield np.pad(seen[:, :wanted], ((0, 0), (0, max(wanted - seen.shape[1], 0))))
        seen = seen[:, count * SPEC.hop :]


def _sides(block: Floats) -> Floats:
    return np.ascontiguousarray(block[:, :2].T if block.shape[1] > 1 else np.repeat(block, 2, axis=1).T)


def _bands(sides: Floats) -> Floats:
    """Returns the log-mels (F, 160) of left and right (2, n)."""
    import torch

    spectra = torch.stft(
        torch.from_numpy(sides), SPEC.n_fft, SPEC.hop, SPEC.win, _window(), center=False, return_complex=True
    )
    mix, side = (spectra[0] + spectra[1]).abs() / 2, (spectra[0] - spectra[1]).abs() / 2
    centre = (mix - side).clamp(min=0)
    both = torch.stack([mix, centre]).numpy()
    mels = _filters() @ both
    bands: Floats = np.log(np.maximum(mels, SPEC.floor)).reshape(DIM, -1).T
    return bands


@functools.cache
def _filters() -> Floats:
    return slaney_filters(SPEC)


@functools.cache
def _window() -> "torch.Tensor":
    import torch

    return torch.hann_window(SPEC.win)
