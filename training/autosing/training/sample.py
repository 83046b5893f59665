"""A sample: every asked-for column restricted to one cut, and restricted further to a random crop."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.framing import common_period
from autosing.signal.span import Cut, sample_span, snap_period, span
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
        return replace(self, series=kept, info={**self.info, "seconds": crop_ms / 1000, "crop_s": start_ms / 1000})


def _part(array: Array, cut: Cut, column: Column | None, sample_rate_hz: int) -> Array:
    if column is None:
        first, length = sample_span(cut, sample_rate_hz, len(array))
    else:
        frames = span(cut, column, len(array))
        first, length = frames.first, frames.length
    return array[first : first + length]


def parsed(raw: bytes, key: str, columns: Sequence[str]) -> Sample:
    """Returns the sample in a stretch of a tar.

    Raises:
        KeyError: a member or column is missing; names it.
        ValueError: a member is no JSON, no array, or would have to be unpickled.
    """
    return of_members(key, members(raw), columns)


def of_members(key: str, found: Mapping[str, bytes], columns: Sequence[str]) -> Sample:
    """Returns the sample of a key from the files of its stretch of the tar; see `parsed`."""
    info = json.loads(found[f"{key}.json"])
    series: dict[str, Array] = {}
    named = [name for name in columns if name != AUDIO]
    if named:
        with np.load(io.BytesIO(found[f"{key}.npz"]), allow_pickle=False) as arrays:
            series = {name: arrays[name] for name in named}
    if AUDIO not in columns:
        return Sample(key, series, info)
    from autosing.signal.decode import decode, to_mono

    audio = decode(found[f"{key}.flac"])
    return Sample(key, {**series, AUDIO: to_mono(audio.samples)}, info, sample_rate_hz=audio.sample_rate)


def members(raw: bytes) -> dict[str, bytes]:
    """Returns the files in a stretch of a tar."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {member.name: stream.read() for member in tar if (stream := tar.extractfile(member))}
