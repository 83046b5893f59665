"""A recording of any length: its samples lie on disk and are read by slices."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autosing.signal.decode import Audio, Encoded, mono_of
from autosing.signal.decode_stream import examine, stream
from autosing.signal.rows import DiskRows, Rows, slices

BLOCK_SAMPLES = 1 << 20


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

    def audio(self, first: int = 0, last: int | None = None) -> Audio:
        """Returns the samples from one to another, in memory."""
        return Audio(self.samples[first:last], self.sample_rate, self.codec)
