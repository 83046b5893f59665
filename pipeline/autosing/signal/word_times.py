"""Word times from line stamps and text alone: the rate rule.

Most of the error of spreading words over the time to the next line is the pause before that line. The rule weighs
each word by its letters and syllables, learns from the song's quickest lines how long a unit of weight lasts, and
ends every line accordingly. Its constants were fitted on twelve songs in four languages; it fails where verses and
choruses run at different speeds, and on vocalises held for many seconds.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autosing.signal.lyrics import LrcLine, LrcWord, split_words

PER_CHARACTER = 0.134
PER_SYLLABLE = 2.25
PER_WORD = 0.49
LAST_WORD = 2.3  # the last word of a line is held
QUICK_LINES_PERCENTILE = 14.0
LINE_MARGIN_S = 0.34
LARGEST_SHARE = 0.95  # of the time to the next line

_VOWELS = "aeiouyæœøıаеиіоуыэюяєαεηιουω"
_VOWEL_GROUP = re.compile(f"[{_VOWELS}]+")
_SILENT_E = re.compile(f"(?<=[^{_VOWELS}])(?<![^{_VOWELS}]l)e$")
_SIGNS = "0-9\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
_SYLLABLE_SIGN = re.compile(f"[{_SIGNS}]")
_OTHER_LETTER = re.compile(rf"(?![\u0000-\u052f\u1e00-\u1fff{_SIGNS}])[^\W\d_]")


@dataclass(frozen=True)
class Word:
    """A word of line `line`, an index into the given lines; `timed` where a word stamp says so, else an estimate."""

    text: str
    start_s: float
    end_s: float
    line: int
    timed: bool


@dataclass(frozen=True)
class _SungLine:
    """A line with words; `end_s` is the latest time it can end at: the next stamp or the end of the audio."""

    index: int
    line: LrcLine
    end_s: float

    @property
    def interval_s(self) -> float:
        return self.end_s - self.line.start_s


def place_words(lines: Sequence[LrcLine], duration_s: float) -> list[Word]:
    """Returns the words of `lines`, which are in order of time, placed by the rate rule; word stamps win over it.

    A line lasts `min(.95 interval, r W + .34 s)`, where `W` is the weight of its words and `r` the 14th percentile
    over the song of interval / W. Starts never decrease and no word ends after `duration_s` or after the next line's
    start. Lines from `duration_s` on have no words: `lines_beyond` counts them.
    """
    sung = list(_sung_lines(lines, duration_s))
    rates = [line.interval_s / sum(_weights(split_words(line.line.text))) for line in sung if line.interval_s > 0]
    rate = float(np.percentile(rates, QUICK_LINES_PERCENTILE)) if rates else 0.0
    return [word for line in sung for word in _placed(line, rate)]


def characters_proportional(lines: Sequence[LrcLine], duration_s: float) -> list[Word]:
    """Returns the words of `lines` spread over the time to the next line by their characters: the baseline."""
    words: list[Word] = []
    for sung in _sung_lines(lines, duration_s):
        texts = split_words(sung.line.text)
        edges = _edges(sung.line.start_s, sung.end_s, [len(text) for text in texts])
        words += [Word(*word, sung.index, False) for word in zip(texts, edges, edges[1:], strict=False)]
    return words


def lines_beyond(lines: Sequence[LrcLine], duration_s: float) -> int:
    """Returns how many lines with words start at the end of the audio or later and are left out of the placement."""
    return sum(line.start_s >= duration_s and bool(split_words(line.text)) for line in lines)


def syllables(word: str) -> int:
    """Returns how many syllables a word has, at least 1.

    In Latin, Cyrillic and Greek script: the groups of vowel letters, accents ignored, less a final `e` after a
    consonant where there is another vowel (`where`, not `people`). One for each digit, Han character, kana and Hangul
    block. Other scripts write few vowels as letters of their own: one for two letters.
    """
    plain = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if not unicodedata.combining(c))
    groups = len(_VOWEL_GROUP.findall(plain))
    groups -= groups > 1 and bool(_SILENT_E.search(plain))
    whole = unicodedata.normalize("NFC", word)
    signs, others = len(_SYLLABLE_SIGN.findall(whole)), len(_OTHER_LETTER.findall(whole))
    return max(groups + signs + (others + 1) // 2, 1)


def _sung_lines(lines: Sequence[LrcLine], duration_s: float) -> Iterator[_SungLine]:
    ends = [min(line.start_s, duration_s) for line in lines[1:]] + [duration_s]
    for index, (line, end_s) in enumerate(zip(lines, ends, strict=False)):
        if line.start_s < duration_s and split_words(line.text):
            yield _SungLine(index, line, end_s)


def weight(word: str) -> float:
    """Returns how long a word is sung, in units that a song's speed decides: about half of it is its syllables."""
    return PER_CHARACTER * len(word) + PER_SYLLABLE * syllables(word) + PER_WORD


def _weights(words: Sequence[str]) -> list[float]:
    weights = [weight(word) for word in words]
    return [*weights[:-1], weights[-1] + LAST_WORD]


def _placed(sung: _SungLine, rate: float) -> Iterator[Word]:
    """Yields the words of a line: from stamp to stamp where they have stamps, and to the end the rule gives."""
    stamped = sung.line.words or (LrcWord(sung.line.start_s, sung.line.text),)
    ends: list[float | None] = [word.start_s for word in stamped[1:]]
    for chunk, next_s in zip(stamped, [*ends, None], strict=True):
        texts = split_words(chunk.text)
        if not texts:
            continue
        weights = _weights(texts)
        start_s = min(chunk.start_s, sung.end_s)
        by_rule_s = start_s + min(LARGEST_SHARE * (sung.end_s - start_s), rate * sum(weights) + LINE_MARGIN_S)
        edges = _edges(start_s, by_rule_s if next_s is None else min(next_s, sung.end_s), weights)
        for n, text in enumerate(texts):
            yield Word(text, edges[n], edges[n + 1], sung.index, sung.line.words is not None and n == 0)


def _edges(start_s: float, end_s: float, weights: Sequence[float]) -> list[float]:
    """Returns the borders of parts of [start_s, end_s] in proportion to `weights`: one more than there are parts."""
    shares = np.cumsum([0.0, *weights]) / sum(weights)
    edges: list[float] = np.minimum(start_s + (end_s - start_s) * shares, end_s).tolist()
    return edges
