"""What the models are given window by window: by fakes that keep what they were asked, and by the models themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from tiny_sing import HZ, Studio
from torch import Tensor

from autosing.models.directory import load_model
from autosing.models.generation import CodesGenerator, TokenGenerator
from autosing.models.lyric_tokens import LyricSpeller, Times, words_of
from autosing.models.sampling import Sampling
from autosing.models.sources import Stream
from autosing.signal.decode import Audio
from autosing.signal.errors import UsageError
from autosing.singing.models import load_performer
from autosing.synthesis.conversion.clock import Clock
from autosing.synthesis.conversion.singers import parse_singing
from autosing.synthesis.sing import Performer
from autosing.synthesis.singing.cast import NOBODY_SINGS, Ear
from autosing.synthesis.singing.engine import Engine, Part, Score, Sung
from autosing.synthesis.singing.lyrics import Lyrics, lrc_lyrics, plain_lyrics
from autosing.synthesis.singing.places import place
from autosing.synthesis.singing.plan import Limits, Window, plan
from autosing.synthesis.singing.trio import Named
from autosing.synthesis.singing.wanted import Given, Wanted
from autosing.synthesis.singing.window_input import BackingCodes, Grid, Spelling

PERIOD_S = Fraction(32, 375)
GRID = Grid(PERIOD_S, Fraction(25), (Fraction(375, 32), Fraction(375, 16)))
CPU = torch.device("cpu")


@dataclass
class Fake:
    """Counts on: a sample's tokens are those that it begins with, and then the number of each place plus its seed."""

    levels: int = 0
    most: int = 99
    asked: list[dict[str, Any]] = field(default_factory=list)

    def generate(
        self,
        inputs: Mapping[str, Tensor],
        counts: Sequence[Any],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        *,
        begun: Sequence[Any] | None = None,
    ) -> Any:
        if len(counts) > self.most:
            raise torch.OutOfMemoryError("as on a GPU")
        assert begun is not None and len(begun) == len(seeds) == len(counts)
        self.asked.append({"inputs": dict(inputs), "counts": counts, "seeds": list(seeds), "begun": begun})
        if not self.levels:
            return [self._on(*one) for one in zip(counts, seeds, begun, strict=True)]
        return [
            [self._on(n, seed, of) for n, of in zip(count, first, strict=True)]
            for count, seed, first in zip(counts, seeds, begun, strict=True)
        ]

    def _on(self, count: int, seed: int, begun: np.ndarray) -> np.ndarray:
        new = (np.arange(len(begun), count) + seed) % 97
        return np.concatenate([begun, new]).astype(np.uint16)


def score_of(lyrics: Lyrics, seconds: float, times: Times = "even", by_line: bool = False) -> Score:
    limits = Limits(PERIOD_S, 6.0, 2.0, by_line)
    windows = plan(place(lyrics, seconds).words, int(np.ceil(seconds / PERIOD_S)), limits)
    spelling = Spelling(LyricSpeller.of("bytes", times), None, lyrics.has_times)
    backing = BackingCodes([Stream(np.arange(500) % 9, GRID.code_rates[0], 9)], PERIOD_S)
    t2s = Part(frozenset({"text", "backing"}), {}, backing, Sampling(), tells_pace=True)
    return Score(windows, GRID, spelling, 97, (95, 96), t2s, Part(frozenset({"semantic"}), {}, backing, Sampling()))


def sung(engine: Engine, score: Score, seeds: Sequence[int]) -> list[Sung]:
    return engine.sing(score, seeds, Clock(1.0, lambda part: None), lambda part: None)


def text_of(asked: Mapping[str, Any]) -> str:
    return bytes((asked["inputs"]["text"][0, 1:].numpy() - 1).astype(np.uint8)).decode()


