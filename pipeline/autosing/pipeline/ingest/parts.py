"""Parts of recordings as sound files of their own, with exactly the samples of the part."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autosing.pipeline.ingest.files import header_seconds, read_bytes
from autosing.signal.decode import Audio, Samples, decode
from autosing.signal.errors import RowError

# What manifests round times to.
ROUNDING_S = 0.01
MOST_HELD, SHORT_BYTES = 4, 8 << 20
_FLAC_CHANNELS, _FLAC_RATE_HZ = 8, 655_350
_BITS = {16: "PCM_16", 24: "PCM_24"}


@dataclass
class Recordings:
    """Cuts parts out of sound files; a file is decoded once as long as its parts are asked for one after another.

    Beside it a few short ones are kept, as the noises are that parts are mixed with.
    """

    _held: dict[Path, Audio] = field(default_factory=dict, repr=False)

    def part(
        self, path: Path, start_s: float, end_s: float | None, channels: list[int] | None = None
    ) -> tuple[bytes, float]:
        """Returns what `samples` does as a sound file, and how many seconds it lasts."""
        samples, rate = self.samples(path, start_s, end_s, channels)
        return lossless(samples, rate), len(samples) / rate

    def samples(
        self, path: Path, start_s: float, end_s: float | None, channels: list[int] | None = None
    ) -> tuple[Samples, int]:
        """Returns the samples (T, C) from `start_s` to `end_s`, and their rate.

        Args:
            path: the recording.
            start_s: where the part begins; the sample nearest to it is the first.
            end_s: where it ends; None: with the recording.
            channels: which channels, in this order; None: all.

        Raises:
            RowError: the recording can't be decoded, is shorter, or has no such channel.
        """
        audio = self._decoded(path)
        rate, n_frames = audio.sample_rate, len(audio.samples)
        length_s = n_frames / rate
        if start_s < 0 or start_s >= length_s or (end_s is not None and end_s > length_s + ROUNDING_S):
            end = "its end" if end_s is None else f"{end_s:g} s"
            raise RowError(
                f"the part from {start_s:g} s to {end} is not inside of {path.name}, which has {length_s:g} s"
            )
        last = n_frames if end_s is None else min(round(end_s * rate), n_frames)
        samples = audio.samples[round(start_s * rate) : last]
        if not len(samples):
            raise RowError(f"the part from {start_s:g} s of {path.name} has no samples")
        if channels is None:
            return samples, rate
        if unknown := [c for c in channels if not 0 <= c < samples.shape[1]]:
            raise RowError(f"{path.name} has no channel {unknown[0]}; it has {samples.shape[1]}, counted from 0")
        return samples[:, channels], rate

    def _decoded(self, path: Path) -> Audio:
        audio = self._held.pop(path, None)
        if audio is None:
            try:
                data = path.read_bytes()
            except OSError as error:
                raise RowError(f"{path.name} can't be read ({error.strerror})") from error
            if len(data) > SHORT_BYTES:
                self._held.clear()  # Two long recordings need not be in memory at once.
            elif len(self._held) == MOST_HELD:
                del self._held[next(iter(self._held))]  # That which was asked for longest ago.
            audio = decode(data)
        self._held[path] = audio
        return audio


def is_whole(path: Path, end_s: float) -> bool:
    """Whether a part that begins with a recording ends with it, but for what manifests round.

    Raises:
        RowError: the recording can't be read.
    """
    length_s = header_seconds(read_bytes(path))
    return length_s > 0 and abs(length_s - end_s) <= ROUNDING_S


def lossless(samples: Samples, sample_rate: int) -> bytes:
    """Returns samples (T, C) as FLAC of 16 bits where they are of as many, else of 24.

    Lossy codings and float files decode to numbers between the steps of 24 bits, which are 138 dB below full scale:
    they are rounded. What is above full scale, of more than 8 channels or of a rate that FLAC lacks becomes a float
    WAV file.
    """
    import soundfile

    file = io.BytesIO()
    peak = max(-float(samples.min()), float(samples.max()) + 2.0**-23)
    if peak > 1 or samples.shape[1] > _FLAC_CHANNELS or sample_rate > _FLAC_RATE_HZ:
        soundfile.write(file, samples, sample_rate, "FLOAT", format="WAV")
        return file.getvalue()
    steps = samples * np.float32(2**15)
    bits = 16 if np.array_equal(steps, np.rint(steps)) else 24
    # As integers: libsndfile would scale floats by one step less than full scale.
    whole = np.rint(samples * np.float32(2 ** (bits - 1))).astype(np.int32) << (32 - bits)
    soundfile.write(file, whole, sample_rate, _BITS[bits], format="FLAC")
    return file.getvalue()
