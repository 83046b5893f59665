"""A song as a stage sees it: one row, whose audio is decoded and resampled at most once."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from autosing.signal.decode import Audio, decode, to_mono
from autosing.signal.errors import RowError
from autosing.signal.resample import resample

AudioName = Literal["voice", "mix", "backing"]
Wave = npt.NDArray[np.float32]


class Song:
    """One row of a partition.

    Args:
        id: the song's id.
        values: values by address (`index.lrc_lyrics`, `f0.f0_hz`); stages add theirs as they go.
        audio_addresses: where `voice`, `mix` and `backing` are found.
    """

    def __init__(self, id: str, values: dict[str, Any], audio_addresses: Mapping[str, str]) -> None:
        self.id = id
        self.values = values
        self._audio_addresses = audio_addresses
        self._decoded: dict[str, Audio] = {}
        self._waves: dict[tuple[str, int], Wave] = {}

    def __getitem__(self, address: str) -> Any:
        """Returns a value or series that the stage declared to read; None where it is none by nature."""
        return self.values[address]

    @property
    def n_samples(self) -> int:
        """Samples of the index audio, per channel, at `sample_rate`."""
        return int(self._probed("n_samples", lambda: len(self.audio("mix").samples)))

    @property
    def sample_rate(self) -> int:
        """Sample rate of the index audio in Hz."""
        return int(self._probed("sample_rate_hz", lambda: self.audio("mix").sample_rate))

    @property
    def duration_s(self) -> float:
        """Length of the index audio in seconds."""
        return self.n_samples / self.sample_rate

    def audio(self, which: AudioName) -> Audio:
        """Returns the decoded audio, all channels at their own rate.

        Raises:
            RowError: it can't be decoded, or the song has none.
        """
        address = self._audio_addresses[which]
        if address not in self._decoded:
            encoded = self.values.get(address)
            if encoded is None:
                raise RowError(f"{address} is null: the song has no {which} audio")
            self._decoded[address] = decode(encoded)
        return self._decoded[address]

    def mono(self, which: AudioName, sample_rate: int | None = None) -> Wave:
        """Returns the mono wave (T,), at its own rate or resampled to `sample_rate` Hz."""
        audio = self.audio(which)
        rate = sample_rate or audio.sample_rate
        address = self._audio_addresses[which]
        if (address, audio.sample_rate) not in self._waves:
            self._waves[address, audio.sample_rate] = to_mono(audio.samples)
        if (address, rate) not in self._waves:
            self._waves[address, rate] = resample(self._waves[address, audio.sample_rate], audio.sample_rate, rate)
        return self._waves[address, rate]

    def _probed(self, column: str, measure: Any) -> Any:
        known = self.values.get(f"probe.{column}")
        return measure() if known is None else known