def test_each_window_goes_on_from_the_tokens_and_codes_and_words_of_the_one_before() -> None:
    tokens, codes = Fake(), Fake(levels=2)
    score = score_of(plain_lyrics("\n".join(f"line number {n} is sung" for n in range(8))), 20.0)
    (take, _) = sung(Engine(tokens, codes, CPU), score, [3, 4])
    assert len(tokens.asked) == len(codes.asked) == len(score.windows) > 3
    for window, asked, of_codes in zip(score.windows, tokens.asked, codes.asked, strict=True):
        first, start, end = (GRID.tokens(at) for at in (window.context, window.start, window.end))
        assert asked["counts"] == [end - first] * 2
        np.testing.assert_array_equal(asked["begun"][0], take.tokens[first:start])
        words = [word.text for word in (*window.before, *window.words)]
        assert text_of(asked).split() == words and (window.start == 0 or window.before)
        for level, (begin, at, stop) in enumerate(
            zip(*map(GRID.codes, (window.context, window.start, window.end)), strict=True)
        ):
            assert of_codes["counts"][0][level] == stop - begin
            np.testing.assert_array_equal(of_codes["begun"][0][level], take.codes[level][begin:at])
        np.testing.assert_array_equal(of_codes["inputs"]["semantic"][0, 1:], 1 + take.tokens[first:end].astype(int))
        assert of_codes["inputs"]["semantic_s"][0, 1] == pytest.approx(0.02)
    assert len(take.tokens) == GRID.tokens(score.windows[-1].end)
    assert [len(one) for one in take.codes] == GRID.codes(score.windows[-1].end)


def test_a_window_hears_its_own_part_of_the_backing() -> None:
    tokens = Fake()
    score = score_of(plain_lyrics("\n".join(["some words"] * 8)), 20.0)
    sung(Engine(tokens, Fake(levels=2), CPU), score, [0])
    for window, asked in zip(score.windows, tokens.asked, strict=True):
        wanted = 1 + np.arange(window.context, window.end) % 9
        np.testing.assert_array_equal(asked["inputs"]["backing"][0], [0, *wanted])


def texts_at(asked: Mapping[str, Any], window: Window) -> dict[str, tuple[float, float]]:
    """Returns from when to when the letters of words are told, in seconds of the song."""
    text, times_s = text_of(asked), asked["inputs"]["text_s"][0, 1:].numpy() + float(window.context * PERIOD_S)
    found, at = {}, 0
    for word in text.split():
        at = text.index(word, at)
        found[word] = (float(times_s[at]), float(times_s[at + len(word) - 1]))
        at += len(word)
    return found


def test_in_a_rest_no_model_is_asked_and_the_codes_are_those_of_silence() -> None:
    tokens, codes = Fake(), Fake(levels=2)
    score = score_of(lrc_lyrics("[00:09]one\n[00:10]"), 20.0)
    (take,) = sung(Engine(tokens, codes, CPU), score, [3])
    assert [bool(window.words) for window in score.windows] == [False, True, False]
    assert len(tokens.asked) == len(codes.asked) == 1 and not len(tokens.asked[0]["begun"][0])
    starts, ends = (GRID.codes(at) for at in (score.windows[1].start, score.windows[1].end))
    for level, rest, start, end in zip(take.codes, (95, 96), starts, ends, strict=True):
        assert set(level[:start]) == set(level[end:]) == {rest} and level[start:end].tolist() != [rest] * (end - start)


@pytest.mark.parametrize("times", ["even", "lines", "words"])
def test_times_of_lines_are_kept_whatever_the_model_was_told(times: Times) -> None:
    stamps = {"one": 1.0, "two": 2.5, "three": 7.25, "four": 9.0}
    lyrics = lrc_lyrics("\n".join(f"[00:{at:05.2f}]{word} {word}s" for word, at in stamps.items()))
    tokens = Fake()
    score = score_of(lyrics, 12.0, times, by_line=times == "even")
    sung(Engine(tokens, Fake(levels=2), CPU), score, [0])
    told: dict[str, tuple[float, float]] = {}
    sung_windows = [window for window in score.windows if not window.is_rest]
    for window, asked in zip(sung_windows, tokens.asked, strict=True):
        new = {word.text for word in window.words}
        told |= {word: at for word, at in texts_at(asked, window).items() if word in new}
    ends = [*list(stamps.values())[1:], 12.0]
    for (word, start_s), end_s in zip(stamps.items(), ends, strict=True):
        assert start_s - 0.1 <= told[word][0] < told[f"{word}s"][1] <= end_s + 0.1
        assert told[word][0] < start_s + 0.4


