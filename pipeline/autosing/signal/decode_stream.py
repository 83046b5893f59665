"""Sound files block by block: decoded and encoded with memory that does not grow with their length.

What libsndfile cannot read to its end goes to FFmpeg from its beginning, which only a whole reading can tell. A file is
therefore examined first (decoded, nothing kept) and then streamed by the decoder that read it.
"""

import io
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from autosing.signal.decode import Audio, Encoded, Opened, Samples, open_ffmpeg, open_libsndfile
from autosing.signal.errors import RowError

if TYPE_CHECKING:
    from autosing.signal.tape import Tape

MAX_FLAC_CHANNELS = 8

# Subtypes of libsndfile that hold more than 16 bits a sample without loss.
_DEEP = ("pcm_24", "pcm_32", "float", "double", "alac_20", "alac_24", "alac_32")


@dataclass(frozen=True)
class Form:
    """What a sound file is.

    Args:
        n_frames: its length.
        sample_rate: frames per second.
        channels: their number.
        codec: container and coding, as `Audio` has it.
        decoder: what reads it to its end.
    """

    n_frames: int
    sample_rate: int
    channels: int
    codec: str
    decoder: Literal["libsndfile", "ffmpeg"] = "libsndfile"

    @property
    def bits(self) -> int:
        """Bits a sample that FLAC needs for it: 24 where the file has more than 16 without loss, else 16."""
        return 24 if self.codec.rsplit("/", 1)[-1] in _DEEP else 16

    @classmethod
    def of(cls, audio: "Audio | Tape") -> "Form":
        """Returns the form of a decoded file."""
        n_frames, channels = audio.samples.shape
        return cls(n_frames, audio.sample_rate, channels, audio.codec)


def examine(data: Encoded) -> Form:
    """Returns the form of a sound file, by decoding it and keeping nothing.

    Raises:
        RowError: as `decode` does.
    """
    import soundfile

    try:
        with open_libsndfile(data) as opened:
            return _examined(opened, "libsndfile")
    except soundfile.SoundFileError:
        with open_ffmpeg(data) as opened:
            return _examined(opened, "ffmpeg")


def _examined(opened: Opened, decoder: Literal["libsndfile", "ffmpeg"]) -> Form:
    n_frames = channels = 0
    for block in opened.blocks:
        n_frames, channels = n_frames + len(block), block.shape[1]
    return Form(n_frames, opened.sample_rate, channels, opened.codec, decoder)


def stream(data: Encoded, form: Form) -> Iterator[Samples]:
    """Yields the samples of an examined sound file, in blocks (n, C) of different lengths: together `decode`'s."""
    with _open(data, form) as opened:
        yield from opened.blocks


def _open(data: Encoded, form: Form) -> AbstractContextManager[Opened]:
    return open_libsndfile(data) if form.decoder == "libsndfile" else open_ffmpeg(data)


def in_blocks(blocks: Iterable[Samples], size: int) -> Iterator[Samples]:
    """Yields the same frames in blocks of `size`, the last one shorter."""
    parts: list[Samples] = []
    held = 0
    for block in blocks:
        start = 0
        while held + len(block) - start >= size:
            stop = start + size - held
            yield np.concatenate([*parts, block[start:stop]])
            parts, held, start = [], 0, stop
        if start < len(block):
            # A copy, so that the rest of a large block is not kept.
            parts.append(block[start:].copy())
            held += len(block) - start
    if parts:
        yield np.concatenate(parts)


def fitted(blocks: Iterable[Samples], form: Form) -> Iterator[Samples]:
    """Yields blocks (n, C) cut, or lengthened by zeros, to the length of `form`."""
    missing = form.n_frames
    for block in blocks:
        yield block[:missing]
        missing -= min(len(block), missing)
    if missing:
        yield np.zeros((missing, form.channels), np.float32)


class FlacEncoder:
    """Writes blocks (n, C) into a FLAC file in memory; what is louder than full scale is clipped.

    Args:
        sample_rate: in Hz.
        channels: at most 8.
        bits: 16 or 24.

    Raises:
        RowError: FLAC has no such sample rate or number of channels.
    """

    def __init__(self, sample_rate: int, channels: int, bits: int = 16) -> None:
        import soundfile

        if channels > MAX_FLAC_CHANNELS:
            raise RowError(f"FLAC holds {MAX_FLAC_CHANNELS} channels at most, the song has {channels}; mix it down")
        self._bytes = io.BytesIO()
        try:
            self._file = soundfile.SoundFile(self._bytes, "w", sample_rate, channels, f"PCM_{bits}", format="FLAC")
        except soundfile.SoundFileError as error:
            raise RowError(f"FLAC can't hold {channels} channels at {sample_rate} Hz ({error}); resample it") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def write(self, block: Samples) -> None:
        """Appends a block (n, C)."""
        self._file.write(block)

    def finish(self) -> bytes:
        """Returns the whole file."""
        self._file.close()
        return self._bytes.getvalue()


def encode_blocks(blocks: Iterable[Samples], sample_rate: int, channels: int, bits: int = 16) -> bytes:
    """Returns blocks (n, C) as a FLAC file."""
    with FlacEncoder(sample_rate, channels, bits) as encoder:
        for block in blocks:
            encoder.write(block)
        return encoder.finish()
