"""Weak windows are found by ear and sung again: the synthetic singer's lines stand in for what models sing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache

import numpy as np

from autosing.models.lyric_tokens import SungWord
from autosing.signal.lyrics import split_words
from autosing.signal.singer import song
from autosing.signal.voice import voices
from autosing.synthesis.singing.engine import Sung
from autosing.synthesis.singing.plan import Window
from autosing.synthesis.singing.retries import Retries
from autosing.synthesis.singing.takes import Judge, Verdict

HZ = 24_000
PERIOD_S = Fraction(1, 10)


@dataclass(frozen=True)
class Take:
    sung: Sung
    verdict: Verdict


@dataclass
class Booth:
    """A song of windows of one line each; what a window's seed sings is looked up, and its pieces are laid in a row."""

    pieces: list[dict[int, np.ndarray]]
    lines: list[str]
    asked: list[list[list[int]]] = field(default_factory=list)
    judge: Judge = field(default_factory=Judge)

    @property
    def windows(self) -> list[Window]:
        found, start = list[Window](), 0
        for number, (line, piece) in enumerate(zip(self.lines, self.pieces, strict=True)):
            end = start + round(max(map(len, piece.values())) / HZ / PERIOD_S)
            words = tuple(SungWord(word, number) for word in split_words(line))
            found.append(Window(start, start, end, (), words))
            start = end
        return found

    def retries(self) -> Retries[Take]:
        return Retries(self.windows, PERIOD_S, self.again, self.mixed, self.judged)

    def unsung(self, seed: int) -> Sung:
        return Sung(seed, (seed,) * len(self.pieces), np.zeros(0, np.uint16), ())

    def again(self, takes: Sequence[Sung], numbers: Sequence[Collection[int]], seeds: Sequence[int]) -> list[Sung]:
        self.asked.append([sorted(which) for which in numbers])
        told = zip(takes, numbers, seeds, strict=True)
        return [take.with_seeds(dict.fromkeys(which, seed)) for take, which, seed in told]

    def mixed(self, take: Sung, other: Sung, numbers: Collection[int]) -> Sung:
        return take.with_seeds({number: other.seeds[number] for number in numbers})

    def judged(self, sung: Sung) -> Take:
        parts = []
        for window, of_seed, seed in zip(self.windows, self.pieces, sung.seeds, strict=True):
            piece = of_seed.get(seed, of_seed[0])[: round((window.end - window.start) * PERIOD_S * HZ)]
            parts.append(np.pad(piece, (0, round((window.end - window.start) * PERIOD_S * HZ) - len(piece))))
        return Take(sung, self.judge.judge(np.concatenate(parts), HZ, self.lines))


@cache
def sung_lines(seed: int, who: int) -> list[tuple[str, np.ndarray]]:
    """Returns the lines of a song, each with what is sung of it."""
    made = song(seed, voices(8, 3)[who], 30.0, sample_rate=HZ)
    n_words = [len(split_words(line)) for line in made.score.lines]
    firsts = [made.sung.words[sum(n_words[:n])][1] for n in range(len(n_words))]
    borders = [round(max(start_s - 0.15, 0) * HZ) for start_s in firsts] + [len(made.wave)]
    return [
        (line, made.wave[borders[n] : borders[n + 1]].astype(np.float32)) for n, line in enumerate(made.score.lines)
    ]


def booth_of(wrong: dict[int, np.ndarray], mended: dict[int, dict[int, np.ndarray]]) -> Booth:
    """Returns a song whose windows are right but for some, which other seeds sing otherwise."""
    lines = sung_lines(200, 0)
    pieces = [{0: wrong.get(n, wave), **mended.get(n, {})} for n, (_, wave) in enumerate(lines)]
    return Booth(pieces, [text for text, _ in lines])


def test_only_the_window_whose_line_is_not_found_is_sung_again() -> None:
    lines, strangers = sung_lines(200, 0), sung_lines(201, 0)
    booth = booth_of({2: strangers[1][1]}, {2: {5: lines[2][1]}})
    first = booth.judged(booth.unsung(0))
    assert 2 in first.verdict.missing
    (take,), sung = booth.retries().bettered([first], 3, 5)
    assert booth.asked == [[[2]]] and sung == [2]
    assert not take.verdict.missing and take.sung.seeds == (0, 0, 5, *(0,) * (len(lines) - 3))


def test_a_window_that_repeats_its_line_is_sung_again() -> None:
    lines = sung_lines(200, 0)
    twice = np.concatenate([lines[1][1], lines[1][1]])
    booth = booth_of({1: twice}, {1: {5: lines[1][1]}})
    first = booth.judged(booth.unsung(0))
    assert set(booth.retries().faults(first.verdict)) == {1}
    (take,), sung = booth.retries().bettered([first], 1, 5)
    assert sung == [1] and take.sung.seeds[1] == 5 and not booth.retries().faults(take.verdict)


def test_of_windows_that_are_sung_again_each_is_kept_only_where_it_is_no_worse() -> None:
    lines, strangers = sung_lines(200, 0), sung_lines(201, 0)
    # The next seed mends the first line; of the last, which was sung twice, it leaves nothing.
    twice = np.concatenate([lines[3][1], lines[3][1]])
    booth = booth_of({0: strangers[1][1], 3: twice}, {0: {5: lines[0][1]}, 3: {5: np.zeros(HZ, np.float32)}})
    first = booth.judged(booth.unsung(0))
    assert set(booth.retries().faults(first.verdict)) == {0, 3}
    (take,), _ = booth.retries().bettered([first], 1, 5)
    assert take.sung.seeds == (5, 0, 0, 0)
    assert not take.verdict.missing and set(booth.retries().faults(take.verdict)) == {3}


def test_a_take_that_gets_no_better_stays_and_whole_ones_are_left_alone() -> None:
    strangers = sung_lines(201, 0)
    booth = booth_of({2: strangers[1][1]}, {2: {5: np.zeros(HZ, np.float32), 6: strangers[3][1]}})
    right = booth_of({}, {})
    (whole,), none = right.retries().bettered([right.judged(right.unsung(0))], 2, 5)
    assert not none and not right.asked and set(whole.sung.seeds) == {0}
    first = booth.judged(booth.unsung(0))
    (take,), sung = booth.retries().bettered([first], 2, 5)
    assert sung == [2, 2]
    retries = booth.retries()
    assert sum(retries.faults(take.verdict).values()) <= sum(retries.faults(first.verdict).values())
    # Nothing to be sung again where nothing may be.
    assert booth.retries().bettered([first], 0, 5) == ([first], [])


def test_sounds_beside_lines_count_in_their_window_alone_however_long_the_song_is() -> None:
    windows = [Window(n * 40, n * 40, n * 40 + 40, (), (SungWord("la", n),)) for n in range(40)]
    at_s = np.arange(0, 160, 0.5) + 0.01
    is_beside = (at_s >= 8) & (at_s < 12)
    verdict = Verdict(1.0, 1.0, (), float(is_beside.mean()), 0.3, at_s, is_beside)
    assert verdict.is_whole
    booth = Booth([], [])
    retries = replace(booth.retries(), windows=windows)
    assert retries.faults(verdict) == {2: 1.0}
    assert retries.faults(replace(verdict, is_beside=np.zeros(len(at_s), bool), missing=(3, 5))) == {3: 1.0, 5: 1.0}
