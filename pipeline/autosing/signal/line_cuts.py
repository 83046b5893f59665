"""One cut per line of lyrics, with a margin: what an aligner of lyrics is trained on."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.signal.dropped import NO_LINE, NOT_TRUSTED, SAME_START, Cause, Dropped, tiled
from autosing.signal.intervals import Floats
from autosing.signal.span import LONGEST_SNAP_S


class LineCut(NamedTuple):
    """The cut of one line of lyrics.

    Args:
        line: place of the line among those given.
        start_s: start of the cut.
        end_s: end of the cut.
    """

    line: int
    start_s: float
    end_s: float


def line_cuts(
    lines: Floats, trusted: npt.NDArray[np.bool_], duration_s: float, before_s: float, after_s: float
) -> tuple[list[LineCut], list[Dropped]]:
    """Returns a cut per trusted line, in order of their starts, and what lies in no cut with the reason.

    Cuts may overlap, but begin at least half a second apart: of lines that begin together (a translation, two voices)
    the longest is taken, as what is heard there is more than one of them, and the keys of samples are their starts.

    Args:
        lines: start and end of each line (L, 2), inside the song.
        trusted: which lines have times that are trusted (L,).
        duration_s: length of the song.
        before_s: margin before a line.
        after_s: margin after a line.
    """
    padded = np.clip(lines.reshape(-1, 2) + np.array([-before_s, after_s]), 0.0, duration_s)
    chosen = _apart(padded, [int(i) for i in np.argsort(padded[:, 0], kind="stable") if trusted[i]])
    same = np.ones(len(lines), np.bool_)
    same[chosen] = False
    causes = [Cause(SAME_START, padded[same]), Cause(NOT_TRUSTED, padded[~trusted])]
    cuts = [LineCut(i, float(padded[i, 0]), float(padded[i, 1])) for i in chosen]
    return cuts, tiled(duration_s, padded[chosen], causes, NO_LINE)


def _apart(padded: Floats, order: list[int]) -> list[int]:
    """Returns those of the intervals, in the given order of their starts, that begin far enough apart."""
    chosen: list[int] = []
    for i in order:
        if not chosen or padded[i, 0] - padded[chosen[-1], 0] >= LONGEST_SNAP_S:
            chosen.append(i)
        elif padded[i, 1] > padded[chosen[-1], 1]:
            chosen[-1] = i
    return chosen
