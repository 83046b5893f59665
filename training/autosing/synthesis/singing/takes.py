"""How good a take is: its lyrics are aligned to its sound again, which tells lines that were skipped or added."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.aligner.align import DERAILED_CONFIDENCE, align_plain, sung_words
from autosing.aligner.alignment import Alignment, TimedLine, TimedWord
from autosing.aligner.emissions import emissions, mixture
from autosing.aligner.shipped import SHIPPED, load_aligner
from autosing.signal.alphabet import ANYTHING, BLANK, Labels
from autosing.signal.edits import edit_distance
from autosing.signal.errors import RowError
from autosing.signal.framing import frames
from autosing.signal.lyric_mel import RATE, SAMPLE_RATE, lyric_mel
from autosing.signal.lyrics import split_words
from autosing.signal.resample import resample

Wave = npt.NDArray[np.float32]
Emissions = npt.NDArray[np.float32]

# Of a line: what the net reads in its place, of the symbols that it has. 37 lines of the synthetic singer have 0.55 and
# less, as many of other songs that are aligned to them 0.58 and more but for one in twenty, and noise 0.75.
MOST_LINE_ERRORS = 0.6
# Nats a symbol; of the same lines the first have -1.64 and more, and half of the others less than -3.3. Words, of few
# symbols, scatter more.
LEAST_LINE_SCORE, LEAST_WORD_SCORE = -2.8, -3.5
# Seconds a symbol; a line that is slurred over or drawn out is not one that was sung.
QUICKEST_S, SLOWEST_S = 0.045, 0.8
# Share of what is heard that may lie outside of all lines; a repeated line of six has 0.11 and more. Of windows of 4 to
# 12 s of the synthetic singer none of 244 has as much, and 45 of 48 of those with a line too many have 0.25 and more.
MOST_BESIDE = 0.08
MARGIN_S = 0.1
# Of a longer song parts are aligned by themselves: the work grows with the square of its length, and has an end.
STRETCH_S = 240.0


@dataclass(frozen=True)
class Verdict:
    """What is heard of the lyrics in a take.

    Attributes:
        lines: share of the lines that are found in order.
        words: share of the words that are.
        missing: numbers of the lines that are not, from 0.
        beside: share of the sounds that are heard outside of all lines, as of one that is sung again.
        symbol_error_rate: of what the aligner's net reads without knowing the lyrics.
        sounds_s: when each sound begins that is heard (N,).
        is_beside: which of them are outside of all lines (N,).
    """

    lines: float
    words: float
    missing: tuple[int, ...]
    beside: float
    symbol_error_rate: float
    sounds_s: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    is_beside: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool), repr=False, compare=False)

    @property
    def is_whole(self) -> bool:
        """Whether all lines are there, and nothing beside them."""
        return not self.missing and self.beside <= MOST_BESIDE

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts takes, the best first: by lines that are missing or too many, then by what is read."""
        return (1 - self.lines + max(self.beside - MOST_BESIDE, 0.0), self.symbol_error_rate)

    def told(self) -> dict[str, Any]:
        """Returns it as JSON, without single sounds."""
        shares = {name: getattr(self, name) for name in ("lines", "words", "beside", "symbol_error_rate")}
        return {**shares, "missing": list(self.missing), "is_whole": self.is_whole}


