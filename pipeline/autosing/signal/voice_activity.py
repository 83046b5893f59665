"""Whether someone sings, at 50 Hz, told without weights from the part of a recording that behaves like a voice.

Two cues of that part: its level, beside that of the song's own singing and in units of the song's own spread, and how
periodic it is. Their sum, weighted, is the log-odds of singing. Frame `i` is centred at (i + 1/2) / 50 s.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from autosing.signal.vocal_part import SAMPLE_RATE, Samples, Wave, vocal_blocks

Doubles = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]
Flags = npt.NDArray[np.uint8]

RATE = Fraction(50)
HOP = 320

_FFT = 1024
_LEVEL_HZ = (400, 5000)
_PITCH_HZ = (80, 800)
_FRAMES_AT_ONCE = 1000
_QUIETEST_POWER = 1e-14

# The cues are averaged over half a second: words are longer, and consonants would be gaps.
_SMOOTH_FRAMES = 25

# The level of singing is the 60th percentile of the frames at most 40 dB below the loudest; frames 40 dB below that are
# equally quiet, and what a frame 60 dB below the loudest repeats is rounding noise.
_LOUDEST_PERCENTILE, _SUNG_PERCENTILE, _RANGE_DB, _AUDIBLE_DB = 99, 60, 40.0, 60.0
_SILENT_DB = -75.0

# By logistic regression on the twelve songs of benchmarks/activity.py, which also fits them with each song left out.
WEIGHTS, OFFSET = (2.4, 7.4), -3.4
_SMALLEST_SPREAD_DB = 2.0


@dataclass(frozen=True)
class Activation:
    """How scores become intervals.

    Args:
        on: a stretch is sung where its score reaches this.
        off: it lasts as long as the score is this or more.
        min_sung_s: shorter stretches are none.
        min_pause_s: shorter pauses are none.
    """

    on: float = 0.5
    off: float = 0.35
    min_sung_s: float = 0.2
    min_pause_s: float = 0.3


@dataclass(frozen=True)
class Cues:
    """What tells singing, in frames of the vocal part.

    level_db: (F,) power from 400 to 5000 Hz in dB of full scale, at least -140.
    periodicity: (F,) largest autocorrelation at a period of 80 to 800 Hz, about 0 to 1.
    """

    level_db: Doubles
    periodicity: Doubles


def singing(blocks: Iterable[Samples], n_frames: int) -> Scores:
    """Returns the score (n_frames,) from 0 to 1 of a song at 16 kHz, given in blocks (n, C)."""
    return score(cues(vocal_blocks(blocks), n_frames))


def cues(blocks: Iterable[Wave], n_frames: int) -> Cues:
    """Returns the cues of the vocal part (T,), given in blocks of whole frames and a rest."""
    found = [pair for block in blocks for pair in _pieces(block)]
    levels = np.concatenate([level for level, _ in found]) if found else np.zeros(0)
    periodicities = np.concatenate([p for _, p in found]) if found else np.zeros(0)
    missing = max(n_frames - len(levels), 0)
    level_db = 10 * np.log10(np.maximum(np.pad(levels, (0, missing)), _QUIETEST_POWER))
    return Cues(level_db[:n_frames], np.pad(periodicities, (0, missing))[:n_frames])


def score(found: Cues) -> Scores:
    """Returns the score (F,) from 0 to 1 that these cues give; 0 where all is below -75 dBFS."""
    if not len(found.level_db) or np.percentile(found.level_db, _LOUDEST_PERCENTILE) < _SILENT_DB:
        return np.zeros(len(found.level_db), np.float32)
    scores: Scores = (1 / (1 + np.exp(-(evidence(found) @ WEIGHTS + OFFSET)))).astype(np.float32)
    return scores


def evidence(found: Cues) -> Doubles:
    """Returns what the score is a function of, (F, 2): level in units of the song's spread, and periodicity."""
    level_db = found.level_db
    loudest_db = float(np.percentile(level_db, _LOUDEST_PERCENTILE))
    sung_db = float(np.percentile(level_db[level_db >= loudest_db - _RANGE_DB], _SUNG_PERCENTILE))
    relative_db = smoothed(np.maximum(level_db - sung_db, -_RANGE_DB))
    periodicity = smoothed(found.periodicity * (level_db >= loudest_db - _AUDIBLE_DB))
    return np.stack([relative_db / (relative_db.std() + _SMALLEST_SPREAD_DB), periodicity], axis=1)


def smoothed(series: npt.NDArray[np.floating]) -> Doubles:
    """Returns the means over half a second of a series (F,)."""
    from scipy.ndimage import uniform_filter1d

    means: Doubles = uniform_filter1d(series.astype(np.float64), _SMOOTH_FRAMES, mode="nearest")
    return means


def active(scores: Scores, rule: Activation) -> Flags:
    """Returns 1 where someone sings, (F,): hysteresis first, then short pauses are closed, then short stretches go."""
    candidates = _runs(scores >= rule.off)
    sung = np.zeros(len(scores), np.bool_)
    for start, stop in candidates:
        sung[start:stop] = (scores[start:stop] >= rule.on).any()
    for start, stop in _runs(~sung):
        inside = start > 0 and stop < len(sung)
        sung[start:stop] = inside and stop - start < rule.min_pause_s * RATE
    for start, stop in _runs(sung):
        sung[start:stop] = stop - start >= rule.min_sung_s * RATE
    return sung.astype(np.uint8)


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Returns first and last (exclusive) frame of every run of true flags."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _pieces(block: Wave) -> Iterator[tuple[Doubles, Doubles]]:
    """Yields power and periodicity of the frames of a block, some at once so that memory is flat."""
    n_frames = -(-len(block) // HOP)
    padded = np.pad(block, ((_FFT - HOP) // 2, _FFT))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::HOP][:n_frames]
    for start in range(0, n_frames, _FRAMES_AT_ONCE):
        yield _power_and_periodicity(frames[start : start + _FRAMES_AT_ONCE])


def _power_and_periodicity(frames: npt.NDArray[np.float32]) -> tuple[Doubles, Doubles]:
    """Returns the mean square in the band of a voice and the largest autocorrelation, each (F,), of frames (F, 1024).

    The autocorrelation is divided by the window's own (Boersma, 1993). Below -146 dBFS it tends to 0.
    """
    from scipy.fft import irfft, rfft

    window = np.hanning(_FFT + 1)[:-1].astype(np.float32)
    spectrum = rfft(frames * window, 2 * _FFT)
    power = spectrum.real**2 + spectrum.imag**2
    hz = np.arange(power.shape[1]) * SAMPLE_RATE / (2 * _FFT)
    band = power[:, (hz >= _LEVEL_HZ[0]) & (hz < _LEVEL_HZ[1])].sum(1, dtype=np.float64)
    lags = slice(SAMPLE_RATE // _PITCH_HZ[1], SAMPLE_RATE // _PITCH_HZ[0] + 1)
    itself = irfft(np.abs(rfft(window, 2 * _FFT)) ** 2)
    alike = irfft(power)
    periodicity = (alike[:, lags] / (itself[lags] / itself[0])).max(1) / (alike[:, 0] + 1e-12)
    return band / (_FFT * np.square(window).sum(dtype=np.float64)), periodicity.astype(np.float64)
