"""The trainer of conversion models: a coarse mel, and a diffusion of what it leaves open. Its model is a teacher."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from autosing.models.acoustic import Size
from autosing.models.denoisers import DenoiserName
from autosing.models.directory import LoadedModel
from autosing.models.svc import PitchName, SvcModel, svc_widths
from autosing.models.svc_sampling import Sampling
from autosing.signal.errors import UsageError
from autosing.training.look import Look
from autosing.training.manifest import Manifest
from autosing.training.sample import Sample
from autosing.training.task import Phase, Tensors
from autosing.training.tasks.conversion import ConversionConfig, ConversionTask, Given, drawn
from autosing.training.tasks.conversion_figures import Drawn
from autosing.training.tasks.singer_input import SingerName
from autosing.training.tasks.svc_losses import ssim_errors
from autosing.training.tuning import take_singers

# By what a normal distribution's mean distance from its mean is multiplied to be its spread. The spread is learned from
# mean distances (Laplace's likelihood), not squares: by those, few frames at ends of sounds made all of it too wide.
MEAN_TO_SPREAD = math.sqrt(math.pi / 2)
PRIOR, SPREAD, SSIM, DIFFUSION = "prior", "spread", "ssim", "diffusion"


@dataclass(frozen=True, kw_only=True)
class SvcConfig(ConversionConfig):
    """Settings of the trainer of conversion models.

    Attributes:
        size: of the model.
        content: columns that tell what is sung; several are added up, as Whisper's features and ContentVec's.
        pitch: how F0 is told: continuous as `waves`, in quarter-semitone `bins`, or `none`.
        use_energy: give the model `energy`.
        singer: by a `table` of those in the set, by the column `singer_embedding` (any singer), or `none`.
        n_tokens: of the largest codebook of a content of tokens.
        denoiser: `bidilconv`, gated dilated convolutions, or `dit`, a transformer.
        reach: frames on either side that attention sees in a layer.
        dropout: in the conformer; what it takes away is left open, too, and mels are drawn the rougher for it.
        prior_weight: of the squared error of the coarse mel.
        ssim_weight: of its likeness in structure.
        diffusion_weight: of the denoiser's error.
        valid_steps: steps in which the mels of validations are drawn.
    """

    size: Size = "small"
    content: tuple[str, ...] = ("soft_units",)
    pitch: PitchName = "waves"
    use_energy: bool = True
    singer: SingerName = "table"
    n_tokens: int = 1024
    denoiser: DenoiserName = "bidilconv"
    reach: int = 48
    dropout: float = 0.0
    prior_weight: float = 1.0
    ssim_weight: float = 0.1
    diffusion_weight: float = 1.0
    valid_steps: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_above_0("n_tokens", "reach", "valid_steps", "diffusion_weight", "prior_weight")
        self.require_not_below_0("ssim_weight")
        if not self.content or len(set(self.content)) < len(self.content):
            raise UsageError(f"content is {', '.join(self.content) or 'empty'}; name each column once, at least one")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}; it must be from 0 to below 1")

    @property
    def given(self) -> Given:
        """What the model is given."""
        return Given(self.content, self.pitch != "none", self.use_energy, self.singer)

    def task(self, manifest: Manifest) -> "SvcTask":
        """Returns the task on a built set."""
        return SvcTask(self, manifest)


class SvcTask(ConversionTask[SvcModel]):
    """Squared error and SSIM of the coarse mel, and the diffusion of the rest."""

    metric: ClassVar[str] = "mel_l1"
    overfit_bound: ClassVar[float] = 0.4
    growing: ClassVar[tuple[str, ...]] = ("singers.weight", "f0_medians_hz")
    readouts: ClassVar[tuple[str, ...]] = ("coarse", "log_spread", "denoiser.out")
    config: SvcConfig

    def __init__(self, config: SvcConfig, manifest: Manifest) -> None:
        super().__init__(config, manifest)

    def build(self) -> SvcModel:
        """Returns the model with random weights."""
        config = self.config
        return SvcModel(
            self.fields(
                tokens=dict.fromkeys(self.tokens, config.n_tokens),
                pitch=config.pitch,
                reach=config.reach,
                denoiser=config.denoiser,
                dropout=config.dropout,
                **svc_widths(config.size, config.denoiser),
            )
        )

    def initialise(self, model: SvcModel, samples: Iterable[Sample]) -> None:
        """Takes mean and spread of the mel's bands, and the singers' pitch, from samples all over the training data."""
        read = list(samples)
        model.scale.measure(np.concatenate([sample.series["mel"].astype(np.float32) for sample in read]))
        self.measure_pitch(model, read)

    def adopt(self, model: SvcModel, base: LoadedModel, samples: Iterable[Sample]) -> None:
        """Takes over a trained model; its singers keep their rows, new ones begin as nobody in particular.

        Raises:
            CheckpointError: it is of another kind, size or contract.
        """
        super().adopt(model, base, samples)
        take_singers(model.singers, base, self.singer_rows)
        self.measure_pitch(model, samples)

    def phases(self) -> Sequence[Phase]:
        """Returns the one turn, with the weights of the losses."""
        config = self.config
        weights = {PRIOR: config.prior_weight, SSIM: config.ssim_weight, DIFFUSION: config.diffusion_weight}
        return (Phase(weights=weights),)

    @property
    def counted(self) -> Sequence[str]:
        """The losses, each of which is summed over the values of mels."""
        return PRIOR, SPREAD, SSIM, DIFFUSION

    def losses(self, model: SvcModel, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns half the squared error and 1 - SSIM of the coarse mel, and errors of its spread and the denoiser."""
        known = model.known(batch)
        normal_BFM = model.scale.normal(batch["mel"]) * known.mask
        open_BFM = model.open_part(normal_BFM, known)
        apart_BFM = (normal_BFM - known.coarse.detach()) * (-known.log_spread).exp()
        level_B = model.noise.drawn(len(open_BFM), open_BFM.device)
        noisy_BFM = open_BFM + level_B[:, None, None] * torch.randn_like(open_BFM)
        missed_BFM = (model.denoise(known)(noisy_BFM, level_B) - open_BFM) * known.mask
        return {
            PRIOR: 0.5 * (known.coarse - normal_BFM).square().sum(),
            SPREAD: ((known.log_spread + MEAN_TO_SPREAD * apart_BFM.abs()) * known.mask).sum(),
            SSIM: ssim_errors(known.coarse, normal_BFM, known.mask).sum(),
            DIFFUSION: (model.noise.weight(level_B)[:, None, None] * missed_BFM.square()).sum(),
        }

    def validate(self, model: SvcModel, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns figures of drawn mels, and of the coarse ones, which end with `_coarse`."""
        found = Drawn(self.spec)
        for batch in batches:
            found.add(batch, {way: drawn(model, batch, how) for way, how in self._ways().items()})
        return found.figures()

    def look(self, model: SvcModel, batch: Tensors) -> Look:
        """Returns target, coarse mel and drawn mel of the first sample."""
        ways = self._ways()
        return self.look_at(model, batch, {"coarse": ways["_coarse"], f"{self.config.valid_steps} steps": ways[""]})

    def _ways(self) -> dict[str, Sampling]:
        return {"": Sampling(self.config.valid_steps), "_coarse": Sampling(0)}
