"""Windows sung one after the other, all takes side by side, each going on from its own tokens and codes.

A window that is sung again hears what is before it as it is then, and what is behind it stays: that had heard no more
of it than the last seconds. The codec makes one wave of all codes, and windows end between lines or words wherever they
can, so that the new border is like any other.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autosing.models.lyric_tokens import SungWord
from autosing.models.sampling import Sampling
from autosing.models.sources import SourceTokens, side_by_side
from autosing.signal.errors import UsageError
from autosing.synthesis.conversion.clock import Clock
from autosing.synthesis.singing.plan import Window
from autosing.synthesis.singing.trio import BACKING, PACE, SEMANTIC, TEXT
from autosing.synthesis.singing.window_input import BackingCodes, Grid, Spelling, semantic_source

Tokens = npt.NDArray[np.uint16]
Result = TypeVar("Result")
T2S_PART, SM2A_PART = "lyrics to tokens", "tokens to codes"


class TokensFrom(Protocol):
    """What makes tokens; `models.generation.TokenGenerator` does."""

    def generate(
        self,
        inputs: Mapping[str, Tensor],
        counts: Sequence[int],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        *,
        begun: Sequence[Tokens] | None = None,
    ) -> list[Tokens]:
        """Returns exactly `counts` tokens of each sample."""


class CodesFrom(Protocol):
    """What makes codes; `models.generation.CodesGenerator` does."""

    def generate(
        self,
        inputs: Mapping[str, Tensor],
        counts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        *,
        begun: Sequence[Sequence[Tokens]] | None = None,
    ) -> list[list[Tokens]]:
        """Returns exactly `counts` codes of each level of each sample."""


@dataclass(frozen=True)
class Part:
    """What one of the two models is given of all windows, besides what is sung.

    Attributes:
        sources: the names of its sources.
        singers: what it is told of who sings, a row for each window, by the name of its input.
        backing: the codes of the backing.
        sampling: how it chooses.
        tells_pace: whether it is told how fast words are sung.
    """

    sources: frozenset[str]
    singers: Mapping[str, Tensor]
    backing: BackingCodes
    sampling: Sampling
    tells_pace: bool = False

    def inputs(self, sources: Mapping[str, SourceTokens], number: int, window: Window, pace: int) -> dict[str, Tensor]:
        """Returns the inputs of one sample of a window."""
        found = dict(sources)
        if BACKING in self.sources:
            found[BACKING] = self.backing.source(window)
        arrays: dict[str, Any] = {}
        for name, source in found.items():
            arrays |= side_by_side(name, [source])
        given = {name: torch.from_numpy(array) for name, array in arrays.items()}
        given |= {name: rows[number : number + 1] for name, rows in self.singers.items()}
        if self.tells_pace:
            given[PACE] = torch.tensor([pace])
        return given


@dataclass(frozen=True)
class Score:
    """A song that is to be sung.

    Attributes:
        windows: in their order.
        grid: where they lie among tokens and codes.
        spelling: of their words.
        n_tokens: how many different tokens there are.
        rest: the code of each level where nobody sings.
        t2s: what the model from lyrics to tokens is given.
        sm2a: what the model from tokens to codes is given.
    """

    windows: Sequence[Window]
    grid: Grid
    spelling: Spelling
    n_tokens: int
    rest: Sequence[int]
    t2s: Part
    sm2a: Part


@dataclass(frozen=True)
class Sung:
    """A take.

    Attributes:
        seed: that it was begun with.
        seeds: of each window.
        tokens: of the whole song; 0 where nothing is sung, or not yet.
        codes: of each level; there those of a rest.
    """

    seed: int
    seeds: tuple[int, ...]
    tokens: Tokens
    codes: tuple[Tokens, ...]

    @classmethod
    def unsung(cls, score: Score, seed: int) -> "Sung":
        """Returns a take of which nothing is sung yet, all its windows with one seed."""
        end = score.windows[-1].end
        counts = zip(score.grid.codes(end), score.rest, strict=True)
        codes = tuple(np.full(n, code, np.uint16) for n, code in counts)
        return cls(seed, (seed,) * len(score.windows), np.zeros(score.grid.tokens(end), np.uint16), codes)

    def with_windows(self, score: Score, other: "Sung", numbers: Collection[int]) -> "Sung":
        """Returns a copy of the take with some windows of another one."""
        made = self.with_seeds({number: other.seeds[number] for number in numbers})
        for number in numbers:
            places = _places(score.grid, score.windows[number])
            for to, of, place in zip((made.tokens, *made.codes), (other.tokens, *other.codes), places, strict=True):
                to[place] = of[place]
        return made

    def with_seeds(self, of_windows: Mapping[int, int]) -> "Sung":
        """Returns a copy of the take whose windows of these numbers have other seeds."""
        seeds = tuple(of_windows.get(number, known) for number, known in enumerate(self.seeds))
        return Sung(self.seed, seeds, self.tokens.copy(), tuple(level.copy() for level in self.codes))

    def seed_of(self, number: int, part: str) -> int:
        """Returns the seed of a window's tokens or codes: of the take's own, whatever is beside it."""
        entropy = (self.seeds[number], number, int(part == SM2A_PART))
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])


@dataclass
class Engine:
    """Sings takes.

    Attributes:
        tokens: makes tokens of lyrics.
        codes: makes codes of tokens.
        device: where both are.
        batch: at most so many takes at once; less where they do not fit into memory.
        warnings: what is to be said of the last song.
    """

    tokens: TokensFrom
    codes: CodesFrom
    device: torch.device
    batch: int = 16
    warnings: list[str] = field(default_factory=list)

    def sing(self, score: Score, seeds: Sequence[int], clock: Clock, tell: Callable[[str], None]) -> list[Sung]:
        """Returns a take for each seed; what it is does not depend on the others.

        Raises:
            UsageError: not even one take fits into memory.
        """
        self.warnings.clear()
        takes = [Sung.unsung(score, seed) for seed in seeds]
        return self._filled(score, takes, [range(len(score.windows))] * len(takes), clock, tell)

    def sing_again(
        self,
        score: Score,
        takes: Sequence[Sung],
        numbers: Sequence[Collection[int]],
        seeds: Sequence[int],
        clock: Clock,
        tell: Callable[[str], None],
    ) -> list[Sung]:
        """Returns takes of which some windows are sung again with other seeds, and the others are as they were.

        Args:
            score: of the song.
            takes: that are sung.
            numbers: of the windows of each.
            seeds: of these windows, for each take.
            clock: counts.
            tell: told what is sung.

        Raises:
            UsageError: not even one take fits into memory.
        """
        told = zip(takes, numbers, seeds, strict=True)
        fresh = [take.with_seeds(dict.fromkeys(which, seed)) for take, which, seed in told]
        return self._filled(score, fresh, numbers, clock, tell)

    def _filled(
        self,
        score: Score,
        takes: list[Sung],
        numbers: Sequence[Collection[int]],
        clock: Clock,
        tell: Callable[[str], None],
    ) -> list[Sung]:
        """Fills the windows of these numbers, one after the other, each of all takes that want it."""
        for number, window in enumerate(score.windows):
            some = [take for take, which in zip(takes, numbers, strict=True) if number in which]
            if not some or window.is_rest:
                continue
            where = f"window {number + 1} of {len(score.windows)}"
            with clock.part(T2S_PART):
                tell(f"{where}: {T2S_PART}")
                self._fill_tokens(score, some, number, window)
            with clock.part(SM2A_PART):
                tell(f"{where}: {SM2A_PART}")
                self._fill_codes(score, some, number, window)
        return takes

    def _fill_tokens(self, score: Score, takes: Sequence[Sung], number: int, window: Window) -> None:
        grid = score.grid
        heard_from, start, end = (grid.tokens(at) for at in (window.context, window.start, window.end))
        if start == end:
            return
        text, pace = score.spelling.text(window, grid.period_s)
        inputs = score.t2s.inputs({TEXT: text}, number, window, pace)

        def made(some: Sequence[Sung]) -> list[Tokens]:
            return self.tokens.generate(
                self._beside([inputs] * len(some)),
                [end - heard_from] * len(some),
                [take.seed_of(number, T2S_PART) for take in some],
                score.t2s.sampling,
                begun=[take.tokens[heard_from:start] for take in some],
            )

        for take, tokens in zip(takes, self._in_batches(takes, made), strict=True):
            take.tokens[start:end] = tokens[start - heard_from :]

    def _fill_codes(self, score: Score, takes: Sequence[Sung], number: int, window: Window) -> None:
        grid, (first, last) = score.grid, (score.grid.tokens(at) for at in (window.context, window.end))
        heard_from, start, end = (grid.codes(at) for at in (window.context, window.start, window.end))
        counts = [stop - begin for begin, stop in zip(heard_from, end, strict=True)]
        known = [slice(*ends) for ends in zip(heard_from, start, strict=True)]

        def made(some: Sequence[Sung]) -> list[list[Tokens]]:
            sung = [semantic_source(take.tokens[first:last], grid.token_rate, score.n_tokens) for take in some]
            inputs = [score.sm2a.inputs({SEMANTIC: one}, number, window, 0) for one in sung]
            return self.codes.generate(
                self._beside(inputs),
                [counts] * len(some),
                [take.seed_of(number, SM2A_PART) for take in some],
                score.sm2a.sampling,
                begun=[[level[place] for level, place in zip(take.codes, known, strict=True)] for take in some],
            )

        for take, levels in zip(takes, self._in_batches(takes, made), strict=True):
            for to, new, begin, at, stop in zip(take.codes, levels, heard_from, start, end, strict=True):
                to[at:stop] = new[at - begin :]

    def _beside(self, samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([one[name].to(self.device) for one in samples]) for name in samples[0]}

    def _in_batches(self, takes: Sequence[Sung], made: Callable[[Sequence[Sung]], list[Result]]) -> list[Result]:
        """Returns what is made of all takes, of as many at once as there is memory for."""
        found: list[Result] = []
        while len(found) < len(takes):
            some = takes[len(found) : len(found) + self.batch]
            try:
                found += made(some)
            except torch.OutOfMemoryError as error:
                if len(some) == 1:
                    raise UsageError(
                        "a single take does not fit into the device's memory; give a shorter --window, or --device cpu"
                    ) from error
                self.batch = len(some) // 2
                self.warnings.append(f"{len(some)} takes at once do not fit into memory: {self.batch} are sung at once")
                torch.cuda.empty_cache()
        return found


def middles_s(windows: Sequence[Window], period_s: Fraction) -> npt.NDArray[np.float64]:
    """Returns the middle of what is new in each window, in seconds (W,)."""
    return np.array([float((window.start + window.end) * period_s / 2) for window in windows])


def lines_of(words: Sequence[SungWord]) -> list[int]:
    """Returns the numbers of the lines that words are of."""
    return list(dict.fromkeys(word.line for word in words))


def _places(grid: Grid, window: Window) -> list[slice]:
    """Returns where the tokens of a window lie, and its codes of each level."""
    starts, ends = ((grid.tokens(at), *grid.codes(at)) for at in (window.start, window.end))
    return [slice(*ends) for ends in zip(starts, ends, strict=True)]
