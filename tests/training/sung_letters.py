"""Toy songs whose tokens follow their lyrics: each letter is sung by a token of its own, for some frames.

Their codes of three levels follow the tokens, the singer and each other.
"""

from dataclasses import replace

import numpy as np
from toy_shards import N_UNITS, SINGERS, ToySample, toy_sample

LETTERS = "abdeghilmnorstu"[: N_UNITS - 1]
BETWEEN = N_UNITS - 1
"""The token that is sung between words."""
FRAMES_S = 0.02


def letters_sample(number: int, n_words: int = 4, n_lines: int = 2) -> ToySample:
    """Returns a sample of random words; letters last 80 to 160 ms, and words are parted by 60 ms."""
    rng = np.random.default_rng([5, number])
    words = ["".join(rng.choice(list(LETTERS), rng.integers(2, 5))) for _ in range(n_words)]
    units, sung = [], []
    for place, word in enumerate(words):
        start = len(units)
        units += [LETTERS.index(letter) for letter in word for _ in range(rng.integers(4, 9))]
        sung.append((word, start * FRAMES_S, len(units) * FRAMES_S, place * n_lines // n_words))
        units += [BETWEEN] * 3
    plain = toy_sample(number, len(units) * FRAMES_S)
    text = "\n".join(" ".join(w for w, *_, line in sung if line == n) for n in range(n_lines))
    series = {"units": np.array(units, np.uint16), "mel": plain.series["mel"]}
    return replace(plain, series=series, text=text, words=tuple(sung))


CODES, NOISE = 16, 0.1
"""How many codes there are at each level, and which share of them follows nothing."""


def coded_sample(number: int, n_words: int = 4) -> ToySample:
    """Returns a sample with codes of 12.5, 25 and 50 a second, in whole codes of the coarsest."""
    sample = letters_sample(number, n_words)
    rng, singer = np.random.default_rng([7, number]), SINGERS.index(sample.singer or SINGERS[0])
    units = sample.series["units"].astype(np.int64)
    n, coarser, found = -(-len(units) // 4), np.full(1, 5 * singer), {}
    for level, stride in enumerate((4, 2, 1), start=1):
        count = 4 * n // stride
        here = units[np.minimum(np.arange(count) * stride + stride // 2, len(units) - 1)]
        codes = (level * here + 3 * np.repeat(coarser, -(-count // len(coarser)))[:count]) % CODES
        coarser = np.where(rng.random(count) < NOISE, rng.integers(0, CODES, count), codes)
        found[f"codes_{level}"] = coarser.astype(np.uint16)
    return replace(sample, series={**sample.series, **found})
