"""Toy songs whose tokens follow their lyrics: each letter is sung by a token of its own, for some frames."""

from dataclasses import replace

import numpy as np
from toy_shards import N_UNITS, ToySample, toy_sample

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
