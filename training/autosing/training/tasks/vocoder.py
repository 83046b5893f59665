"""The vocoders' trainer: from mels or tokens, and as far as wanted F0, to the recorded wave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from autosing.models.acoustic_input import pad_stack
from autosing.models.excitation import pulses, sample_f0
from autosing.models.vocoder import Generator, Vocoder, periods, sized_vocoder, tokens_at
from autosing.signal.errors import DataError, UsageError
from autosing.signal.mel import log_mel_torch
from autosing.training.loader import Batch
from autosing.training.manifest import AUDIO, Manifest
from autosing.training.sample import Sample
from autosing.training.task import Tensors
from autosing.training.tasks.waves import WaveConfig, WaveTask


@dataclass(frozen=True, kw_only=True)
class VocoderConfig(WaveConfig):
    """Settings of the vocoders' trainer.

    Attributes:
        generator: `istft` for spectra frame by frame, `hifigan` for transposed convolutions.
        streams: names of columns of tokens that take the place of the mel, with commas between them.
        n_tokens: the most tokens that a stream may have.
        use_f0: give it `f0_hz` and `voiced`.
    """

    generator: Generator = "istft"
    streams: str = ""
    n_tokens: int = 1024
    use_f0: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_tokens < 1:
            raise UsageError(f"n_tokens is {self.n_tokens}; it must be above 0")

    @property
    def stream_names(self) -> tuple[str, ...]:
        """The columns of tokens."""
        return tuple(name.strip() for name in self.streams.split(",") if name.strip())

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return AUDIO, *self.stream_names, *(("f0_hz", "voiced") if self.use_f0 else ())

    def task(self, manifest: Manifest) -> "VocoderTask":
        """Returns the task on a built set."""
        return VocoderTask(self, manifest)


class VocoderTask(WaveTask):
    """Mels or tokens to waves."""

    config: VocoderConfig

    def network(self) -> Vocoder:
        """Returns the vocoder with random weights."""
        config = self.config
        streams = {name: str(self._rate(name)) for name in config.stream_names}
        n_tokens = config.n_tokens if streams else 0
        return Vocoder(sized_vocoder(config.size, config.generator, self.spec, config.use_f0, streams, n_tokens))

    def contract(self) -> Mapping[str, Any]:
        """Returns the mel, rates and definitions of what it is given, and the codebooks behind its tokens."""
        return {**super().contract(), "artefacts": self.artefacts if self.config.streams else {}}

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns waves, F0 of their samples, tokens and noise, side by side."""
        batch, hop = super().collate(samples, training=training), self.spec.hop
        frames = batch.arrays["frames"].tolist()
        arrays: dict[str, npt.NDArray[Any]] = dict(batch.arrays)
        noises = [s.rng("noise").standard_normal(n * hop, np.float32) for s, n in zip(samples, frames, strict=True)]
        arrays["noise"] = pad_stack(noises)
        if self.config.use_f0:
            f0 = [self._f0(sample, n * hop) for sample, n in zip(samples, frames, strict=True)]
            arrays["f0_hz"] = pad_stack(f0)
            arrays["period_s"] = pad_stack([periods(one, hop) for one in f0])
            arrays["start_turns"] = np.array([s.rng("phase").random() if training else 0.0 for s in samples])
        for name in self.config.stream_names:
            tokens = [self._tokens(sample, name) for sample in samples]
            arrays[name] = pad_stack(tokens)
            at = [
                tokens_at(n, self.spec.rate, len(found), self._rate(name))
                for n, found in zip(frames, tokens, strict=True)
            ]
            arrays[f"{name}_at"] = pad_stack(at)
        return replace(batch, arrays=arrays)

    def made(self, network: Vocoder, batch: Tensors) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Returns waves (B, T)."""
        inputs = dict(batch)
        if not self.config.streams:
            inputs["mel"] = log_mel_torch(batch["audio"], self.spec).transpose(1, 2)
        if self.config.use_f0:
            inputs["pulses"], _ = pulses(batch["f0_hz"], self.spec.sample_rate, batch["start_turns"])
        return network(inputs), {}

    def _f0(self, sample: Sample, n_samples: int) -> npt.NDArray[np.float32]:
        times = (np.arange(n_samples) + 0.5) * float(self._rate("f0_hz")) / self.spec.sample_rate - 0.5
        return sample_f0(sample.series["f0_hz"], sample.series["voiced"], times)

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

    def _rate(self, name: str) -> Fraction:
        rate = self.column_of[name].rate
        assert rate is not None
        return rate
