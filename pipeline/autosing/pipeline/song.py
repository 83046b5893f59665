"""A song as a stage sees it: one row, whose audio is decoded and resampled at most once, or streamed."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from autosing.pipeline.faults import reached
from autosing.signal.decode import Audio, decode, to_mono
from autosing.signal.decode_stream import Form, examine, in_blocks, stream
from autosing.signal.errors import RowError
from autosing.signal.resample import resample, resample_blocks
from autosing.signal.rows import slices
from autosing.signal.tape import Seconds, Tape

AudioName = Literal["voice", "mix", "vocals", "backing"]
"""`mix` is the index audio, `vocals` and `backing` its stems, and `voice` what the data set says its voice is."""
Separation = Literal["vocals", "backing", "both"]
"""Which stems of a mix are stored."""
Wave = npt.NDArray[np.float32]


class Song:
    """One row of a partition.

    Args:
        id: the song's id.
        values: values by address (`index.lrc_lyrics`, `f0.f0_hz`); stages add theirs as they go.
        audio_addresses: where `voice`, `mix`, `vocals` and `backing` are found.
        streamed: addresses of audio that nobody wants whole: `form` and `blocks` do not keep what they decode.
        decoded: audio by address, where it need not be decoded any more; a tape's is in memory where a stage wants it.
    """

    def __init__(
        self,
        id: str,
        values: dict[str, Any],
        audio_addresses: Mapping[str, str],
        streamed: Collection[str] = (),
        decoded: Mapping[str, Audio | Tape] | None = None,
    ) -> None:
        self.id = id
        self.values = values
        self._audio_addresses = audio_addresses
        self._streamed = streamed
        self._decoded: dict[str, Audio | Tape] = dict(decoded or {})
        self._forms: dict[str, Form] = {}
        self._waves: dict[tuple[str, int], Wave] = {}

    def __getitem__(self, address: str) -> Any:
        """Returns a value or series that the stage declared to read; None where it is none by nature."""
        return self.values[address]

    @property
    def n_samples(self) -> int:
        """Samples of the index audio, per channel, at `sample_rate`."""
        return int(self._probed("n_samples", lambda: self.form("mix").n_frames))

    @property
    def sample_rate(self) -> int:
        """Sample rate of the index audio in Hz."""
        return int(self._probed("sample_rate_hz", lambda: self.form("mix").sample_rate))

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
            self._decoded[address] = decode(self._encoded(which))
        found = self._decoded[address]
        return found.audio() if isinstance(found, Tape) else found

    def with_values(self, values: Mapping[str, Any]) -> "Song":
        """Returns the song with other values."""
        return Song(self.id, dict(values), self._audio_addresses, self._streamed, self._decoded)

    def section(self, part: Seconds, values: Mapping[str, Any]) -> "Section":
        """Returns some seconds of a song on tape as a song of its own, with these values."""
        tapes = {address: each for address, each in self._decoded.items() if isinstance(each, Tape)}
        return Section(self.id, values, self._audio_addresses, tapes, part)

    @property
    def is_on_tape(self) -> bool:
        """Whether audio of it lies on disk."""
        return any(isinstance(each, Tape) for each in self._decoded.values())

    def take_tape(self, address: str, tape: Tape) -> None:
        """Takes up decoded audio that was made of the song's."""
        self._decoded[address] = tape

    def form(self, which: AudioName) -> Form:
        """Returns length, sample rate, channels and coding of the audio.

        Raises:
            RowError: it can't be decoded, or the song has none.
        """
        address = self._audio_addresses[which]
        if address not in self._forms:
            known = self._decoded.get(address)
            if known is None and address in self._streamed:
                self._forms[address] = examine(self._encoded(which))
            else:
                self._forms[address] = Form.of(known or self.audio(which))
        return self._forms[address]

    def blocks(self, which: AudioName, sample_rate: int | None = None, block_s: float = 10.0) -> Iterator[Wave]:
        """Yields the audio (n, C), all channels, at its own rate or resampled to `sample_rate` Hz, seconds at a time.

        Together the blocks are what `audio` has, or its `resample`. Where nobody wants the audio whole, only a block of
        it is ever in memory.

        Raises:
            RowError: it can't be decoded, or the song has none.
        """
        form = self.form(which)
        size, address = max(round(block_s * form.sample_rate), 1), self._audio_addresses[which]
        if address in self._decoded:
            found = slices(self._decoded[address].samples, size)
        else:
            found = in_blocks(stream(self._encoded(which), form), size)
        return resample_blocks(found, form.sample_rate, sample_rate or form.sample_rate)

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

    def _encoded(self, which: AudioName) -> bytes:
        address = self._audio_addresses[which]
        encoded = self.values.get(address)
        if encoded is None:
            raise RowError(f"{address} is null: the song has no {which} audio")
        reached("decode")
        return bytes(encoded)

    def _probed(self, column: str, measure: Any) -> Any:
        known = self.values.get(f"probe.{column}")
        return measure() if known is None else known


class Section(Song):
    """Some seconds of a song on tape. It is resampled with the whole of it, so that its samples are the same.

    Args:
        id: the song's.
        values: by address, of this section.
        audio_addresses: as the song's.
        tapes: of the whole song, by address.
        part: whole seconds.
    """

    def __init__(
        self,
        id: str,
        values: Mapping[str, Any],
        audio_addresses: Mapping[str, str],
        tapes: Mapping[str, Tape],
        part: Seconds,
    ) -> None:
        super().__init__(id, dict(values), audio_addresses, decoded={k: tape.audio(part) for k, tape in tapes.items()})
        self._tapes, self._part = tapes, part

    def mono(self, which: AudioName, sample_rate: int | None = None) -> Wave:
        """Returns the mono wave (T,), at its own rate or at `sample_rate` Hz."""
        tape = self._tapes[self._audio_addresses[which]].mono
        return tape.at(sample_rate or tape.sample_rate).audio(self._part).samples[:, 0]
