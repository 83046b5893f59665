"""What English words sound like, as classes of phones: for those that the common spelling rules get wrong.

Three words in four of CMUdict are spelled unlike they sound ("make" has the vowel of "bet"). The list is made of it by
`benchmarks/english_classes.py`.
"""

import functools
import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path

LANGUAGE = "en"
LIST = Path(__file__).with_name("english.txt.gz")


def english_classes(word: str) -> str | None:
    """Returns the classes of a word's sounds; None where the rules of spelling do as well, or nobody knows.

    Args:
        word: in lower case, of the letters a to z and apostrophes.
    """
    return next((classes for form in _forms(word) if (classes := _words().get(form))), None)


def _forms(word: str) -> Iterator[str]:
    """Yields a word as it may be in the dictionary: without quotes around it, and with the g that lyrics drop."""
    plain = word.strip("'")
    yield word
    yield plain
    if word.endswith("in'"):
        yield f"{plain}g"


@functools.cache
def _words() -> Mapping[str, str]:
    rows = gzip.decompress(LIST.read_bytes()).decode().splitlines()
    return dict(row.split(" ", 1) for row in rows if not row.startswith("#"))
