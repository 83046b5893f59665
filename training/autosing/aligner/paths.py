"""From words and what is known of their places to their first sounds: the trellis of a song, and its best path."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autosing.aligner.alignment import SungWord
from autosing.signal.alphabet import ANYTHING
from autosing.signal.errors import RowError
from autosing.signal.lyric_mel import RATE
from autosing.signal.viterbi import Path, Trellis, best_path

Floats = npt.NDArray[np.floating]
Frames = npt.NDArray[np.int64]

LARGEST_TRELLIS = 400_000_000
"""Frames times labels that may be active; each takes two bytes."""
MOST_ROOM_S = 8.0
"""By which a window is made wider at most, where its words do not fit."""


@dataclass(frozen=True)
class Places:
    """What is known of the places of N words, in seconds.

    Attributes:
        earliest_s: (N,) no sound of the word is before.
        latest_s: (N,) no sound of it is after.
        expected_s: (N,) where it is expected to begin.
        spread_s: (N,) standard deviation of that; infinite where nothing is expected.
    """

    earliest_s: Floats
    latest_s: Floats
    expected_s: Floats
    spread_s: Floats

    @classmethod
    def anywhere(cls, n_words: int, duration_s: float) -> "Places":
        """Returns that nothing is known."""
        zeros = np.zeros(n_words)
        return cls(zeros, zeros + duration_s, zeros, zeros + np.inf)


@dataclass(frozen=True)
class SungPath:
    """The best path of a song: (N,) times of its words, and the path of their sounds."""

    starts_s: Floats
    ends_s: Floats
    scores: Floats
    sounds: Path
    owners: npt.NDArray[np.int64]  # the word of each label


def place(
    evidence: npt.NDArray[np.float32],
    words: Sequence[SungWord],
    places: Places,
    inner_cost: float = 0.0,
    gap_costs: tuple[float, float] | None = None,
) -> SungPath:
    """Returns where the words are in log probabilities (F, V + 1), whose last column is that of any sound.

    Args:
        evidence: of `emissions.with_anything`.
        words: in order.
        places: what is known of them; where it leaves words no room, they get just enough, beside their neighbours.
        inner_cost: nats that a second without a sound costs inside a line; between lines it costs nothing.
        gap_costs: nats that a second of sounds which are no lyrics costs between two stanzas, and between two lines of
            one; None if there can be none. Lines without words part stanzas; of lyrics without any, every line is one.

    Raises:
        RowError: the words have more sounds than there are frames for, by `MOST_ROOM_S` or in the whole song, or the
            song is too long for so many.
    """
    rate = float(RATE)
    owners = np.repeat(np.arange(len(words)), [len(word.labels) for word in words])
    trellis = _trellis(evidence, words, owners, places, inner_cost / rate, _gap_costs(words, owners, gap_costs))
    active = int(np.sum(trellis.last - trellis.first + 1))
    if active > LARGEST_TRELLIS:
        raise RowError(
            f"{len(owners)} sounds without times in {len(evidence) / rate:.0f} s are too many to align at once; "
            "give LRC lyrics, or cut the recording"
        )
    path = best_path(evidence, trellis, gap=evidence[:, -1])
    heads = np.flatnonzero(np.diff(owners, prepend=-1))
    tails = np.append(heads[1:], len(owners)) - 1
    lengths = np.maximum(path.ends - path.starts, 1)
    totals = np.add.reduceat(path.scores * lengths, heads) / np.add.reduceat(lengths, heads)
    return SungPath(path.starts[heads] / rate, path.ends[tails] / rate, totals, path, owners)


def _trellis(
    evidence: npt.NDArray[np.float32],
    words: Sequence[SungWord],
    owners: npt.NDArray[np.int64],
    places: Places,
    inner_cost: float,
    gap_costs: Floats,
) -> Trellis:
    n_frames, anything = len(evidence), evidence.shape[1] - 1
    rate = float(RATE)
    labels = np.array([label for word in words for label in word.labels], np.int64)
    labels[labels == ANYTHING] = anything
    first = np.clip(np.maximum.accumulate(places.earliest_s) * rate, 0, n_frames - 1).astype(np.int64)
    last = np.clip(np.maximum.accumulate(places.latest_s) * rate, 0, n_frames - 1).astype(np.int64)
    first, last = _with_room(labels, first[owners], np.maximum(last, first)[owners], n_frames)
    heads = np.diff(owners, prepend=-1) > 0
    known = np.isfinite(places.spread_s)
    stiffness = np.where(known, 0.5 / (np.where(known, places.spread_s, 1.0) * rate) ** 2, 0.0)
    line_of = np.array([word.line for word in words])[owners]
    begins_line = np.append(np.diff(line_of, prepend=-1) != 0, True)
    return Trellis(
        labels=labels,
        first=first,
        last=last,
        expected=(places.expected_s[owners] * rate).astype(np.float32),
        stiffness=np.where(heads, stiffness[owners], 0.0).astype(np.float32),
        blank_cost=np.where(begins_line, 0.0, inner_cost).astype(np.float32),
        gap_cost=gap_costs,
    )


def _with_room(labels: Frames, first: Frames, last: Frames, n_frames: int) -> tuple[Frames, Frames]:
    """Returns the windows of S labels, wider where so many do not fit, by as few frames as that takes.

    Two lines of one stamp leave the first hardly a frame, stamps that are moved out of the song leave theirs one. What
    lacks more than `MOST_ROOM_S` stays as it is, without a path.
    """
    # A label after one like it needs a blank between them.
    nth = np.cumsum(1 + (np.diff(labels, prepend=-1) == 0))
    soonest = np.maximum.accumulate(first - nth) + nth
    later = np.minimum(np.maximum(last, soonest), n_frames - 1)
    latest = np.minimum.accumulate((later - nth)[::-1])[::-1] + nth
    sooner = np.minimum(first, latest)
    added = np.maximum(later - last, first - sooner)
    is_enough = (sooner >= 0).all() and (added <= MOST_ROOM_S * float(RATE)).all()
    return (sooner, later) if is_enough else (first, last)


def _gap_costs(
    words: Sequence[SungWord], owners: npt.NDArray[np.int64], costs: tuple[float, float] | None
) -> npt.NDArray[np.float32]:
    """Returns what a frame of other sounds costs before each label and after the last."""
    if costs is None:
        return np.full(len(owners) + 1, np.inf, np.float32)
    of_stanza, of_line = costs
    steps = np.diff([word.line for word in words])
    if steps.max(initial=0) <= 1:
        of_line = of_stanza
    between = np.select([steps > 1, steps == 1], [of_stanza, of_line], np.inf)
    by_word = np.concatenate([[of_stanza], between, [of_stanza]])
    at = np.append(owners, len(words))
    return np.where(np.diff(at, prepend=-1) != 0, by_word[at], np.inf).astype(np.float32) / np.float32(RATE)
