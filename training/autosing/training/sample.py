"""A sample: every asked-for column restricted to one cut, and restricted further to a random crop."""

import hashlib
import io
import json
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autosing.signal.framing import common_period
from autosing.signal.span import Cut, restrict, sample_span, snap_period, span
from autosing.training.manifest import AUDIO, Column

Array = npt.NDArray[Any]

# The files of a sample as `tarfile` or webdataset gives them, or as they lie in the stretch of the tar.
Content = bytes | memoryview

# Of the formats' headers what is needed here. Tar: name, size, kind, prefix of the name. Zip, from its end: magic, how
# many entries, where they begin; of an entry, method, checksum, size, bytes of name, extra and comment, place; there,
# magic, bytes of name and extra.
_TAR_HEADER = struct.Struct("100s24x12s20xs188x155s12x")
_ZIP_END = struct.Struct("<4s6xH4xI2x")
_ZIP_ENTRY = struct.Struct("<4s6xH4xI4xI3H8xI")
_ZIP_LOCAL = struct.Struct("<4s22xHH")
# What NumPy writes before the elements of an array in C order: magic, version 1.0, length of the rest, the rest.
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(..)"
    rb"(\{'descr': '(\|[biu]1|[<>](?:[iuf][248]|c8|c16))', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Sample:
    """Every asked-for column restricted to one cut.

    Attributes:
        key: unique in the set.
        series: arrays (F,) or (F, dim) by column name; `audio` is mono (T,) float32.
        info: the sample's JSON: id, seconds, singer, text, values, residual_s; of a crop also `crop_s`, its start.
        entropy: seed and epoch of the run that reads it, and which time in the epoch it is read.
        sample_rate_hz: of `audio`; 0 without.
    """

    key: str
    series: Mapping[str, Array]
    info: Mapping[str, Any]
    entropy: tuple[int, int, int] = (0, 0, 0)
    sample_rate_hz: int = 0

    def rng(self, purpose: str) -> np.random.Generator:
        """Returns randomness of the sample's own: it depends on seed, epoch, key and purpose, never on who reads it."""
        text = "/".join((*map(str, self.entropy), self.key, purpose))
        return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()))

    def cropped(self, seconds: float, columns: Mapping[str, Column]) -> "Sample":
        """Returns `seconds` from a random place, or the sample itself where it is no longer.

        Starts lie on the common grid of the series where there is one of at most half a second, so that streams stay
        aligned exactly; else each series begins at the frame boundary nearest to the start.
        """
        length_ms, crop_ms = round(self.info["seconds"] * 1000), round(seconds * 1000)
        if length_ms <= crop_ms:
            return self
        series = {name: columns[name] for name in self.series if name != AUDIO}
        grid_ms = 1000 * (snap_period(series.values()) or Fraction(1, 1000))
        step_ms = int(common_period([1 / grid_ms, Fraction(1)]))
        start_ms = step_ms * int(self.rng("crop").integers(0, (length_ms - crop_ms) // step_ms + 1))
        cut = Cut(start_ms, start_ms + crop_ms)
        kept = {name: _part(array, cut, series.get(name), self.sample_rate_hz) for name, array in self.series.items()}
        return replace(self, series=kept, info=_info_of(self.info, cut))


def _info_of(info: Mapping[str, Any], cut: Cut) -> dict[str, Any]:
    """Returns the JSON of a crop: words and other intervals inside it; no text, since it may begin inside a line."""
    values = {name: _restricted(value, cut) for name, value in info.get("values", {}).items()}
    start_s = info.get("start_s", 0.0) + cut.start_ms / 1000
    told = {"seconds": cut.length_ms / 1000, "crop_s": cut.start_ms / 1000, "text": None, "values": values}
    words = {"words": _restricted(info["words"], cut)} if "words" in info else {}
    return {**info, **told, **words, "start_s": start_s, "end_s": start_s + cut.length_ms / 1000}


def _restricted(value: Any, cut: Cut) -> Any:
    """Returns labelled intervals inside a cut; any other value as it is."""
    intervals = isinstance(value, list) and value and all(isinstance(v, dict) and "start_s" in v for v in value)
    return restrict(value, cut) if intervals else value


def _part(array: Array, cut: Cut, column: Column | None, sample_rate_hz: int) -> Array:
    if column is None:
        first, length = sample_span(cut, sample_rate_hz, len(array))
    else:
        frames = span(cut, column, len(array))
        first, length = frames.first, frames.length
    return array[first : first + length]


def parsed(raw: bytes, key: str, columns: Sequence[str]) -> Sample:
    """Returns the sample in a stretch of a tar whose checksum is right: those inside it are not compared again.

    Raises:
        KeyError: a member or column is missing; names it.
        ValueError: a member is cut short, no JSON, no array, or would have to be unpickled.
    """
    return of_members(key, members(raw), columns, is_checked=True)


def of_members(key: str, found: Mapping[str, Content], columns: Sequence[str], is_checked: bool = False) -> Sample:
    """Returns the sample of a key from the files of its stretch of the tar; see `parsed`."""
    info = json.loads(bytes(found[f"{key}.json"]))
    named = [name for name in columns if name != AUDIO]
    series = arrays(found[f"{key}.npz"], named, is_checked) if named else {}
    if AUDIO not in columns:
        return Sample(key, series, info)
    from autosing.signal.decode import decode, to_mono

    audio = decode(bytes(found[f"{key}.flac"]))
    return Sample(key, {**series, AUDIO: to_mono(audio.samples)}, info, sample_rate_hz=audio.sample_rate)


def members(raw: bytes) -> dict[str, Content]:
    """Returns the files in a stretch of a tar.

    Plain members are found here, in a tenth of the time of `tarfile`, which reads long names and the like.

    Raises:
        ValueError: the stretch is no tar, or is cut short.
    """
    found: dict[str, Content] = {}
    view, begin = memoryview(raw), 0
    while begin < len(raw):
        if begin + tarfile.BLOCKSIZE > len(raw):
            raise ValueError("the header of a member is cut short")
        name, size, kind, prefix = _TAR_HEADER.unpack_from(raw, begin)
        digits = size.rstrip(b"\0 ")
        if kind != tarfile.REGTYPE or prefix[0] or not digits.isdigit():
            return _members_of_any_kind(raw)
        begin += tarfile.BLOCKSIZE
        end = begin + int(digits, 8)
        found[name.partition(b"\0")[0].decode("utf-8", "surrogateescape")] = view[begin:end]
        begin = end + -end % tarfile.BLOCKSIZE
        if begin > len(raw):
            raise ValueError("a member is cut short")
    return found


def _members_of_any_kind(raw: bytes) -> dict[str, Content]:
    found: dict[str, Content] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
            for member in tar:
                if member.size < 0:  # after which the same member would come again
                    raise ValueError(f"{member.name} has a size below 0")
                if file := tar.extractfile(member):
                    found[member.name] = file.read()
    except tarfile.TarError as error:
        raise ValueError(f"no tar: {error}") from error
    return found


def arrays(archive: Content, names: Sequence[str], is_checked: bool = False) -> dict[str, Array]:
    """Returns arrays of an npz archive.

    Uncompressed numbers in C order are taken out here, in an eighth of the time of `numpy.load`, which reads the rest.

    Args:
        archive: its bytes.
        names: of the arrays.
        is_checked: whether the bytes are known to be those that were written, which saves a sixth of the reading.

    Raises:
        KeyError: there is no such array.
        ValueError: the archive is damaged, or an array would have to be unpickled.
    """
    view = memoryview(archive)
    try:
        entries = _entries(view)
        return {name: _array(view, name, entries, is_checked) for name in names}
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, OverflowError) as error:
        raise ValueError(f"no npz archive: {error}") from error


class _Entry(NamedTuple):
    """A file in a zip archive: how it is compressed, its checksum and size, and where its local header begins."""

    method: int
    crc32: int
    size: int
    begin: int


def _entries(archive: memoryview) -> dict[str, _Entry]:
    """Returns the directory of a zip archive that ends with it, as without a comment; else nothing."""
    found: dict[str, _Entry] = {}
    if len(archive) < _ZIP_END.size:
        return found
    magic, count, begin = _ZIP_END.unpack_from(archive, len(archive) - _ZIP_END.size)
    for _ in range(count if magic == b"PK\5\6" else 0):
        _, method, crc32, size, name_bytes, extra_bytes, comment_bytes, local = _ZIP_ENTRY.unpack_from(archive, begin)
        begin += _ZIP_ENTRY.size
        name = bytes(archive[begin : begin + name_bytes]).decode("utf-8", "surrogateescape")
        found[name] = _Entry(method, crc32, size, local)
        begin += name_bytes + extra_bytes + comment_bytes
    return found


def _array(archive: memoryview, name: str, entries: Mapping[str, _Entry], is_checked: bool) -> Array:
    entry = entries.get(f"{name}.npy")
    if entry is None or entry.method != zipfile.ZIP_STORED:
        return _array_of_any_kind(archive, name)
    magic, name_bytes, extra_bytes = _ZIP_LOCAL.unpack_from(archive, entry.begin)
    begin = entry.begin + _ZIP_LOCAL.size + name_bytes + extra_bytes
    content = archive[begin : begin + entry.size]
    header = _NPY_HEADER.match(content)
    if magic != b"PK\3\4" or header is None or int.from_bytes(header[1], "little") != len(header[2]):
        return _array_of_any_kind(archive, name)
    if not is_checked and zlib.crc32(content) != entry.crc32:
        raise ValueError(f"{name} has changed bytes (its checksum differs)")
    shape = [int(n) for n in header[4].split(b",") if n.strip()]
    # A copy, so that it may be written to and does not keep the whole sample.
    return np.frombuffer(content, header[3].decode(), offset=header.end()).reshape(shape).copy()


def _array_of_any_kind(archive: memoryview, name: str) -> Array:
    if bytes(archive[:2]) != b"PK":
        raise ValueError("no npz archive")
    with np.load(io.BytesIO(archive), allow_pickle=False) as loaded:
        if name not in loaded.files:
            raise KeyError(name)
        array = loaded[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is no array")
    return array
