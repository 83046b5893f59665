"""A recording of any length: its samples lie on disk and are read by slices."""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np

from autosing.signal.decode import Audio, Encoded, mono_of
from autosing.signal.decode_stream import examine, stream
from autosing.signal.resample import resample_blocks
from autosing.signal.rows import DiskRows, Rows, slices

BLOCK_SAMPLES = 1 << 20


@dataclass(frozen=True)
class Seconds:
    """From one time to another; None is the end."""

    first_s: Fraction
    last_s: Fraction | None

    def frames(self, rate: Fraction) -> slice:
        """Returns it in frames, or samples, of a rate that has whole ones at both times."""
        return slice(int(self.first_s * rate), None if self.last_s is None else int(self.last_s * rate))


@dataclass(frozen=True)
class Tape:
    """A decoded sound file.

    samples: (T, C) float32, full scale is 1.
    sample_rate: frames per second.
    codec: container and coding in lower case, as `Audio` has it.
    """

    samples: Rows
    sample_rate: int
    codec: str
    _resampled: dict[int, "Tape"] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, audio: Audio) -> "Tape":
        """Returns a recording that lies in memory."""
        return cls(audio.samples, audio.sample_rate, audio.codec)

    @classmethod
    def decoded(cls, data: Encoded) -> "Tape":
        """Returns the samples of a sound file, of which no more than a block is ever in memory.

        Raises:
            RowError: as `decode` does.
            OSError: the disk is full, or the file cannot be read.
        """
        form = examine(data)
        samples = DiskRows(np.float32, (form.channels,))
        for block in stream(data, form):
            samples.append(block)
        return cls(samples, form.sample_rate, form.codec)

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return len(self.samples) / self.sample_rate

    @cached_property
    def mono(self) -> "Tape":
        """It as one channel, as `to_mono` makes it."""
        if self.samples.shape[1] == 1:
            return self
        chosen, samples = mono_of(self.samples), DiskRows(np.float32, (1,))
        for block in slices(self.samples, BLOCK_SAMPLES):
            samples.append(chosen(block)[:, None])
        return Tape(samples, self.sample_rate, self.codec)

    def at(self, sample_rate: int) -> "Tape":
        """Returns it at another rate, on disk; it is resampled once, as `resample` does it."""
        if sample_rate == self.sample_rate:
            return self
        if sample_rate not in self._resampled:
            samples = DiskRows(np.float32, self.samples.shape[1:])
            blocks = slices(self.samples, BLOCK_SAMPLES)
            for block in resample_blocks(blocks, self.sample_rate, sample_rate):
                samples.append(block)
            self._resampled[sample_rate] = Tape(samples, sample_rate, self.codec)
        return self._resampled[sample_rate]

    def audio(self, part: Seconds = Seconds(Fraction(0), None)) -> Audio:
        """Returns some seconds of it, or all, in memory."""
        return Audio(self.samples[part.frames(Fraction(self.sample_rate))], self.sample_rate, self.codec)
