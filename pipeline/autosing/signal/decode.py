"""Sound files to samples and back: libsndfile first, FFmpeg for what libsndfile cannot read.

Files come from strangers. Nothing is allocated from what a header claims, nothing but the given bytes or the given file
is opened, and every input ends as `Audio` or as a `RowError`.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NoReturn

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import RowError
from autosing.signal.rows import Rows, slices

if TYPE_CHECKING:
    import av
    import soundfile

Samples = npt.NDArray[np.float32]
Encoded = bytes | Path
"""A sound file: its bytes, or where it lies, which is read as it is decoded."""

MAX_SAMPLES = 2**30
"""The most values (frames x channels) of one file: 4 GiB, or 3.4 hours of stereo at 44.1 kHz."""

MIN_RATE_HZ, MAX_RATE_HZ, MAX_CHANNELS = 1_000, 768_000, 64

# Float files may hold integers of 32 bits; what is louder than that would overflow in powers.
_LOUDEST = 2**32

_BLOCK_VALUES = 2**20
_FRAMES_AT_ONCE = 16  # FFmpeg's frames are short: handling each by itself costs more than decoding it.

# libsndfile ends without an error where a FLAC header's total is too small or an MP3 frame is odd. Of files that it has
# read to their end it leaves less than 500 bytes (182 looked at): where it leaves more than this, FFmpeg has to try.
_UNREAD_BYTES = 2**12

# Demuxers of single sound files. Playlists, image sequences and network protocols would open other files.
_FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "nistsphere,ogg,tak,tta,voc,w64,wav,wv"
)

# FFmpeg's sample formats: the value of silence and that of full scale above it.
_FULL_SCALE = {"u8": (128, 2**7), "s16": (0, 2**15), "s32": (0, 2**31), "flt": (0, 1), "dbl": (0, 1)}


@dataclass(frozen=True)
class Audio:
    """A decoded sound file.

    samples: (T, C) float32, full scale is 1; a float file may exceed it.
    sample_rate: frames per second.
    codec: container and coding in lower case, as the decoder names them (`flac/pcm_16`, `mov/aac`).
    """

    samples: Samples
    sample_rate: int
    codec: str


@dataclass(frozen=True)
class Opened:
    """A sound file that is being decoded.

    blocks: (n, C) float32 arrays of different lengths, in order.
    sample_rate: frames per second.
    codec: container and coding in lower case.
    """

    blocks: Iterator[Samples]
    sample_rate: int
    codec: str


def decode(data: Encoded) -> Audio:
    """Returns the samples of an encoded sound file.

    Raises RowError where the file is no sound, is empty, breaks off with a decoding error, holds values that are not
    finite, or is outside the limits of this module.
    """
    import soundfile

    try:
        return _decode_libsndfile(data)
    except soundfile.SoundFileError:
        return _decode_ffmpeg(data)


def encode(samples: Samples, sample_rate: int, format: Literal["FLAC", "WAV", "MP3"]) -> bytes:
    """Returns `samples` (T, C) or (T,) as a sound file: 16-bit FLAC or WAV (clipped at full scale), or MP3."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format=format)
    return file.getvalue()


def to_mono(samples: Samples) -> Samples:
    """Returns (T, C) samples as (T,): the mean of the channels, or the loudest one where the mean is 20 dB below it.

    The exception saves recordings whose channels are in opposite phase.
    """
    chosen = mono_of(samples)
    return chosen(samples)


def mono_of(samples: Rows) -> Callable[[Samples], Samples]:
    """Returns what makes `to_mono` of (T, C) samples of any part of them (n, C)."""
    n_channels = samples.shape[1]
    if n_channels == 1:
        return lambda part: np.ascontiguousarray(part[:, 0])
    powers = np.zeros(n_channels + 1)
    for block in slices(samples, _BLOCK_VALUES):
        powers += [_power(_mean(block)), *(_power(np.ascontiguousarray(channel)) for channel in block.T)]
    loudest = int(powers[1:].argmax())
    if 100 * powers[0] >= powers[1 + loudest]:
        return _mean
    return lambda part: np.ascontiguousarray(part[:, loudest])


