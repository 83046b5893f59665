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
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.framing import common_period
from autosing.signal.span import Cut, restrict, sample_span, snap_period, span
from autosing.training.manifest import Column

Array = npt.NDArray[Any]

# The name under which a task asks for the sample's audio, where the set was built with it.
AUDIO = "audio"


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
    """Returns the sample in a stretch of a tar whose checksum is right: those of its arrays are not compared again.

    Raises:
        KeyError: a member or column is missing; names it.
        ValueError: a member is cut short, no JSON, no array, or would have to be unpickled.
    """
    return of_members(key, members(raw), columns, is_checked=True)


def of_members(key: str, found: Mapping[str, bytes], columns: Sequence[str], is_checked: bool = False) -> Sample:
    """Returns the sample of a key from the files of its stretch of the tar; see `parsed`."""
    info = json.loads(found[f"{key}.json"])
    named = [name for name in columns if name != AUDIO]
    series = arrays(found[f"{key}.npz"], named, is_checked) if named else {}
    if AUDIO not in columns:
        return Sample(key, series, info)
    from autosing.signal.decode import decode, to_mono

    audio = decode(found[f"{key}.flac"])
    return Sample(key, {**series, AUDIO: to_mono(audio.samples)}, info, sample_rate_hz=audio.sample_rate)


def members(raw: bytes) -> dict[str, bytes]:
    """Returns the files in a stretch of a tar.

    Plain members are taken out here, in a third of the time of `tarfile.open`, which reads long names and the like.

    Raises:
        ValueError: the stretch is no tar, or is cut short.
    """
    found: dict[str, bytes] = {}
    begin = 0
    try:
        while any(header := raw[begin : begin + tarfile.BLOCKSIZE]):
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                return _members_of_any_kind(raw)
            begin += tarfile.BLOCKSIZE
            found[member.name] = raw[begin : begin + _size(member)]
            begin += -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            if begin > len(raw):
                raise ValueError(f"{member.name} is cut short")
    except tarfile.TarError as error:
        raise ValueError(f"no tar at byte {begin}: {error}") from error
    return found


def _members_of_any_kind(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
        files = ((member, tar.extractfile(member)) for member in tar if _size(member) >= 0)
        return {member.name: stream.read() for member, stream in files if stream}


def _size(member: tarfile.TarInfo) -> int:
    if member.size < 0:
        raise ValueError(f"{member.name} has a size below 0")
    return member.size


# What NumPy writes before the elements of an array in C order: magic, version 1.0, length of the rest, the rest.
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(..)"
    rb"(\{'descr': '(\|[biu]1|[<>](?:[iuf][248]|c8|c16))', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n)",
    re.DOTALL,
)
_LOCAL_HEADER = struct.Struct("<4s22xHH")


def arrays(archive: bytes, names: Sequence[str], is_checked: bool = False) -> dict[str, Array]:
    """Returns arrays of an npz archive.

    Uncompressed numbers in C order are taken out here, in a fifth of the time of `numpy.load`, which reads the rest.

    Args:
        archive: its bytes.
        names: of the arrays.
        is_checked: whether the bytes are known to be those that were written, which saves a seventh of the reading.

    Raises:
        KeyError: there is no such array.
        ValueError: the archive is damaged, or an array would have to be unpickled.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as directory:
            return {name: _array(archive, name, directory, is_checked) for name in names}
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, OverflowError) as error:
        raise ValueError(f"no npz archive: {error}") from error


def _array(archive: bytes, name: str, directory: zipfile.ZipFile, is_checked: bool) -> Array:
    try:
        entry = directory.getinfo(f"{name}.npy")
    except KeyError:
        raise KeyError(name) from None
    magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(archive, entry.header_offset)
    begin = entry.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    content = memoryview(archive)[begin : begin + entry.file_size]
    header = _NPY_HEADER.match(content)
    is_stored = magic == b"PK\3\4" and entry.compress_type == zipfile.ZIP_STORED
    if not is_stored or header is None or int.from_bytes(header[1], "little") != len(header[2]):
        return _loaded(archive, name)
    if not is_checked and zlib.crc32(content) != entry.CRC:
        raise ValueError(f"{name} has changed bytes (its checksum differs)")
    shape = [int(n) for n in header[4].split(b",") if n.strip()]
    # A copy, so that it may be written to and does not keep the archive.
    return np.frombuffer(content, header[3].decode(), offset=header.end()).reshape(shape).copy()


def _loaded(archive: bytes, name: str) -> Array:
    with np.load(io.BytesIO(archive), allow_pickle=False) as loaded:
        array = loaded[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name} is no array")
    return array
