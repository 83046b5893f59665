"""The bytes of a tar of samples: members, npz archives, the end. Readable by `tarfile`, `numpy.load` and webdataset.

Headers and archives are put together here, as `tarfile` and `numpy.savez` would take longer for a small sample (0.1 ms
a header, 1 ms an archive) than everything else. An archive is a zip of uncompressed `.npy` members with fixed dates, so
that equal arrays give equal bytes.
"""

import io
import struct
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import DataError

Piece = bytes | memoryview

BLOCK = tarfile.BLOCKSIZE
LARGEST_MEMBER = 0x7FFFFFFF
MODE = 0o644

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_ZIP_VERSION = 20
_FIRST_OF_1980 = 0x21


def npz(arrays: Mapping[str, npt.NDArray[Any]]) -> list[Piece]:
    """Returns the pieces of an uncompressed npz archive; big arrays are not copied.

    Raises:
        DataError: the arrays are too big for one sample.
    """
    pieces: list[Piece] = []
    directory: list[bytes] = []
    offset = 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        head = _npy_header(array.dtype.str, array.shape)
        size, crc = len(head) + len(data), zlib.crc32(data, zlib.crc32(head))
        if offset + size > LARGEST_MEMBER:
            raise DataError(f"a sample of more than {LARGEST_MEMBER} bytes; use shorter cuts or fewer columns")
        file = f"{name}.npy".encode()
        shared = (_ZIP_VERSION, 0, 0, 0, _FIRST_OF_1980, crc, size, size, len(file), 0)
        pieces += [_LOCAL.pack(b"PK\3\4", *shared) + file + head, data]
        directory.append(_CENTRAL.pack(b"PK\1\2", _ZIP_VERSION, *shared, 0, 0, 0, 0, offset) + file)
        offset += _LOCAL.size + len(file) + size
    entries = b"".join(directory)
    pieces.append(entries + _END.pack(b"PK\5\6", 0, 0, len(directory), len(directory), len(entries), offset, 0))
    return pieces


@lru_cache(maxsize=4096)
def _npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


def members(key: str, contents: Mapping[str, Sequence[Piece]]) -> list[Piece]:
    """Returns the pieces of a sample's tar members, sorted by extension: headers, contents, padding.

    Args:
        key: the sample's key, without a dot.
        contents: extension -> pieces of the content.
    """
    pieces: list[Piece] = []
    for extension in sorted(contents):
        content = contents[extension]
        size = sum(length(piece) for piece in content)
        pieces += [_tar_header(f"{key}.{extension}", size), *content, bytes(-size % BLOCK)]
    return pieces


def length(piece: Piece) -> int:
    """Returns the bytes of a piece."""
    return memoryview(piece).nbytes


def end(size: int) -> bytes:
    """Returns what ends a tar of `size` bytes: two empty blocks, then zeros to a whole record."""
    return bytes(2 * BLOCK + -(size + 2 * BLOCK) % tarfile.RECORDSIZE)


def _tar_header(name: str, size: int) -> bytes:
    """Returns the header of a member; only name, size and checksum differ from one member to the next."""
    fields = name.encode(), b"%011o" % size
    checksum = _EMPTY_SUM + sum(fields[0]) + sum(fields[1])
    header = bytearray(_EMPTY_HEADER)
    header[: len(fields[0])] = fields[0]
    header[124:135] = fields[1]
    header[148:154] = b"%06o" % checksum
    return bytes(header)


def _empty_header() -> bytes:
    """Returns the header of a member without name and size, its size and checksum digits zeroed."""
    info = tarfile.TarInfo()
    info.mode = MODE
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[124:135] = bytes(11)
    header[148:154] = bytes(6)
    return bytes(header)


_EMPTY_HEADER = _empty_header()
_EMPTY_SUM = sum(_EMPTY_HEADER[:148]) + 8 * ord(" ") + sum(_EMPTY_HEADER[156:])