def _mean(samples: Samples) -> Samples:
    """Returns the mean of the channels of (T, C) samples."""
    n_channels = np.float32(samples.shape[1])
    mean = np.ascontiguousarray(samples[:, 0]) / n_channels
    for channel in samples.T[1:]:
        mean += np.ascontiguousarray(channel) / n_channels
    return mean


def _power(wave: Samples) -> float:
    return float(np.dot(wave, wave))


def _decode_libsndfile(data: Encoded) -> Audio:
    with open_libsndfile(data) as opened:
        return Audio(_gather(opened.blocks), opened.sample_rate, opened.codec)


def _decode_ffmpeg(data: Encoded) -> Audio:
    with open_ffmpeg(data) as opened:
        return Audio(_gather(opened.blocks), opened.sample_rate, opened.codec)


@contextmanager
def open_libsndfile(data: Encoded) -> Iterator[Opened]:
    """Opens a sound file for libsndfile; its blocks end with `SoundFileError` where libsndfile stops too early."""
    import soundfile

    with _opened(data) as stream, soundfile.SoundFile(stream) as file:
        codec = f"{file.format}/{file.subtype}".lower()
        yield Opened(_checked(_libsndfile_blocks(file, stream)), file.samplerate, codec)


@contextmanager
def open_ffmpeg(data: Encoded) -> Iterator[Opened]:
    """Opens a sound file for FFmpeg.

    Raises:
        RowError: here, or while the blocks are taken: it is no sound, is empty, or breaks off.
    """
    import av

    options = {"format_whitelist": _FFMPEG_FORMATS, "protocol_whitelist": "none"}
    try:
        with (
            _opened(data) as file,
            av.open(
                file, "r", container_options=options, metadata_errors="ignore", io_open=_refuse_to_open
            ) as container,
        ):
            stream = next((s for s in container.streams.audio if s.codec_context), None)
            if stream is None:
                raise RowError("the file holds no audio of a known coding; replace it or leave it out")
            blocks = _ffmpeg_blocks(container, stream)
            # Some codings tell their sample rate only when the first of them is decoded.
            first = next(blocks, None)
            if first is None:
                raise RowError("the file holds no samples; replace it or leave it out")
            coding = stream.codec_context
            codec = f"{container.format.name.split(',')[0]}/{coding.name}"
            yield Opened(_checked(chain([first], blocks)), coding.sample_rate, codec)
    except av.FFmpegError as error:
        reason = f"neither libsndfile nor FFmpeg reads it as sound: {error.strerror}"
        raise RowError(f"the file cannot be decoded ({reason}); replace it or leave it out") from None


def _opened(data: Encoded) -> BinaryIO:
    return _File(io.FileIO(str(data))) if isinstance(data, Path) else _Bytes(data)


class _Bytes(io.BytesIO):
    """Bytes that stay where they are when a damaged header sends libsndfile to before their start."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.tell() if whence == io.SEEK_SET and offset < 0 else super().seek(offset, whence)


class _File(io.BufferedReader):
    """A file that stays where it is, too."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.tell() if whence == io.SEEK_SET and offset < 0 else super().seek(offset, whence)


