"""The vocoders' trainer: from mels or tokens, and as far as wanted F0, to the recorded wave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from autosing.models.acoustic_input import pad_stack
from autosing.models.frame_decoder import FrameDecoder
from autosing.models.vocoder import Generator, Vocoder, sized_vocoder, tokens_at
from autosing.signal.errors import DataError, UsageError
from autosing.signal.mel import log_mel_torch
from autosing.training.loader import Batch
from autosing.training.manifest import Manifest
from autosing.training.sample import Sample
from autosing.training.task import Tensors
from autosing.training.tasks.decoded_losses import DECODED_LOSSES, DECODED_WEIGHTS, decoded_losses
from autosing.training.tasks.waves import WaveConfig, WaveTask


@dataclass(frozen=True, kw_only=True)
class VocoderConfig(WaveConfig):
    """Settings of the vocoders' trainer.

    Attributes:
        generator: `istft` for spectra frame by frame, `hifigan` for transposed convolutions.
        tell_f0: of `istft` with tokens: learn to tell the pitch from them, rather than be given it.
        streams: names of columns of tokens that take the place of the mel.
        n_tokens: the most tokens that a stream may have.
    """

    generator: Generator = "istft"
    tell_f0: bool = False
    streams: tuple[str, ...] = ()
    n_tokens: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_above_0("n_tokens")
        if self.resynthesis == "mel" and not (self.generator == "istft" and self.streams):
            raise UsageError("resynthesis=mel is for the generator istft with streams, which tells mels first")
        if self.tell_f0 and not (self.generator == "istft" and self.streams and self.use_f0):
            raise UsageError("tell_f0 is for the generator istft with streams, and needs use_f0 to learn from")
        if self.generator == "istft" and self.streams and not self.use_f0:
            raise UsageError("istft makes tokens sound by their pitch; set use_f0=true, and tell_f0=true to learn it")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return *super().columns, *self.streams

    def task(self, manifest: Manifest) -> "VocoderTask":
        """Returns the task on a built set."""
        return VocoderTask(self, manifest)


class VocoderTask(WaveTask):
    """Mels or tokens to waves."""

    more_weights: ClassVar[Mapping[str, float]] = DECODED_WEIGHTS
    config: VocoderConfig

    @property
    def hears_level(self) -> bool:
        """Tokens are of the level that they were computed at; mels are computed in training."""
        return not self.config.streams

    def network(self) -> Vocoder:
        """Returns the vocoder with random weights."""
        config = self.config
        streams = {name: str(self.rates[name]) for name in config.streams}
        n_tokens = config.n_tokens if streams else 0
        given = config.use_f0 and not config.tell_f0
        return Vocoder(sized_vocoder(config.size, config.generator, self.spec, given, streams, n_tokens))

    def contract(self) -> Mapping[str, Any]:
        """Returns the mel, rates and definitions of what it is given, and the codebooks behind its tokens."""
        return {**super().contract(), "artefacts": self.artefacts if self.config.streams else {}}

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns what every trainer of waves has, and tokens, side by side."""
        batch = super().collate(samples, training=training)
        frames = batch.arrays["frames"].tolist()
        arrays: dict[str, npt.NDArray[Any]] = dict(batch.arrays)
        for name in self.config.streams:
            tokens = [self._tokens(sample, name) for sample in samples]
            arrays[name] = pad_stack(tokens)
            at = [
                tokens_at(n, self.spec.rate, len(found), self.rates[name])
                for n, found in zip(frames, tokens, strict=True)
            ]
            arrays[f"{name}_at"] = pad_stack(at)
        counts = {**batch.counts, **dict.fromkeys(DECODED_LOSSES, sum(frames))}
        return replace(batch, arrays=arrays, counts=counts)

    def made(self, network: Vocoder, batch: Tensors) -> tuple[Tensor | None, Mapping[str, Tensor]]:
        """Returns waves (B, T)."""
        inputs = {**batch, **self.excitation(batch)}
        if isinstance(network.generator, FrameDecoder):
            decoded = network.decoded(inputs)
            mel_BFM = log_mel_torch(batch["audio"], self.spec).transpose(1, 2)
            found = decoded_losses(decoded, mel_BFM, batch["period_s"])
            if network.training and not self.wants_waves:
                return None, found
            return network.generator.wave(decoded, self.excitation_of(decoded, batch, network.training)), found
        if not self.config.streams:
            inputs["mel"] = log_mel_torch(batch["audio"], self.spec).transpose(1, 2)
        return network(inputs), {}

    def _tokens(self, sample: Sample, name: str) -> npt.NDArray[np.int32]:
        tokens = sample.series[name].astype(np.int32)
        if not len(tokens):
            raise DataError(f"sample {sample.key} has no {name}; build the set again")
        if tokens.max() >= self.config.n_tokens:
            raise DataError(
                f"sample {sample.key} has the token {tokens.max()} of {name}, but n_tokens is {self.config.n_tokens}; "
                "set n_tokens to the size of the codebook"
            )
        return tokens