def test_without_times_a_window_is_told_as_a_training_sample_is() -> None:
    speller = LyricSpeller.of("bytes", "even")
    words = words_of("one two\nthree")
    window = Window(0, 0, 40, (), tuple(place(plain_lyrics("one two\nthree"), 40 * float(PERIOD_S)).words))
    (tokens, times_s), pace = Spelling(speller, None, False).text(window, PERIOD_S)
    wanted = speller.spell(words, float(40 * PERIOD_S))
    np.testing.assert_array_equal(tokens, wanted.tokens)
    np.testing.assert_allclose(times_s, wanted.times_s, rtol=1e-6)
    assert pace > 0


def test_what_does_not_fit_into_memory_is_sung_in_smaller_batches_and_is_the_same() -> None:
    score = score_of(plain_lyrics("la la la la"), 8.0)
    whole = sung(Engine(Fake(), Fake(levels=2), CPU), score, range(5))
    tight = Engine(Fake(most=2), Fake(levels=2, most=1), CPU)
    for one, other in zip(whole, sung(tight, score, range(5)), strict=True):
        np.testing.assert_array_equal(one.tokens, other.tokens)
        assert all(np.array_equal(*pair) for pair in zip(one.codes, other.codes, strict=True))
    assert tight.batch == 1 and "5 takes at once do not fit into memory: 2 are" in tight.warnings[0]
    sung(tight, score, range(5))
    assert tight.warnings == []
    with pytest.raises(UsageError, match="a single take does not fit"):
        sung(Engine(Fake(most=0), Fake(levels=2), CPU), score, [0])


def test_takes_of_a_batch_are_those_of_their_seeds_alone(singing_studio: Studio) -> None:
    t2s, sm2a = (load_model(path).model for path in (singing_studio.t2s(), singing_studio.sm2a()))
    engine = Engine(TokenGenerator(t2s), CodesGenerator(sm2a), CPU)  # type: ignore[arg-type]
    score = score_of(plain_lyrics("la lo\nla"), 4.0)
    rates = tuple(Fraction(rate) for rate in sm2a.fields.rates)  # type: ignore[union-attr]
    nobody = {"singer": torch.zeros(len(score.windows), dtype=torch.long)}
    score = replace(
        score,
        grid=Grid(PERIOD_S * 2, Fraction(25), rates),
        n_tokens=16,
        rest=(0,) * len(rates),
        t2s=Part(frozenset({"text"}), nobody, BackingCodes((), PERIOD_S), Sampling(top_k=8), tells_pace=True),
        sm2a=Part(frozenset({"semantic"}), nobody, BackingCodes((), PERIOD_S), Sampling(top_k=8)),
    )
    together = sung(engine, score, [7, 8])
    for take in together:
        (alone,) = sung(engine, score, [take.seed])
        np.testing.assert_array_equal(alone.tokens, take.tokens)
        assert all(np.array_equal(*pair) for pair in zip(alone.codes, take.codes, strict=True))
    assert not np.array_equal(together[0].tokens, together[1].tokens)


def test_windows_that_are_sung_again_hear_what_is_before_them_and_leave_the_others() -> None:
    score = score_of(plain_lyrics("\n".join(f"line number {n} is sung" for n in range(8))), 20.0)
    assert len(score.windows) > 3
    (take, other) = sung(Engine(Fake(), Fake(levels=2), CPU), score, [3, 4])
    tokens, codes = Fake(), Fake(levels=2)
    clock = Clock(1.0, lambda part: None)
    engine = Engine(tokens, codes, CPU)
    again, kept = engine.sing_again(score, [take, other], [[1, 2], []], [9, 10], clock, lambda part: None)
    assert again.seeds[:4] == (3, 9, 9, 3) and again.seed == 3 and kept.seeds == other.seeds
    np.testing.assert_array_equal(kept.tokens, other.tokens)
    assert [len(asked["counts"]) for asked in tokens.asked] == [1, 1] == [len(asked["counts"]) for asked in codes.asked]
    for number, asked, of_codes in zip((1, 2), tokens.asked, codes.asked, strict=True):
        window = score.windows[number]
        at = slice(GRID.tokens(window.context), GRID.tokens(window.start))
        np.testing.assert_array_equal(asked["begun"][0], again.tokens[at])
        heard = again.tokens[at.start : GRID.tokens(window.end)].astype(int)
        np.testing.assert_array_equal(of_codes["inputs"]["semantic"][0, 1:], 1 + heard)
        for level, (begin, start) in enumerate(zip(GRID.codes(window.context), GRID.codes(window.start), strict=True)):
            np.testing.assert_array_equal(of_codes["begun"][0][level], again.codes[level][begin:start])
    start, end = GRID.tokens(score.windows[1].start), GRID.tokens(score.windows[2].end)
    changed = np.flatnonzero(take.tokens != again.tokens)
    assert changed.min() == start and changed.max() == end - 1
    for level, codes_again in zip(take.codes, again.codes, strict=True):
        places = np.flatnonzero(level != codes_again) * len(take.tokens) / len(level)
        assert start - 2 <= places.min() and places.max() < end
    # Of two takes' windows one is made.
    mixed = again.with_windows(score, take, [2])
    border = GRID.tokens(score.windows[2].start)
    np.testing.assert_array_equal(mixed.tokens, np.concatenate([again.tokens[:border], take.tokens[border:]]))
    assert mixed.seeds[:4] == (3, 9, 3, 3)


