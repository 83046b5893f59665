"""Notes from a pitch track: a small rule, so that a transcription can be told apart from the tracker it comes from.

1. Voiced frames whose gap is at most `BRIDGE_S` are one run: a tracker drops frames in the middle of a tone.
2. In a run the pitch in semitones is smoothed by a median over `SMOOTH_S`, a period of vibrato: steps stay steps.
3. A note ends, and the next begins, where the smoothed pitch leaves the note's mean so far by more than
   `STEP_SEMITONES` and stays away, on one side, for `SUSTAIN_S`.
4. Notes shorter than `SHORTEST_S` do not arise: a run that is shorter has none, and neither the first nor the last note
   of a run is cut shorter.

The pitch of a note is the median of its voiced frames. Two notes of one pitch with nothing unvoiced between them are
one note here: a track does not tell them apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

BRIDGE_S = 0.03
SMOOTH_S = 0.19
STEP_SEMITONES = 0.5
SUSTAIN_S = 0.08
SHORTEST_S = 0.1


@dataclass(frozen=True)
class Note:
    """A sung tone; `midi` in semitones with fractions, A4 = 440 Hz is 69."""

    start_s: float
    end_s: float
    midi: float


def transcribe(f0_hz: npt.NDArray[np.floating[Any]], voiced: npt.NDArray[Any], rate: Fraction) -> list[Note]:
    """Returns the notes of a pitch track (F,) at `rate` in order of time.

    Raises:
        ValueError: the two series have two lengths.
    """
    if f0_hz.shape != voiced.shape:
        raise ValueError(
            f"a pitch track of shape {f0_hz.shape} and voicing of shape {voiced.shape} do not belong together"
        )
    sounding = voiced.astype(bool) & (f0_hz > 0)
    midi = np.full(len(f0_hz), np.nan)
    midi[sounding] = 69 + 12 * np.log2(f0_hz[sounding].astype(np.float64) / 440)
    notes = []
    for first, last in _runs(sounding, _frames(BRIDGE_S, rate), _frames(SHORTEST_S, rate)):
        for start, end in _steps(_bridged(midi[first:last]), rate):
            pitch = float(np.nanmedian(midi[first + start : first + end]))
            notes.append(Note((first + start) / float(rate), (first + end) / float(rate), pitch))
    return notes


def _frames(seconds: float, rate: Fraction) -> int:
    return max(round(seconds * float(rate)), 1)


def _runs(flags: npt.NDArray[np.bool_], bridge: int, shortest: int) -> Iterator[tuple[int, int]]:
    """Yields first and one-past-last frame of the runs of `flags`, gaps up to `bridge` frames closed."""
    frames = np.flatnonzero(flags)
    if len(frames):
        breaks = np.flatnonzero(np.diff(frames) > bridge + 1)
        firsts, lasts = frames[[0, *(breaks + 1)]], frames[[*breaks, -1]] + 1
        yield from ((int(a), int(b)) for a, b in zip(firsts, lasts, strict=True) if b - a >= shortest)


def _bridged(midi: Doubles) -> Doubles:
    """Returns the pitch of a run with its short gaps filled along a line."""
    known = np.flatnonzero(~np.isnan(midi))
    return np.interp(np.arange(len(midi)), known, midi[known])


def _steps(midi: Doubles, rate: Fraction) -> Iterator[tuple[int, int]]:
    """Yields first and one-past-last frame of each note of a run (F,)."""
    from scipy.ndimage import maximum_filter1d, median_filter, minimum_filter1d

    shortest, sustain = _frames(SHORTEST_S, rate), _frames(SUSTAIN_S, rate)
    smooth = median_filter(midi, size=_frames(SMOOTH_S, rate) | 1, mode="nearest")
    # The lowest and highest pitch of the `sustain` frames from each frame on.
    ahead = {"size": sustain, "origin": -(sustain // 2), "mode": "nearest"}
    low, high = minimum_filter1d(smooth, **ahead).tolist(), maximum_filter1d(smooth, **ahead).tolist()
    totals = np.concatenate([[0.0], np.cumsum(smooth)]).tolist()
    start = 0
    for i in range(shortest, len(midi) - shortest + 1):
        if i - start < shortest:
            continue
        mean = (totals[i] - totals[start]) / (i - start)
        if low[i] - mean > STEP_SEMITONES or mean - high[i] > STEP_SEMITONES:
            yield start, i
            start = i
    yield start, len(midi)
