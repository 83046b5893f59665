"""Windows that are sung again: those whose lines are not found in a take, or that have more than their lines.

The rest of a take stays, so that a song of forty windows with one that went wrong costs one window more, and what was
good is not lost.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, Protocol, TypeVar

import numpy as np

from autosing.synthesis.singing.engine import Sung
from autosing.synthesis.singing.plan import Window
from autosing.synthesis.singing.takes import MOST_BESIDE, Verdict


class Judged(Protocol):
    """A take that was listened to."""

    @property
    def sung(self) -> Sung:
        """Its tokens and codes."""

    @property
    def verdict(self) -> Verdict:
        """What is heard of its lyrics."""


Heard = TypeVar("Heard", bound=Judged)


@dataclass(frozen=True)
class Retries(Generic[Heard]):
    """How weak windows are sung again.

    Attributes:
        windows: of the song.
        period_s: that their times are counted in.
        again: returns takes with windows of some numbers sung again, with a seed for each take.
        mixed: returns the first take with windows of some numbers of the second.
        judged: listens to a take.
    """

    windows: Sequence[Window]
    period_s: Fraction
    again: Callable[[Sequence[Sung], Sequence[Collection[int]], Sequence[int]], list[Sung]]
    mixed: Callable[[Sung, Sung, Collection[int]], Sung]
    judged: Callable[[Sung], Heard]

    def bettered(self, takes: Sequence[Heard], retries: int, seed: int) -> tuple[list[Heard], list[int]]:
        """Returns takes whose weak windows are sung again, each kept where it is no worse, and the numbers of all sung.

        Args:
            takes: that were listened to.
            retries: how often windows that are still weak are sung again.
            seed: of the first; each further one has the next.
        """
        found, sung = list(takes), list[int]()
        for _ in range(retries):
            faults = [self.faults(take.verdict) for take in found]
            weak = [n for n, of_take in enumerate(faults) if of_take]
            if not weak:
                break
            seeds = range(seed, seed + len(weak))
            fresh = self.again([found[n].sung for n in weak], [faults[n] for n in weak], seeds)
            sung += [number for n in weak for number in faults[n]]
            seed += len(weak)
            for n, take in zip(weak, fresh, strict=True):
                found[n] = self._better(found[n], faults[n], take)
        return found, sung

    def faults(self, verdict: Verdict) -> dict[int, float]:
        """Returns the windows that are weak by their numbers, and how much: the share of words that are not found, and
        that of sounds beside the lines where they are many.
        """
        found = {
            n: self._lost(window, verdict) + self._beside(window, verdict)
            for n, window in enumerate(self.windows)
            if not window.is_rest
        }
        return {number: fault for number, fault in found.items() if fault}

    def _better(self, old: Heard, faults: Mapping[int, float], fresh: Sung) -> Heard:
        """Returns a take with those of its weak windows sung anew that are no worse for it."""
        new = self.judged(fresh)
        now = self.faults(new.verdict)
        worse = [number for number, fault in faults.items() if now.get(number, 0.0) > fault]
        if len(worse) == len(faults):
            return old
        if worse:
            new = self.judged(self.mixed(fresh, old.sung, worse))
        return min(old, new, key=self._weight)

    def _weight(self, take: Heard) -> tuple[float, float]:
        return sum(self.faults(take.verdict).values()), take.verdict.symbol_error_rate

    @staticmethod
    def _lost(window: Window, verdict: Verdict) -> float:
        lost = [word.line in verdict.missing for word in window.words]
        return float(np.mean(lost)) if lost else 0.0

    def _beside(self, window: Window, verdict: Verdict) -> float:
        start_s, end_s = (float(at * self.period_s) for at in (window.start, window.end))
        beside = verdict.is_beside[(verdict.sounds_s >= start_s) & (verdict.sounds_s < end_s)]
        share = float(beside.mean()) if len(beside) else 0.0
        return share if share > MOST_BESIDE else 0.0
