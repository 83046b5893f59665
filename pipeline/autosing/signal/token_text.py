"""Tokens as Kaldi-style text: each utterance is a line, its name and its tokens (SingOMD, ESPnet)."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import DataError

Tokens = npt.NDArray[np.uint16]

LARGEST_BYTES = 8 << 30
_SPACE = re.compile(r"\s")
_NUMBER = re.compile(r"[0-9]{1,5}")


def utterance_name(id: str) -> str:
    """Returns the name of a song's utterance: its id, with white space, which ends a name, as underscores."""
    return _SPACE.sub("_", id)


def write_token_text(path: Path, streams: Iterable[tuple[str, Sequence[int]]]) -> int:
    """Writes utterances and their tokens; returns how many.

    Raises:
        DataError: two songs have the same utterance name.
    """
    seen: set[str] = set()
    with path.open("w", encoding="utf-8") as file:
        for id, tokens in streams:
            name = utterance_name(id)
            if name in seen:
                raise DataError(f"two songs would both be the utterance {name}; rename one of them")
            seen.add(name)
            file.write(" ".join([name, *map(str, tokens)]) + "\n")
    return len(seen)


def read_token_text(path: Path) -> Mapping[str, Tokens]:
    """Returns the tokens of each utterance.

    Raises:
        DataError: it is no such file; names the line.
    """
    if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
        raise DataError(f"{path} is no file of tokens, or larger than {LARGEST_BYTES >> 30} GiB")
    found: dict[str, Tokens] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        name, *words = line.split()
        wrong = next((word for word in words if not _NUMBER.fullmatch(word) or int(word) > 0xFFFF), None)
        if wrong is not None:
            raise DataError(f"{path}, line {number}: {wrong[:20]!r} is no token; tokens are whole numbers to 65535")
        if name in found:
            raise DataError(f"{path}, line {number}: the utterance {name} is there twice")
        found[name] = np.array([int(word) for word in words], np.uint16)
    return found


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        try:
            yield from file
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no UTF-8 text ({error}); give tokens as ESPnet writes them") from error
