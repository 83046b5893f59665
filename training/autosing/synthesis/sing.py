"""Lyrics to singing: tokens of what is sung, codes of how it sounds, and a wave, of exactly the length that is wanted.

`Performer` takes and gives arrays. What is heard of a reference's voice comes from outside (`Features`); with files,
separation and mixing deals `autosing.singing`. AutoSing, which this is after, sings 13.82 s where 15 are asked for, one
window of 30 s at most, and looks at none of its takes.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.aligner.shipped import SHIPPED
from autosing.models.sources import Stream
from autosing.signal.decode import Audio, to_mono
from autosing.signal.loudness import integrated_loudness
from autosing.signal.lyrics import split_words
from autosing.signal.resample import resample
from autosing.synthesis.conversion.clock import Clock
from autosing.synthesis.conversion.levels import levelled
from autosing.synthesis.conversion.singers import Singing
from autosing.synthesis.conversion.voices import Features
from autosing.synthesis.singing.cast import Ear, who_sings
from autosing.synthesis.singing.engine import SM2A_PART, T2S_PART, Engine, Part, Score, Sung, lines_of, middles_s
from autosing.synthesis.singing.lyrics import Lyrics
from autosing.synthesis.singing.places import Placed, place, song_length_ms
from autosing.synthesis.singing.plan import Limits, Window, plan
from autosing.synthesis.singing.retries import Retries
from autosing.synthesis.singing.takes import Judge, Verdict, line_borders
from autosing.synthesis.singing.trio import Named, Trio
from autosing.synthesis.singing.wanted import Given, Wanted
from autosing.synthesis.singing.window_input import BackingCodes, Grid, Spelling

Wave = npt.NDArray[np.float32]
BEYOND_MS = 2000
REST_MS = 2000

__all__ = ["Given", "Lyrics", "Performed", "Performer", "Take", "Trio", "Wanted"]


@dataclass(frozen=True)
class Take:
    """A sung song.

    Attributes:
        wave: (T,) of the voice, exactly as long as is wanted.
        sung: its tokens and codes, and the seeds that they were sung with.
        verdict: what is heard of its lyrics.
        facts: how loud it was made, and windows that are weak, as JSON.
    """

    wave: Wave
    sung: Sung
    verdict: Verdict
    facts: dict[str, Any]

    def told(self) -> dict[str, Any]:
        """Returns it as JSON; windows count from 0."""
        own = self.sung.seed
        again = [{"window": n, "seed": seed} for n, seed in enumerate(self.sung.seeds) if seed != own]
        return {"seed": own, "heard": self.verdict.told(), "sung_again": again, **self.facts}


@dataclass(frozen=True)
class Performed:
    """What a song became.

    Attributes:
        takes: the best first.
        sample_rate: in Hz.
        length_ms: of the song.
        facts: all that was used, as JSON.
        warnings: what is to be said to who asked for it.
    """

    takes: tuple[Take, ...]
    sample_rate: int
    length_ms: int
    facts: dict[str, Any]
    warnings: tuple[str, ...]


class Performer:
    """The models that sing, on the device where they are.

    Args:
        trio: of them.
        engine: sings windows by them.
        features: compute the columns of the contracts of the model to tokens and of that to codes; None where no model
            knows voices by recordings.
        reference: returns the recording that a singer's name stands for; None where it stands for none.
        aligner: hears the lyrics: `shipped`, a model directory, or a hub id.
        lexicon: the pronunciation dictionary that the model to tokens, or the aligner, spells by, if one does.

    Raises:
        CheckpointError: lyrics are spelled otherwise than in training, or the aligner is none.
    """

    def __init__(
        self,
        trio: Trio,
        engine: Engine,
        features: tuple[Features | None, Features | None] = (None, None),
        reference: Callable[[str], Audio | None] = lambda name: None,
        aligner: str = SHIPPED,
        lexicon: str = "",
    ) -> None:
        self.trio, self._engine = trio, engine
        self._features, self._reference, self._aligner = features, reference, aligner
        self._speller, self._judge = trio.speller(lexicon), Judge(aligner, lexicon)
        self._grid = Grid(trio.period_s, trio.token_rate, trio.code_rates)

    @property
    def sample_rate(self) -> int:
        """Of the waves, in Hz."""
        return self.trio.codec.codec.info.sample_rate

    def sing(self, wanted: Wanted, given: Given, tell: Callable[[str], None] = lambda part: None) -> Performed:
        """Returns the takes of a song.

        Args:
            wanted: how it is sung.
            given: what it is sung to.
            tell: told which part of the work begins.

        Raises:
            UsageError: the singer is unknown, the length impossible, or there is nothing to sing.
        """
        wanted = wanted.at(self.trio.token_rate)
        length_ms = song_length_ms(wanted.lyrics, wanted.length_s, given.seconds, wanted.pace)
        # The engine tells more than a clock would, which is silent.
        clock = Clock(length_ms / 1000, lambda part: None)
        placed = place(wanted.lyrics, length_ms / 1000)
        windows = self._windows(wanted, placed, length_ms)
        with clock.part("listening"):
            singing, ears, told = self._cast(wanted, given)
            backing = self._backing(given, length_ms)
        score = self._score(wanted, windows, singing, ears, backing)
        lufs = _lufs(given)
        judge = self._judge.in_language(wanted.language)
        lines = [line.text for line in wanted.lyrics.lines[: 1 + max(lines_of(placed.words), default=0)]]
        takes, sung = self._takes(score, wanted, lines, judge, length_ms, clock, tell)
        levelled_takes = tuple(self._levelled(take, wanted, lufs) for take in takes)
        warnings = (*wanted.lyrics.warnings, *given.warnings, *placed.warnings, *self._spelling_warnings(wanted), *told)
        facts = self._facts(wanted, windows, singing, length_ms, clock, sung) | {
            "takes": [take.told() for take in levelled_takes],
            "loudness": {"source_lufs": lufs},
        }
        best = levelled_takes[0].verdict
        missed = () if best.is_whole else (_missed(best, lines),)
        warnings = (*warnings, *self._engine.warnings, *missed)
        return Performed(levelled_takes, self.sample_rate, length_ms, facts | {"warnings": list(warnings)}, warnings)

    def _windows(self, wanted: Wanted, placed: Placed, length_ms: int) -> list[Window]:
        by_line = self._speller.times == "even" and wanted.lyrics.has_times
        longest_s = self.trio.window_s if wanted.window_s is None else wanted.window_s
        limits = Limits(self.trio.period_s, longest_s, min(wanted.context_s, longest_s / 2), by_line)
        return plan(placed.words, self._periods(length_ms, 1000), limits)

    def _periods(self, count: int, per_s: int) -> int:
        """Returns how many periods hold so many milliseconds, or samples."""
        return -(-count * self.trio.period_s.denominator // (per_s * self.trio.period_s.numerator))

    def _cast(self, wanted: Wanted, given: Given) -> tuple[Singing, tuple[Ear, Ear], tuple[str, ...]]:
        def reference(name: str) -> Audio | None:
            return given.voice if given.voice is not None and name == given.name else self._reference(name)

        models = self.trio.t2s, self.trio.sm2a
        ears = [Ear(model, features, reference) for model, features in zip(models, self._features, strict=True)]
        singing, told = who_sings(wanted.singer, ears[0], ears[1], given.name if given.voice is not None else None)
        return singing, (ears[0], ears[1]), told

    def _backing(self, given: Given, length_ms: int) -> dict[str, BackingCodes]:
        """Returns the codes of the backing that each model hears; of one that hears none, or without one, none."""
        hearing = [model for model in (self.trio.t2s, self.trio.sm2a) if self.trio.backing_columns(model)]
        if given.backing is None or not hearing:
            return {}
        codec = self.trio.codec.codec
        # A little more than the song is: codes hear what is around them.
        heard = given.backing.samples[: (length_ms + BEYOND_MS) * given.backing.sample_rate // 1000]
        mono = resample(to_mono(heard), given.backing.sample_rate, codec.info.sample_rate)
        codes = codec.encode(codec.info.padded(mono, self._periods(len(mono), codec.info.sample_rate)))
        return {model.name: self._heard(model, codes) for model in hearing}

    @cached_property
    def _rest(self) -> list[int]:
        """The code of each level for silence, far from where it begins and ends."""
        codec = self.trio.codec.codec
        levels = codec.encode(codec.info.padded(np.zeros(0, np.float32), self._periods(REST_MS, 1000)))
        return [int(level[len(level) // 2]) for level in levels[: len(self.trio.code_rates)]]

    def _heard(self, model: Named, codes: Sequence[npt.NDArray[np.uint16]]) -> BackingCodes:
        info, sizes = self.trio.codec.codec.info, model.contract["backing"]["n_tokens"]
        levels = zip(self.trio.backing_levels(model), sizes, strict=True)
        return BackingCodes(
            [Stream(codes[level], info.rates[level], size) for level, size in levels], self.trio.period_s
        )

    def _score(
        self,
        wanted: Wanted,
        windows: Sequence[Window],
        singing: Singing,
        ears: tuple[Ear, Ear],
        backing: dict[str, BackingCodes],
    ) -> Score:
        middles = middles_s(windows, self.trio.period_s)
        nothing = BackingCodes((), self.trio.period_s)
        t2s, sm2a = self.trio.tokens_model.fields, self.trio.codes_model.fields
        parts = [
            Part(
                frozenset(fields.sources),
                ear.told(singing, middles),
                backing.get(model.name, nothing),
                sampling,
                tells_pace=bool(model.contract.get("pace")),
            )
            for fields, ear, model, sampling in (
                (t2s, ears[0], self.trio.t2s, wanted.tokens),
                (sm2a, ears[1], self.trio.sm2a, wanted.codes),
            )
        ]
        spelling = Spelling(self._speller, wanted.language, wanted.lyrics.has_times)
        return Score(windows, self._grid, spelling, self.trio.n_tokens, self._rest, parts[0], parts[1])

    def _takes(
        self,
        score: Score,
        wanted: Wanted,
        lines: Sequence[str],
        judge: Judge,
        length_ms: int,
        clock: Clock,
        tell: Callable[[str], None],
    ) -> tuple[list[Take], list[int]]:
        """Returns takes, the best first, and the numbers of all windows that were sung, weak ones again."""

        period_s = float(self.trio.period_s)
        borders = line_borders((window.start * period_s, lines_of(window.words)) for window in score.windows)

        def judged(sung: Sung) -> Take:
            tell("codec and re-alignment")
            return self._judged(
                sung, lambda wave: judge.judge(wave, self.sample_rate, lines, borders), length_ms, clock
            )

        retries = Retries[Take](
            score.windows,
            self.trio.period_s,
            lambda takes, numbers, seeds: self._engine.sing_again(score, takes, numbers, seeds, clock, tell),
            lambda take, other, numbers: take.with_windows(score, other, numbers),
            judged,
        )
        seeds = range(wanted.seed, wanted.seed + wanted.takes)
        first = [judged(sung) for sung in self._engine.sing(score, seeds, clock, tell)]
        found, again = retries.bettered(first, wanted.retries, seeds.stop)
        told = [replace(take, facts={"weak_windows": [*retries.faults(take.verdict)]}) for take in found]
        return sorted(told, key=lambda take: take.verdict.rank), [*range(len(score.windows))] * wanted.takes + again

    def _judged(self, sung: Sung, verdict_of: Callable[[Wave], Verdict], length_ms: int, clock: Clock) -> Take:
        n_samples = length_ms * self.sample_rate // 1000
        with clock.part("codec"):
            wave = self.trio.codec.codec.decode(sung.codes)[:n_samples]
            wave = np.pad(wave, (0, n_samples - len(wave)))
        with clock.part("re-alignment"):
            verdict = verdict_of(wave)
        return Take(wave, sung, verdict, {})

    def _levelled(self, take: Take, wanted: Wanted, lufs: float | None) -> Take:
        level = levelled(take.wave, self.sample_rate, wanted.loudness, lufs)
        return replace(take, facts={**take.facts, "level": asdict(level)})

    def _spelling_warnings(self, wanted: Wanted) -> tuple[str, ...]:
        """Returns what the model's letters cannot spell; bytes spell anything."""
        if self._speller.alphabet is None:
            return ()
        letters = self._speller.alphabet.in_language(wanted.language)
        words = dict.fromkeys(word for line in wanted.lyrics.lines for word in split_words(line.text))
        unknown = [word for word in words if min(letters.labels(word)) < 0]
        if not unknown:
            return ()
        return (f"the model does not know how to spell {', '.join(unknown[:8])}: {len(unknown)} words are sung anyhow",)

    def _n_sung(self, windows: Sequence[Window]) -> tuple[int, int]:
        """Returns how many tokens, and how many codes, are new in windows, but for rests."""
        grid, windows = self._grid, [window for window in windows if not window.is_rest]
        tokens = sum(grid.tokens(window.end) - grid.tokens(window.start) for window in windows)
        return tokens, sum(sum(grid.codes(window.end)) - sum(grid.codes(window.start)) for window in windows)

    def _facts(
        self,
        wanted: Wanted,
        windows: Sequence[Window],
        singing: Singing,
        length_ms: int,
        clock: Clock,
        sung: Sequence[int],
    ) -> dict[str, Any]:
        trio = self.trio
        n_tokens, n_codes = self._n_sung([windows[number] for number in sung])
        speeds = {
            name: round(count / max(clock.seconds.get(part, 0.0), 1e-9), 2)
            for name, count, part in (("tokens", n_tokens, T2S_PART), ("codes", n_codes, SM2A_PART))
        }
        return {
            "models": {
                "t2s": {"path": trio.t2s.name, "digest": trio.t2s.loaded.digest},
                "sm2a": {"path": trio.sm2a.name, "digest": trio.sm2a.loaded.digest},
                "codec": {"path": trio.codec.name, "digest": trio.codec.digest},
                "aligner": self._aligner,
            },
            "lyrics": [line.text for line in wanted.lyrics.lines],
            "language": wanted.language,
            "length_s": length_ms / 1000,
            "n_samples": length_ms * self.sample_rate // 1000,
            "sample_rate_hz": self.sample_rate,
            "singers": singing.told(),
            "sampling": {"tokens": asdict(wanted.tokens), "codes": asdict(wanted.codes)},
            "windows": [_told(window, float(trio.period_s)) for window in windows],
            "windows_sung": {"first": wanted.takes * len(windows), "again": len(sung) - wanted.takes * len(windows)},
            "per_second": speeds,
            "seconds": {name: round(seconds, 3) for name, seconds in clock.seconds.items()},
            "realtime_factors": clock.factors(),
        }


def _told(window: Window, period_s: float) -> dict[str, Any]:
    return {
        "context_s": round(window.context * period_s, 3),
        "start_s": round(window.start * period_s, 3),
        "end_s": round(window.end * period_s, 3),
        "lines": lines_of(window.words),
        "text": " ".join(word.text for word in window.words),
    }


def _lufs(given: Given) -> float | None:
    """Returns how loud the reference's voice is, or else the backing; None where neither can be heard."""
    for audio in (given.voice, given.backing):
        found = None if audio is None else integrated_loudness(to_mono(audio.samples)[:, None], audio.sample_rate)
        if found is not None:
            return found
    return None


def _missed(verdict: Verdict, lines: Sequence[str]) -> str:
    told = "; ".join(f"{number + 1} ({lines[number]})" for number in verdict.missing[:5])
    share = f"{100 * verdict.lines:.0f} % of the lines"
    beside = f", and {100 * verdict.beside:.0f} % of what is sung is beside them"
    return (
        f"in the best take {share} are heard{beside}" + (f"; not heard: {told}" if told else "") + "; try more --takes"
    )