class Judge:
    """Hears lyrics in sounds by an aligner.

    Args:
        aligner: `shipped`, a model directory, or a hub id.
        lexicon: the pronunciation dictionary that it was trained with, if it was.

    Raises:
        CheckpointError: it is no aligner, or spells otherwise than in training.
    """

    def __init__(self, aligner: str = SHIPPED, lexicon: str = "") -> None:
        loaded = load_aligner(aligner, lexicon=lexicon)
        self._model, self._alphabet = loaded.model, loaded.alphabet

    def in_language(self, code: str | None) -> "Judge":
        """Returns the judge of lyrics of a language, by its ISO 639-1 code; None is any."""
        found = copy(self)
        found._alphabet = self._alphabet.in_language(code)
        return found

    def judge(
        self, wave: Wave, sample_rate: int, lines: Sequence[str], borders: Sequence[tuple[float, int]] = ()
    ) -> Verdict:
        """Returns what is heard of lines in a voice (T,).

        Args:
            wave: of a song, or a part of one.
            sample_rate: in Hz.
            lines: in the order in which they are sung.
            borders: times in seconds, each with the number of the line that is the first to be sung behind it; songs of
                many minutes are taken apart there.
        """
        n_frames = frames(len(wave), sample_rate, RATE)
        mono = resample(wave, sample_rate, SAMPLE_RATE)[:, None]
        heard = emissions(self._model, lyric_mel([mono], n_frames))
        read = _Read.of(heard)
        true = [label for word in sung_words(lines, self._alphabet) for label in word.labels]
        errors = edit_distance(read.symbols, true, ANYTHING) / max(len(true), 1)
        stretches = _stretches(len(wave) / sample_rate, len(lines), borders)
        found = [self._aligned(heard, lines, stretch) for stretch in stretches]
        return self._verdict([one for one in found if one is not None], lines, read, errors)

    def _aligned(self, heard: Emissions, lines: Sequence[str], stretch: "_Stretch") -> Alignment | None:
        """Returns the alignment of the lines of a stretch; None where nobody can have sung them in it."""
        first, last = (round(at_s * float(RATE)) for at_s in (stretch.start_s, stretch.end_s))
        some = lines[stretch.first : stretch.last]
        try:
            found = align_plain(heard[:, first:last], some, stretch.end_s - stretch.start_s, self._alphabet)
        except RowError:  # more sounds than there are frames for
            return None
        return found and found.later(stretch.start_s, stretch.first)

    def _verdict(self, found: Sequence[Alignment], lines: Sequence[str], read: "_Read", errors: float) -> Verdict:
        of_line: dict[int, list[TimedWord]] = {}
        for word in (word for one in found for word in one.words):
            of_line.setdefault(word.line, []).append(word)
        timed = dict(zip(of_line, (line for one in found for line in one.lines), strict=True))
        labels = {n: [self._alphabet.labels(word.text) for word in words] for n, words in of_line.items()}
        timed = _widened(timed, [n for n, of_words in labels.items() if set(of_words) == {(ANYTHING,)}])
        sung = {n: self._is_sung(timed[n], words, labels[n], read) for n, words in of_line.items()}
        n_words = [len(split_words(line)) for line in lines]
        heard_words = [sung[n] and (word.score or 0.0) >= LEAST_WORD_SCORE for n in of_line for word in of_line[n]]
        inside = np.zeros(len(read.symbols), bool)
        for line in timed.values():
            inside |= read.within(line)
        # Where nothing can be aligned, nothing tells what is beside lines either.
        is_beside = ~inside if timed else inside
        missing = tuple(n for n, count in enumerate(n_words) if count and not sung.get(n, False))
        return Verdict(
            1 - len(missing) / max(sum(map(bool, n_words)), 1),
            sum(heard_words) / max(sum(n_words), 1),
            missing,
            float(is_beside.mean()) if len(is_beside) else 0.0,
            errors,
            read.at_s,
            is_beside,
        )

    @staticmethod
    def _is_sung(line: TimedLine, words: Sequence[TimedWord], labels: Sequence[Labels], read: "_Read") -> bool:
        true = [label for of_word in labels for label in of_word]
        if set(true) == {ANYTHING}:
            return bool(read.within(line).any())
        score = float(np.average([word.score or 0.0 for word in words], weights=list(map(len, labels))))
        errors = edit_distance(np.array(read.symbols)[read.within(line)].tolist(), true, ANYTHING) / len(true)
        is_sure = line.confidence is None or line.confidence >= DERAILED_CONFIDENCE
        is_read = score >= LEAST_LINE_SCORE and errors <= MOST_LINE_ERRORS
        # Nothing tells how many sounds there are in a word that has no letters, as in a number.
        slowest_s = float("inf") if ANYTHING in true else SLOWEST_S
        return is_sure and is_read and QUICKEST_S <= (line.end_s - line.start_s) / len(true) <= slowest_s


def line_borders(windows: Iterable[tuple[float, Sequence[int]]]) -> list[tuple[float, int]]:
    """Returns when windows begin whose new words begin with a line, in seconds, and the number of that line.

    Args:
        windows: when each begins in seconds, and the lines that its new words are of.
    """
    found, last = list[tuple[float, int]](), -1
    for start_s, lines in windows:
        if lines:
            if lines[0] != last:
                found.append((start_s, lines[0]))
            last = lines[-1]
    return found


def _widened(lines: Mapping[int, TimedLine], numbers: Collection[int]) -> dict[int, TimedLine]:
    """Returns lines, of which some are wherever there is room between those beside them: they are of words without
    letters, as of numbers, and an aligner finds them at a single sound.
    """
    found, before_s = dict(lines), 0.0
    nexts_s = [*(line.start_s for line in lines.values()), float("inf")][1:]
    for (n, line), next_s in zip(lines.items(), nexts_s, strict=True):
        if n in numbers:
            found[n] = replace(line, start_s=before_s, end_s=next_s)
        before_s = line.end_s
    return found


@dataclass(frozen=True)
class _Stretch:
    """A part of a song in seconds, and the lines `first` to `last` that are sung in it."""

    start_s: float
    end_s: float
    first: int
    last: int


def _stretches(duration_s: float, n_lines: int, borders: Sequence[tuple[float, int]]) -> list[_Stretch]:
    """Returns the parts of a song between borders, each at least as long as `STRETCH_S` where there is more of it."""
    begins = [(0.0, 0)]
    for at_s, line in borders:
        if at_s - begins[-1][0] >= STRETCH_S and duration_s - at_s >= STRETCH_S:
            begins.append((at_s, line))
    return [
        _Stretch(start_s, end_s, first, last)
        for (start_s, first), (end_s, last) in pairwise([*begins, (duration_s, n_lines)])
    ]


@dataclass(frozen=True)
class _Read:
    """The symbols that nets read by themselves, and when each begins in seconds (N,)."""

    symbols: list[int]
    at_s: npt.NDArray[np.float64]

    @classmethod
    def of(cls, heard: Emissions) -> "_Read":
        """Returns the likeliest symbol of each frame, once for each time that it begins."""
        best = mixture(heard).argmax(-1)
        begins = np.flatnonzero((np.diff(best, prepend=BLANK) != 0) & (best != BLANK))
        return cls([int(symbol) for symbol in best[begins]], begins / float(RATE))

    def within(self, line: TimedLine) -> npt.NDArray[np.bool_]:
        """Returns which of them are in a line's place (N,)."""
        return np.asarray((self.at_s >= line.start_s - MARGIN_S) & (self.at_s < line.end_s + MARGIN_S))
