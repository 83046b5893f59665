"""Fingerprints that tell whether two files hold the same recording, whatever the coding, the gain or where they begin.

Landmarks are pairs of peaks of the spectrogram that are near each other (Wang, "An industrial-strength audio search
algorithm", 2003): two frequencies and the time between them. Another take, however alike, has its peaks elsewhere. Of a
song the 256 landmarks of lowest hash are kept, which is the same choice in every copy (Broder's bottom-k sketch, 1997),
each with its time: copies share hashes at one distance in time.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float32]
Landmarks = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]

SAMPLE_RATE = 8000
LANDMARKS = 256
SAME = 8
"""Shared landmarks at one distance in time that make two files the same recording; unrelated ones share up to 3."""

NEIGHBOURS = 8
"""A landmark links a song to at most so many of the songs that share it."""

_FFT, _HOP = 1024, 256
_BINS = slice(26, 450)  # 200 to 3500 Hz
_BLOCK_FRAMES = 2000

# A peak is the largest value within this many frames and bins to either side, and at most 78 dB below the highest.
_FRAMES_APART, _BINS_APART = 7, 12
_DEEPEST = 9.0
_SILENT = -11.0

# Partners of a peak: among the next so many peaks, so many frames later, and at most so many bins away.
_NEXT, _SOONEST, _LATEST, _FARTHEST = 11, 2, 40, 96
_TIME_TOLERANCE = 4


def fingerprint(wave: Wave) -> Landmarks:
    """Returns the landmarks (N, 2) of a wave (T,) at 8 kHz: hash and frame of 32 ms, by hash; N is 256 or less."""
    times, bins = _peaks(wave)
    hashes, at = [np.empty(0, np.uint32)], [np.empty(0, np.uint32)]
    for step in range(1, min(_NEXT, len(times) - 1) + 1):
        later, higher = times[step:] - times[:-step], bins[step:] - bins[:-step]
        near = (later >= _SOONEST) & (later <= _LATEST) & (np.abs(higher) <= _FARTHEST)
        packed = (bins[:-step] << 16) | ((higher + 128) << 8) | later
        hashes.append(packed[near].astype(np.uint32))
        at.append(times[:-step][near].astype(np.uint32))
    found = np.stack([_mixed(np.concatenate(hashes)), np.concatenate(at)], axis=1)
    found = found[np.lexsort((found[:, 1], found[:, 0]))]
    is_first = np.diff(found[:, 0].astype(np.int64), prepend=-1) > 0
    return found[is_first][:LANDMARKS]


def landmarks_of(stored: bytes) -> Landmarks:
    """Returns the landmarks (N, 2) that `tobytes` of little-endian ones gave."""
    return np.frombuffer(stored, "<u4", count=len(stored) // 8 * 2).reshape(-1, 2)


def _peaks(wave: Wave) -> tuple[Numbers, Numbers]:
    """Returns frame and bin of the peaks of a spectrogram, by frame."""
    found = list(_block_peaks(wave))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    times, bins, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    high = values > max(values.max(initial=_SILENT) - _DEEPEST, _SILENT)
    return times[high], bins[high]


def _block_peaks(wave: Wave) -> Iterator[tuple[Numbers, Numbers, Wave]]:
    """Yields frame, bin and log magnitude of peaks, some frames at once so that memory is flat."""
    from scipy.fft import rfft
    from scipy.ndimage import maximum_filter

    n_frames = (len(wave) - _FFT) // _HOP + 1
    window = np.hanning(_FFT + 1)[:-1].astype(np.float32)
    size = (2 * _FRAMES_APART + 1, 2 * _BINS_APART + 1)
    for start in range(0, n_frames, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, n_frames)
        first, last = max(start - _FRAMES_APART, 0), min(stop + _FRAMES_APART, n_frames)
        piece = wave[first * _HOP : (last - 1) * _HOP + _FFT]
        frames = np.lib.stride_tricks.sliding_window_view(piece, _FFT)[::_HOP]
        level = np.log(np.abs(rfft(frames * window)[:, _BINS]) + np.float32(1e-5))
        # Beyond the edge is higher than anything: what may still rise is no peak.
        inner = slice(start - first, start - first + stop - start)
        highest = maximum_filter(level, size, mode="constant", cval=np.inf)[inner]
        times, bins = np.nonzero(level[inner] == highest)
        yield times + start, bins, level[inner][times, bins]


def _mixed(packed: Landmarks) -> Landmarks:
    """Returns 32-bit numbers well mixed, one to one (Wellons, "Prospecting for hash functions", 2018)."""
    mixed = packed ^ (packed >> np.uint32(16))
    mixed = mixed * np.uint32(0x7FEB352D)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x846CA68B)
    found: Landmarks = mixed ^ (mixed >> np.uint32(16))
    return found


def same_recordings(songs: Sequence[Landmarks]) -> list[tuple[int, int]]:
    """Returns pairs of songs that are the same recording; of many copies enough pairs to connect them all.

    Songs are compared only where they share landmarks: the time grows with what is shared, not with all pairs.
    """
    pairs, shifts = _shared(songs)
    if not len(pairs):
        return []
    counts = [_counts(pairs, (shifts + offset) // _TIME_TOLERANCE) for offset in (0, _TIME_TOLERANCE // 2)]
    same = np.unique(np.concatenate([found[times >= SAME] for found, times in counts]))
    return [(int(pair) // len(songs), int(pair) % len(songs)) for pair in same]


def _shared(songs: Sequence[Landmarks]) -> tuple[Numbers, Numbers]:
    """Returns for each landmark that two songs share the number of the pair, and by how many frames it is shifted."""
    owner = np.repeat(np.arange(len(songs)), [len(landmarks) for landmarks in songs])
    table = np.concatenate([np.empty((0, 2), np.uint32), *songs]).astype(np.int64)
    order = np.lexsort((owner, table[:, 0]))
    owner, hashes, frames = owner[order], table[order, 0], table[order, 1]
    pairs, shifts = [], []
    for step in range(1, min(NEIGHBOURS, len(hashes) - 1) + 1):
        same = hashes[step:] == hashes[:-step]
        pairs.append((owner[:-step] * len(songs) + owner[step:])[same])
        shifts.append((frames[step:] - frames[:-step])[same])
    if not pairs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate(pairs), np.concatenate(shifts)


def _counts(pairs: Numbers, shifts: Numbers) -> tuple[Numbers, Numbers]:
    """Returns the pairs, and how many landmarks each shares at a shift; a pair appears once for each of its shifts."""
    lowest = int(shifts.min())
    keys, times = np.unique(pairs * (int(shifts.max()) - lowest + 1) + shifts - lowest, return_counts=True)
    return keys // (int(shifts.max()) - lowest + 1), times
