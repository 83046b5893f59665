"""Forced alignment: the best path of a CTC net's emissions through a known sequence of labels.

The states are those of CTC (Graves et al., 2006): labels with blanks between them. On top of it each label may be
confined to a window of frames, may have an expected frame, and blanks may cost something or stand for anything; these
tell an aligner what it knows of a song besides its sound. `torchaudio.functional.forced_align` has none of them, and
with windows the work is proportional to the length of a song.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import RowError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_NEVER = np.float32(-1e30)


@dataclass(frozen=True)
class Trellis:
    """What is known of a sequence of labels; S labels, F frames, times in frames.

    Attributes:
        labels: (S,) columns of the emissions.
        first: (S,) earliest frame of each label, never decreasing.
        last: (S,) latest frame of each label, never decreasing, not before `first`.
        expected: (S,) where a label is expected to begin.
        stiffness: (S,) cost of beginning `d` frames off is `stiffness d^2`; 0 where nothing is expected.
        blank_cost: (S + 1,) cost of each frame in the blank before each label and after the last.
        gap_cost: (S + 1,) cost of each frame of anything that sounds in place of a blank; infinite where nothing may.
    """

    labels: Ints
    first: Ints
    last: Ints
    expected: Floats
    stiffness: Floats
    blank_cost: Floats
    gap_cost: Floats

    @classmethod
    def of(cls, labels: Ints, n_frames: int) -> "Trellis":
        """Returns the plain CTC trellis of labels that may be anywhere in `n_frames`."""
        n = len(labels)
        zeros = np.zeros(n, np.float32)
        return cls(
            labels,
            np.zeros(n, np.int64),
            np.full(n, n_frames - 1),
            zeros,
            zeros,
            np.zeros(n + 1, np.float32),
            np.full(n + 1, np.inf, np.float32),
        )


@dataclass(frozen=True)
class Path:
    """The best path: label `k` sounds in frames `[starts[k], ends[k])`, and its mean log probability is `scores[k]`."""

    labels: Ints
    starts: Ints
    ends: Ints
    scores: Floats


def best_path(emissions: Floats, trellis: Trellis, blank: int = 0, gap: Floats | None = None) -> Path:
    """Returns the best path of `emissions` (F, C), log probabilities, through a trellis.

    Args:
        emissions: log probabilities per frame.
        trellis: the labels and what is known of them.
        blank: the column of the blank.
        gap: (F,) log score of anything that sounds; None where no blank may be a gap.

    Raises:
        RowError: no path exists: there are fewer frames than labels where they may be.
    """
    n_frames, n_labels = len(emissions), len(trellis.labels)
    if not n_labels:
        return Path(trellis.labels, np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    pointers = _forward(emissions, trellis, blank, gap)
    return _backward(emissions, trellis, pointers, n_frames)


def _forward(emissions: Floats, trellis: Trellis, blank: int, gap: Floats | None) -> list[tuple[int, bytes, bytes]]:
    """Returns per frame the first active label and whence the best way came to each active label and blank.

    Of a label: 0 from itself, 1 from the blank before, 2 from the label before. Of the blank before it: 0 or 1, the
    label before.
    """
    labels, n_labels = trellis.labels, len(trellis.labels)
    may_skip = np.append(False, labels[1:] != labels[:-1])
    skip_cost = np.where(may_skip, np.float32(0), _NEVER)
    anything = np.full(len(emissions), _NEVER) if gap is None else gap
    # Active are the labels whose window has begun and has not ended; both edges only move forward.
    begin = np.searchsorted(trellis.last, np.arange(len(emissions)), side="left")
    end = np.searchsorted(trellis.first, np.arange(len(emissions)), side="right")
    token = np.full(n_labels + 1, _NEVER, np.float32)  # with a place before the first for what lies before it
    blanks = np.full(n_labels + 1, _NEVER, np.float32)
    blanks[0] = 0
    pointers = []
    for frame, row in enumerate(emissions):
        lo, hi = begin[frame], end[frame]
        # Blanks lo .. hi: the one after the last active label, too.
        own, came = blanks[lo : hi + 1], token[lo : hi + 1]
        from_label = came > own
        gaps = anything[frame] - trellis.gap_cost[lo : hi + 1]
        stay = np.maximum(gaps, row[blank] - trellis.blank_cost[lo : hi + 1])
        new_blanks = np.where(from_label, came, own) + stay
        off = frame - trellis.expected[lo:hi]
        entry = trellis.stiffness[lo:hi] * off * off
        ways = np.stack([token[lo + 1 : hi + 1], blanks[lo:hi] - entry, token[lo:hi] + skip_cost[lo:hi] - entry])
        way = ways.argmax(0)
        new_token = np.take_along_axis(ways, way[None], 0)[0] + row[labels[lo:hi]]
        if lo > 0 and begin[frame - 1] < lo:
            token[:lo], blanks[:lo] = _NEVER, _NEVER
        token[lo], token[lo + 1 : hi + 1], blanks[lo : hi + 1] = _NEVER, new_token, new_blanks
        pointers.append((lo, way.astype(np.uint8).tobytes(), from_label.tobytes()))
    if max(token[n_labels], blanks[n_labels]) <= _NEVER / 2:
        raise RowError(f"{n_labels} sounds do not fit into {len(emissions)} frames where they may be")
    pointers.append((int(token[n_labels] > blanks[n_labels]), b"", b""))
    return pointers


def _backward(emissions: Floats, trellis: Trellis, pointers: list[tuple[int, bytes, bytes]], n_frames: int) -> Path:
    n_labels = len(trellis.labels)
    starts, ends = np.zeros(n_labels, np.int64), np.zeros(n_labels, np.int64)
    totals = np.zeros(n_labels)
    label = n_labels
    in_label = bool(pointers[-1][0])
    if in_label:
        label -= 1
        ends[label] = n_frames
    for frame in range(n_frames - 1, -1, -1):
        lo, ways, from_label = pointers[frame]
        if not in_label:
            if from_label[label - lo]:
                label -= 1
                in_label, ends[label] = True, frame
            continue
        totals[label] += emissions[frame, trellis.labels[label]]
        way = ways[label - lo]
        if way:
            starts[label] = frame
            in_label = way == 2
            if in_label:
                label -= 1
                ends[label] = frame
    return Path(trellis.labels, starts, ends, (totals / np.maximum(ends - starts, 1)).astype(np.float32))
