"""Lyrics as tokens with times, the same way for training and for singing.

Bytes of UTF-8 spell any script; the aligner's alphabets spell sounds. Line breaks are kept. Each token has a time:
spread evenly over the whole where nothing is known, over each line where line stamps are, or over each word.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from autosing.models.language_blocks import NOBODY, NOTHING
from autosing.signal.alphabet import ANYTHING, Alphabet, alphabet
from autosing.signal.lyrics import split_words

Letters = Literal["bytes", "classes", "letters", "lexicon"]
Times = Literal["even", "lines", "words"]
Floats = npt.NDArray[np.float32]

N_BYTES = 256
PACES, FASTEST_PER_S = 32, 20.0
"""Steps that the pace of lyrics is told in, and characters a second from which on it is the last of them."""
# Line break and blank, as bytes.
BREAK, BLANK = 10, 32


@dataclass(frozen=True)
class SungWord:
    """A word of a line, from `start_s` to `end_s` of what is sung where that is known."""

    text: str
    line: int
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class LyricTokens:
    """Tokens of a text, `NOTHING` first, their times in seconds, and what each stands for."""

    tokens: npt.NDArray[np.int64]
    times_s: Floats
    texts: Sequence[str]


@dataclass(frozen=True)
class LyricSpeller:
    """Spells lyrics.

    Attributes:
        letters: `bytes`, or an alphabet of the aligner.
        times: what is known of when text is sung.
        alphabet: of all letters but bytes.
    """

    letters: Letters
    times: Times
    alphabet: Alphabet | None

    @classmethod
    def of(cls, letters: Letters, times: Times, lexicon: str = "") -> "LyricSpeller":
        """Returns the speller of settings; `lexicon` is the path of a pronunciation dictionary.

        Raises:
            UsageError: a lexicon is asked for, but none is given, or it is none.
        """
        return cls(letters, times, None if letters == "bytes" else alphabet(letters, lexicon))

    @property
    def symbols(self) -> tuple[str, ...]:
        """What tokens of an alphabet stand for, `NOTHING` first; empty of bytes."""
        return ("", *self.alphabet.symbols[1:], "?", " ", "\n") if self.alphabet else ()

    @property
    def n_tokens(self) -> int:
        """How many different tokens there are, `NOTHING` among them."""
        return len(self.symbols) or 1 + N_BYTES

    def spell(
        self,
        words: Sequence[SungWord],
        seconds: float,
        language: str | None = None,
        stretches: Sequence[tuple[int, float, float]] = (),
    ) -> LyricTokens:
        """Returns the tokens of words.

        Args:
            words: in their order.
            seconds: how long the whole lasts.
            language: ISO 639-1 code, for classes.
            stretches: how many words are spread evenly from when to when, one after the other, where nothing is known
                of their times; without it all of them over the whole.

        Raises:
            ValueError: times of words are wanted, and a word has none.
        """
        letters = replace(self, alphabet=self.alphabet.in_language(language)) if self.alphabet else self
        tokens, owners = [NOTHING], [0]
        for number, word in enumerate(words):
            spelled = [*letters._word(word.text), *letters._after(words, number)]
            tokens += spelled
            owners += [number] * len(spelled)
        even = stretches or [(len(words), 0.0, seconds)]
        times_s = np.concatenate([np.zeros(1), self._times_s(words, np.array(owners[1:], np.int64), even)])
        return LyricTokens(np.array(tokens, np.int64), times_s.astype(np.float32), [self.text_of(t) for t in tokens])

    def text_of(self, token: int) -> str:
        """Returns what a token stands for; of a byte beyond ASCII, its number."""
        if token == NOTHING:
            return ""
        return self.symbols[token] if self.symbols else chr(token - 1) if token <= 128 else f"{token - 1:02x}"

    def _word(self, text: str) -> list[int]:
        if self.alphabet is None:
            return [1 + byte for byte in text.encode()]
        anything = self.symbols.index("?")
        return [anything if label == ANYTHING else label for label in self.alphabet.labels(text)]

    def _after(self, words: Sequence[SungWord], number: int) -> list[int]:
        """Returns the break behind a word: of a line, of a word, none behind the last."""
        if number + 1 == len(words):
            return []
        is_line = words[number + 1].line != words[number].line
        if self.alphabet is None:
            return [1 + (BREAK if is_line else BLANK)]
        return [self.symbols.index("\n" if is_line else " ")]

    def _times_s(
        self, words: Sequence[SungWord], owners: npt.NDArray[np.int64], even: Sequence[tuple[int, float, float]]
    ) -> Floats:
        """Returns the times (L,) of tokens by the words that own them, each in the middle of its share of a stretch."""
        times_s = np.zeros(len(owners))
        for inside, start_s, end_s in self._stretches(words, owners, even):
            n = int(inside.sum())
            times_s[inside] = start_s + (np.arange(n) + 0.5) / max(n, 1) * (end_s - start_s)
        return times_s.astype(np.float32)

    def _stretches(
        self, words: Sequence[SungWord], owners: npt.NDArray[np.int64], even: Sequence[tuple[int, float, float]]
    ) -> Iterator[tuple[npt.NDArray[np.bool_], float, float]]:
        """Yields which tokens spread over which time."""
        if self.times == "even":
            first = 0
            for n, start_s, end_s in even:
                yield (owners >= first) & (owners < first + n), start_s, end_s
                first += n
            return
        groups = np.array([word.line if self.times == "lines" else n for n, word in enumerate(words)], np.int64)
        for group in np.unique(groups):
            starts_s, ends_s = zip(*(_known(words[n]) for n in np.flatnonzero(groups == group).tolist()), strict=True)
            yield groups[owners] == group, min(starts_s), max(ends_s)


def words_of(text: str) -> list[SungWord]:
    """Returns the words of lines without times."""
    lines = [split_words(line) for line in text.splitlines()]
    return [SungWord(word, number) for number, line in enumerate(lines) for word in line]


def pace_row(words: Sequence[SungWord], seconds: float) -> int:
    """Returns the row of the pace of words, in characters a second; that of nobody's without words."""
    n_characters = sum(len(word.text) for word in words)
    return 1 + min(int(n_characters / seconds / FASTEST_PER_S * PACES), PACES - 1) if n_characters else NOBODY


def _known(word: SungWord) -> tuple[float, float]:
    if word.start_s is None or word.end_s is None:
        raise ValueError(f"the word {word.text!r} has no time")
    return word.start_s, word.end_s
