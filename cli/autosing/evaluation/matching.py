"""Which estimated words are which true ones, where texts or numbers differ.

Words are compared by their letters and digits alone (`plain`). Equal runs are found as `difflib` finds them: the
longest first, then to both sides of it. What lies between two of them is matched where both sides write the same
letters but set the spaces elsewhere (`ice-cream`, `ice cream`), and where as many words are spelt alike (`walkin'`,
`walking`). All else has no partner and counts as missing.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate

ALIKE = 0.6
"""How much two words must have in common (`SequenceMatcher.ratio`) to be two spellings of one."""

Pair = tuple[int, int]


def plain(text: str) -> str:
    """Returns the letters, marks and digits of a text, without case."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in folded if unicodedata.category(c)[0] in "LMN")


def matched(ours: Sequence[str], theirs: Sequence[str], alike: float = ALIKE) -> list[Pair]:
    """Returns pairs of an index into `ours` and one into `theirs`, both rising.

    Args:
        ours: estimated words, `plain`, or other symbols.
        theirs: true ones.
        alike: how much two must have in common to be two spellings of one.
    """
    start = _common(ours, theirs)
    end = _common(ours[start:][::-1], theirs[start:][::-1])
    pairs = [(i, i) for i in range(start)]
    between = ours[start : len(ours) - end], theirs[start : len(theirs) - end]
    pairs += [(start + i, start + j) for i, j in _inner(*between, alike)]
    return [*pairs, *((len(ours) - k, len(theirs) - k) for k in range(end, 0, -1))]


def _common(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Returns with how many equal words two sequences begin."""
    return next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))


def _inner(ours: Sequence[str], theirs: Sequence[str], alike: float) -> Iterator[Pair]:
    if not ours or not theirs:
        return
    for kind, a, b, c, d in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from zip(range(a, b), range(c, d), strict=True)
        elif kind == "replace":
            yield from ((a + i, c + j) for i, j in _respelt(ours[a:b], theirs[c:d], alike))


def _respelt(ours: Sequence[str], theirs: Sequence[str], alike: float) -> Iterator[Pair]:
    """Yields the words of two unequal runs that begin at the same letter, or else are spelt alike."""
    if "".join(ours) == "".join(theirs):
        starts = {at: i for i, at in enumerate(_starts(ours))}
        yield from ((starts[at], j) for j, at in enumerate(_starts(theirs)) if at in starts)
    elif len(ours) == len(theirs):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if SequenceMatcher(None, a, b, autojunk=False).ratio() >= alike:
                yield i, i


def _starts(words: Sequence[str]) -> list[int]:
    return [0, *accumulate(map(len, words))][:-1]
