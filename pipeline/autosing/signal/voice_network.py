"""What a network that separates voices must offer, and how it is heard over a stream: in windows that fade over."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Protocol

import numpy as np

from autosing.signal.decode import Samples
from autosing.signal.overlap_add import overlap_add
from autosing.signal.resample import resample_blocks


class VoiceNetwork(Protocol):
    """A separator.

    Attributes:
        sample_rate: in Hz.
        channels: how many it hears at once, H.
        window: samples that it hears at once.
        hop: samples from window to window.
    """

    @property
    def sample_rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def hop(self) -> int: ...

    def separate(self, mix: Samples) -> Samples:
        """Returns the voice (B, H, T) in mixes (B, H, T)."""
        ...


def voice_of(network: VoiceNetwork, blocks: Iterable[Samples], sample_rate: int) -> Iterator[Samples]:
    """Yields the voice in a stream of blocks (n, C), about as long in all: what resampling there and back leaves.

    As many channels as the network hears at once are an image; of any other number, each is heard by itself.
    """
    heard = resample_blocks(blocks, sample_rate, network.sample_rate)
    found = overlap_add(heard, network.window, network.hop, partial(_window, network))
    return resample_blocks(found, network.sample_rate, sample_rate)


def _window(network: VoiceNetwork, window: Samples) -> Samples:
    is_image = window.shape[1] == network.channels
    mix = window.T[None] if is_image else np.repeat(window.T[:, None], network.channels, axis=1)
    voice = network.separate(np.ascontiguousarray(mix))
    by_channel: Samples = voice[0] if is_image else voice.mean(axis=1)
    return by_channel.T
