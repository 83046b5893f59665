"""The seal of a column file: the CRC of all its bytes, in its commit record, so that no flipped byte goes unseen.

Pages have checksums and columns have digests, but nothing covers a Parquet footer. The record is written with an empty
seal; the CRC of the finished file, taken with the empty seal in it, then takes its place.
"""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EMPTY = "0" * 8
BLOCK_BYTES = 4 << 20
_MARK = b'"crc32": "'
_TAIL_BYTES = 8


def seal(path: Path) -> None:
    """Seals a finished file whose record has an empty seal."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        place = _place(file, size)
        if place is not None:
            crc32 = _crc32(file, size, place)
            file.seek(place)
            file.write(crc32.encode())


def is_sealed(file: Any, size: int, crc32: str) -> bool:
    """Returns whether the CRC of an open file of `size` bytes is the one that its record tells."""
    place = _place(file, size)
    return place is not None and _crc32(file, size, place) == crc32


def _place(file: Any, size: int) -> int | None:
    """Returns where in a Parquet file the digits of its seal are."""
    file.seek(max(size - _TAIL_BYTES, 0))
    begin = max(size - _TAIL_BYTES - int.from_bytes(file.read(4), "little"), 0)
    file.seek(begin)
    found = bytes(file.read(size - begin)).rfind(_MARK)
    return None if found < 0 else begin + found + len(_MARK)


def _crc32(file: Any, size: int, place: int) -> str:
    """Returns the CRC of a file with an empty seal in it."""
    crc = 0
    for at, block in _blocks(file, size):
        first, last = max(place - at, 0), min(place + len(EMPTY) - at, len(block))
        if first < last:
            block = block[:first] + EMPTY.encode()[: last - first] + block[last:]
        crc = zlib.crc32(block, crc)
    return f"{crc:08x}"


def _blocks(file: Any, size: int) -> Iterator[tuple[int, bytes]]:
    file.seek(0)
    for at in range(0, size, BLOCK_BYTES):
        yield at, bytes(file.read(min(BLOCK_BYTES, size - at)))