def _libsndfile_blocks(file: "soundfile.SoundFile", stream: BinaryIO) -> Iterator[Samples]:
    import soundfile

    _check_format(file.samplerate, file.channels)
    n_frames, n_read = max(_BLOCK_VALUES // file.channels, 1), 0
    while len(block := file.read(n_frames, dtype="float32", always_2d=True)):
        n_read += len(block)
        yield block
    unread = _bytes_left(stream) if file.format in ("FLAC", "MP3", "OGG") else 0
    if not n_read or unread > _UNREAD_BYTES:
        raise soundfile.SoundFileError("libsndfile stopped before the end of the file")


def _bytes_left(stream: BinaryIO) -> int:
    here = stream.tell()
    return stream.seek(0, io.SEEK_END) - here


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise RowError(f"the file refers to another one ({url}), which is not opened; give a file that holds its sound")


def _ffmpeg_blocks(container: "av.container.InputContainer", stream: "av.AudioStream") -> Iterator[Samples]:
    from av.codec.context import ThreadType

    stream.codec_context.thread_type, stream.codec_context.thread_count = ThreadType.NONE, 1
    if stream.codec_context.name == "flac":
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    form, parts = None, []
    for frame in _ffmpeg_frames(container, stream):
        this_form = frame.sample_rate, frame.layout.nb_channels, frame.format.name
        if form is None:
            form = this_form
            _check_format(frame.sample_rate, frame.layout.nb_channels)
            _check_kind(frame)
        if this_form != form:
            raise RowError(
                f"the stream changes from {form} to {this_form} (Hz, channels, format); split the file there"
            )
        parts.append(frame.to_ndarray())
        if len(parts) == _FRAMES_AT_ONCE:
            yield _to_float(parts, frame)
            parts = []
    if parts:
        yield _to_float(parts, frame)


def _ffmpeg_frames(container: "av.container.InputContainer", stream: "av.AudioStream") -> Iterator["av.AudioFrame"]:
    import av

    n_frames = 0
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except av.FFmpegError as error:
            # Junk before the first sound is skipped, but FLAC's frames carry checksums: what fails them is no junk.
            if not n_frames and stream.codec_context.name != "flac":
                continue
            seconds = n_frames / stream.codec_context.sample_rate
            reason = f"{error.strerror} after {seconds:.3f} s ({n_frames} frames)"
            raise RowError(f"the file breaks off: {reason}; replace it or cut it there") from None
        for frame in decoded:
            n_frames += frame.samples
            yield frame


def _to_float(parts: Sequence[npt.NDArray[Any]], frame: "av.AudioFrame") -> Samples:
    """Returns the successive arrays of frames like `frame` as (n, C) with full scale 1."""
    values = np.concatenate(parts, axis=1)
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    silence, full_scale = _FULL_SCALE[_kind(frame)]
    if full_scale == 1:
        return values.astype(np.float32, copy=False)
    return (values.astype(np.float32) - np.float32(silence)) / np.float32(full_scale)


def _kind(frame: "av.AudioFrame") -> str:
    return frame.format.name.removesuffix("p")


def _check_kind(frame: "av.AudioFrame") -> None:
    if _kind(frame) not in _FULL_SCALE:
        raise RowError(f"samples of the format {frame.format.name} are unknown; convert the file to FLAC")


def _check_format(sample_rate: int, channels: int) -> None:
    if not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        limits = f"{MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        raise RowError(f"the file's sample rate is {sample_rate} Hz, outside {limits}; replace it or leave it out")
    if not 1 <= channels <= MAX_CHANNELS:
        raise RowError(f"the file has {channels} channels, not 1 to {MAX_CHANNELS}; mix it down")


def _checked(blocks: Iterator[Samples]) -> Iterator[Samples]:
    """Yields blocks (n, C) as long as they are sound.

    Raises:
        RowError: a value is not finite or absurd, or the file is too long.
    """
    n_frames = 0
    for block in blocks:
        if not (block.max(initial=0) <= _LOUDEST and block.min(initial=0) >= -_LOUDEST):  # False for NaN too
            raise RowError(f"the file holds NaN, infinity or absurd values after frame {n_frames}; repair it")
        n_frames += len(block)
        if n_frames * block.shape[1] > MAX_SAMPLES:
            raise RowError(f"the file is longer than {MAX_SAMPLES} values (frames x channels); split it")
        yield block


def _gather(blocks: Iterator[Samples]) -> Samples:
    """Returns blocks (n, C) as one array; it grows in place, so that twice the memory is never needed."""
    samples = np.empty((0, 1), np.float32)
    n_frames = 0
    for block in blocks:
        if not n_frames:
            samples = np.empty((0, block.shape[1]), np.float32)
        needed = n_frames + len(block)
        if needed > len(samples):
            samples.resize((needed + needed // 8, block.shape[1]), refcheck=False)
        samples[n_frames:needed] = block
        n_frames = needed
    samples.resize((n_frames, samples.shape[1]), refcheck=False)
    return samples