def test_a_mixture_of_singers_is_the_mixture_of_their_rows(singing_studio: Studio) -> None:
    loaded = load_model(singing_studio.sm2a())
    ear, network = Ear(Named("m", loaded), None, lambda name: None), loaded.model
    table = network.conditions["singer"].weight.clone()  # type: ignore[union-attr,index,operator]
    one, other = singing_studio.singers
    times_s = np.array([0.0, 2.0, 4.0])
    np.testing.assert_array_equal(ear.told(ear.parsed(other), times_s)["singer"], [2, 2, 2])
    np.testing.assert_array_equal(ear.told(NOBODY_SINGS, times_s)["singer"], [0, 0, 0])
    for _ in range(2):
        rows = ear.told(ear.parsed(f"0:{one},4:{other}"), times_s)["singer"]
        told = network.conditions["singer"](rows)  # type: ignore[union-attr,index,operator]
        torch.testing.assert_close(told, torch.stack([table[1], (table[1] + table[2]) / 2, table[2]]))
    # The next song's has the rows that were trained, and its own.
    following = Ear(Named("m", loaded), None, lambda name: None)
    np.testing.assert_array_equal(
        following.told(parse_singing(f"{one}:1,{other}:1", {one, other}.__contains__, ""), times_s)["singer"], [3, 4, 5]
    )
    # Who is not known to a model is nobody in particular to it.
    stranger = parse_singing("eve", {"eve"}.__contains__, "")
    np.testing.assert_array_equal(ear.told(stranger, times_s)["singer"], [0, 0, 0])


def test_repetitions_are_counted_over_a_second() -> None:
    wanted = Wanted(plain_lyrics("la"), tokens=Sampling(repetition_penalty=2.0)).at(Fraction(75, 2))
    assert wanted.tokens == Sampling(repetition_penalty=2.0, repetition_window=38)


@dataclass
class Listener:
    """A codec that keeps how long what it encodes is."""

    codec: Any
    n_samples: list[int] = field(default_factory=list)

    @property
    def info(self) -> Any:
        return self.codec.info

    def encode(self, wave: np.ndarray) -> Any:
        self.n_samples.append(len(wave))
        return self.codec.encode(wave)

    def decode(self, codes: Any) -> Any:
        return self.codec.decode(codes)


def test_of_a_long_backing_no_more_is_heard_than_the_song_needs(singing_studio: Studio) -> None:
    heard = singing_studio.t2s("t2s_backing", backing=("backing_0", "backing_1"), singer="none")
    made = load_performer(str(heard), str(singing_studio.sm2a()), str(singing_studio.codec), (), "cpu", "shipped", "")
    codec = Listener(made.trio.codec.codec)
    performer = Performer(replace(made.trio, codec=replace(made.trio.codec, codec=codec)), made._engine)
    backing = Audio(np.zeros((60 * HZ, 1), np.float32), HZ, "wav")
    performed = performer.sing(Wanted(plain_lyrics("la"), 1.0, retries=0), Given(backing=backing))
    assert performed.length_ms == 1000 and codec.n_samples and HZ <= max(codec.n_samples) < 4 * HZ
