"""The codec's trainer: a wave to codes of several rates and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from autosing.models.codec import Codec, CodecFields, sized_codec
from autosing.signal.errors import UsageError
from autosing.signal.mel import log_mel_torch
from autosing.training.loader import Batch
from autosing.training.manifest import Manifest
from autosing.training.sample import Sample
from autosing.training.task import Tensors
from autosing.training.tasks.decoded_losses import DECODED_LOSSES, DECODED_WEIGHTS, decoded_losses
from autosing.training.tasks.waves import WaveConfig, WaveTask

COMMITMENT = "commitment"
# Of samples in training: those that have only some of the levels, and those that are not quantised at all, from which
# both ends learn sooner what there is to tell (as Mimi's do; Defossez et al., 2024).
PARTIAL_SHARE, UNQUANTISED_SHARE = 0.35, 0.3


@dataclass(frozen=True, kw_only=True)
class CodecConfig(WaveConfig):
    """Settings of the codec's trainer.

    Attributes:
        down: mel frames to a latent.
        strides: latents to a code of each level, coarse first.
        n_codes: size of each level's codebook.
        code_dim: width of the codes.
        freeze_codes: keep encoder and codebooks of the model that the run begins with; only what decodes them learns.
    """

    down: int = 2
    strides: tuple[int, ...] = (4, 2, 1)
    n_codes: int = 1024
    code_dim: int = 16
    freeze_codes: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_above_0("code_dim")
        if self.freeze_codes and not self.begin_from:
            raise UsageError(
                "freeze_codes keeps the codes of a trained codec, and there is none; give one: --from MODEL"
            )
        # Its fields refuse what makes no codec.
        _ = self.fields

    @property
    def fields(self) -> CodecFields:
        """What the codec is built from."""
        return sized_codec(self.size, self.spec, self.down, self.strides, self.n_codes, self.code_dim, self.use_f0)

    def task(self, manifest: Manifest) -> "CodecTask":
        """Returns the task on a built set."""
        return CodecTask(self, manifest)


class CodecTask(WaveTask):
    """Waves to codes and back."""

    metric: ClassVar[str] = "mel_l1"
    overfit_bound: ClassVar[float] = 0.45
    more_weights: ClassVar[Mapping[str, float]] = {COMMITMENT: 0.25, **DECODED_WEIGHTS}
    config: CodecConfig

    def network(self) -> Codec:
        """Returns the codec with random weights."""
        network = Codec(self.config.fields)
        if self.config.freeze_codes:
            network.freeze_codes()
        return network

    def contract(self) -> Mapping[str, Any]:
        """Returns the mel, and rates and sizes of the codes."""
        rates = [str(rate) for rate in self.config.fields.rates]
        return {**super().contract(), "codes": {"rates": rates, "sizes": [self.config.n_codes] * len(rates)}}

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns waves, and how many levels each sample has; one more than there are is not to be quantised."""
        batch = super().collate(samples, training=training)
        levels = np.array([self._levels(sample, training) for sample in samples], np.int64)
        # Processes add up what they give a codebook, and would wait without end for one that has nothing for it.
        if levels.max() < len(self.config.strides):
            levels[0] = len(self.config.strides)
        frames = batch.counts["mel"]
        return replace(
            batch,
            arrays={**batch.arrays, "levels": levels},
            counts={**batch.counts, **dict.fromkeys((COMMITMENT, *DECODED_LOSSES), frames)},
        )

    def made(self, network: Codec, batch: Tensors) -> tuple[Tensor | None, Mapping[str, Tensor]]:
        """Returns waves (B, T), how far codes are from latents, and the error of the mels inside."""
        mel_BFM = log_mel_torch(batch["audio"], self.spec).transpose(1, 2)
        frames_B, n_frames = batch["frames"], mel_BFM.shape[1]
        period = network.fields.period_frames
        mel_BFM = functional.pad(mel_BFM, (0, 0, 0, -n_frames % period), value=float(np.log(self.spec.floor)))
        latents_BND = network.latents(mel_BFM, frames_B)
        quantised_BND, _, off = network.quantised(latents_BND, frames_B, batch["levels"] if network.training else None)
        is_free_B11 = (batch["levels"] > len(self.config.strides))[:, None, None]
        decoded = network.decoded(torch.where(is_free_B11, latents_BND, quantised_BND), frames_B)
        beyond = -n_frames % period
        period_BF = functional.pad(batch["period_s"], (0, beyond)) if self.config.use_f0 else None
        found = {COMMITMENT: off * frames_B.sum(), **decoded_losses(decoded, mel_BFM, period_BF)}
        if network.training and not self.wants_waves:
            return None, found
        excitation = self.excitation_of(decoded, batch, network.training)
        return network.decoder.wave(decoded, excitation)[:, : n_frames * self.spec.hop], found

    def _levels(self, sample: Sample, training: bool) -> int:
        n_levels = len(self.config.strides)
        rng = sample.rng("levels")
        share = rng.random()
        # What is not quantised teaches the way to codes, and a decoder of codes never hears it.
        unquantised_share = 0.0 if self.config.freeze_codes else UNQUANTISED_SHARE
        if not training or share >= PARTIAL_SHARE + unquantised_share:
            return n_levels
        return int(rng.integers(1, n_levels + 1)) if share < PARTIAL_SHARE else n_levels + 1
