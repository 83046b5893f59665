"""A small task with two optimisers, random augmentation and noise, as a vocoder's trainer will have.

Where the environment names a folder in TOY_TRACE, each process writes there what it trains on, batch by batch; where it
names a file in TOY_DIES_ONCE, the process of rank 1 writes it after some batches and is gone.
"""

import hashlib
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from toy_shards import N_MELS, N_UNITS

from autosing.models.acoustic_input import pad_stack
from autosing.models.directory import register_model
from autosing.signal.framing import nearest_frames
from autosing.training.loader import Batch
from autosing.training.look import Look
from autosing.training.manifest import Manifest
from autosing.training.metrics import mel_l1, unpadded
from autosing.training.sample import Sample
from autosing.training.task import Phase, RunConfig, Task, Tensors


@dataclass(frozen=True)
class ToyFields:
    """Sizes of the generator."""

    width: int = 16


class ToyGenerator(nn.Module):
    """Units at mel frames (B, F) to mels (B, F, M)."""

    fields_type = ToyFields

    def __init__(self, fields: ToyFields) -> None:
        super().__init__()
        self.fields = fields
        self.units = nn.Embedding(N_UNITS, fields.width)
        self.layers = nn.Sequential(nn.Linear(fields.width, 32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, N_MELS))

    def forward(self, units_BF: Tensor) -> Tensor:
        mels: Tensor = self.layers(self.units(units_BF))
        return mels


class ToyGan(nn.Module):
    """Generator and discriminator."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.generator = ToyGenerator(ToyFields(width))
        self.discriminator = nn.Sequential(nn.Linear(N_MELS, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))


@dataclass(frozen=True, kw_only=True)
class ToyGanConfig(RunConfig):
    """Settings of the toy.

    Attributes:
        width: of the generator.
        adversarial: weight of what the discriminator says; 0 has none.
    """

    width: int = 16
    adversarial: float = 0.1

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return "units", "mel"

    def task(self, manifest: Manifest) -> "ToyGanTask":
        """Returns the task."""
        manifest.require(self.columns)
        return ToyGanTask(self, manifest)


class ToyGanTask(Task[ToyGan]):
    """Least-squares GAN on single frames, with noise on what the discriminator sees."""

    metric: ClassVar[str] = "mel_l1"
    overfit_bound: ClassVar[float] = 0.6
    readouts: ClassVar[tuple[str, ...]] = ("generator.layers.3", "discriminator.2")

    def __init__(self, config: ToyGanConfig, manifest: Manifest) -> None:
        self.config: ToyGanConfig = config
        self.rates = {name: manifest.columns[name].rate for name in config.columns}

    def build(self) -> ToyGan:
        return ToyGan(self.config.width)

    def phases(self) -> Sequence[Phase]:
        weights = {"adversarial": self.config.adversarial}
        generator = Phase("generator", ("generator",), weights=weights)
        discriminator = Phase("discriminator", ("discriminator",), lr_scale=0.5, betas=(0.5, 0.9), start=2, every=2)
        return (generator, discriminator) if self.config.adversarial else (generator,)

    def kept(self, model: ToyGan) -> nn.Module:
        return model.generator

    def contract(self) -> Mapping[str, Any]:
        return {"rates": {name: str(rate) for name, rate in self.rates.items()}}

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        mels = [sample.series["mel"].astype(np.float32) for sample in samples]
        units = [self._units(sample) for sample in samples]
        louder = [sample.rng("gain").uniform(0, 0.1) if training else 0.0 for sample in samples]
        arrays = {
            "units": pad_stack(units),
            "mel": pad_stack([mel + gain for mel, gain in zip(mels, louder, strict=True)]),
            "frames": np.array([len(mel) for mel in mels]),
        }
        n_frames = sum(len(mel) for mel in mels)
        counts = {"mel_l1": n_frames * N_MELS, "adversarial": n_frames, "discriminator": n_frames}
        return Batch(arrays, counts, tuple(s.key for s in samples), sum(s.info["seconds"] for s in samples), n_frames)

    def losses(self, model: ToyGan, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        mask_BF = torch.arange(batch["mel"].shape[1]) < batch["frames"][:, None]
        if phase == "discriminator":
            real = model.discriminator(batch["mel"] + 0.1 * torch.randn_like(batch["mel"]))[..., 0]
            false = model.discriminator(batch["made"])[..., 0]
            return {"discriminator": (((real - 1).square() + false.square()) * mask_BF).sum()}
        _trace(batch)
        made = model.generator(batch["units"])
        batch["made"] = made.detach()
        losses = {"mel_l1": ((made - batch["mel"]).abs() * mask_BF[..., None]).sum()}
        if self.config.adversarial:
            losses["adversarial"] = ((model.discriminator(made)[..., 0] - 1).square() * mask_BF).sum()
        return losses

    def validate(self, model: ToyGan, batches: Iterable[Tensors]) -> Mapping[str, float]:
        made, true = [], []
        for batch in batches:
            for kept, mels in ((made, model.generator(batch["units"])), (true, batch["mel"])):
                kept.extend(unpadded(mels.numpy(), batch["frames"].numpy()))
        return {"mel_l1": mel_l1(made, true)}

    def look(self, model: ToyGan, batch: Tensors) -> Look:
        return Look()

    def flops_per_token(self, model: ToyGan) -> float:
        return 6.0 * sum(p.numel() for p in model.generator.layers.parameters())

    def _units(self, sample: Sample) -> np.ndarray[Any, Any]:
        units, mel_rate, unit_rate = sample.series["units"], self.rates["mel"], self.rates["units"]
        assert mel_rate and unit_rate
        return units[nearest_frames(len(sample.series["mel"]), mel_rate, len(units), unit_rate)].astype(np.int64)


_batches_seen: list[None] = []


def _trace(batch: Tensors) -> None:
    folder = os.environ.get("TOY_TRACE")
    if folder:
        digest = hashlib.sha256(b"".join(batch[name].numpy().tobytes() for name in ("units", "mel"))).hexdigest()
        with open(Path(folder) / f"rank-{os.environ.get('RANK', '0')}.txt", "a") as file:
            file.write(digest + "\n")
    mark = os.environ.get("TOY_DIES_ONCE")
    if mark and os.environ.get("RANK") == "1" and not Path(mark).exists():
        _batches_seen.append(None)
        if len(_batches_seen) == 4:
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)


def recipe(**settings: Any) -> ToyGanConfig:
    """Units to mels, with a discriminator."""
    return ToyGanConfig(**{"lr": 3e-3, "warmup_steps": 5, **settings})


register_model("toy_gan", "toy_gan", "ToyGenerator")
