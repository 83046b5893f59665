"""A student of one to four calls beside the teacher that it learns from, and the average of itself that it aims at."""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from autosing.models.denoisers import BiDilConv, DiffusionTransformer
from autosing.models.diffusion import Denoise
from autosing.models.svc import Known, SvcFields, SvcModel

Denoiser = BiDilConv | DiffusionTransformer


class Distillation(nn.Module):
    """A student, whose denoiser alone learns; all else is frozen and stays in evaluation, whatever mode is asked for.

    Args:
        fields: of the teacher.
    """

    def __init__(self, fields: SvcFields) -> None:
        super().__init__()
        self.student = SvcModel(replace(fields, distilled=True))
        self.teacher = deepcopy(self.student.denoiser)
        self.target = deepcopy(self.student.denoiser)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.steps: Tensor
        self.requires_grad_(False)
        self.student.denoiser.requires_grad_(True)
        self.train()

    def train(self, mode: bool = True) -> "Distillation":
        """Puts the student's denoiser into a mode; dropout of what is frozen would teach noise."""
        super().train(False)
        self.training = mode
        self.student.denoiser.train(mode)
        return self

    @torch.no_grad()
    def begin(self, trained: SvcModel) -> None:
        """Takes over a teacher: as the student's beginning, as itself, and as the average."""
        self.student.load_state_dict(trained.state_dict())
        for copy in (self.teacher, self.target):
            copy.load_state_dict(trained.denoiser.state_dict())

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Moves the average towards the student; called once after each step of the optimiser, and nowhere else."""
        own: list[Tensor] = list(self.target.parameters())
        others: list[Tensor] = list(self.student.denoiser.parameters())
        torch._foreach_lerp_(own, others, 1 - decay)
        self.steps += 1

    def by_teacher(self, known: Known) -> Denoise:
        """Returns what the teacher says that noisy values are without their noise."""
        return self._by(self.teacher, known, exact=False)

    def by_target(self, known: Known) -> Denoise:
        """Returns what the student's average says."""
        return self._by(self.target, known, exact=True)

    def _by(self, network: Denoiser, known: Known, exact: bool) -> Denoise:
        def called(x_BFM: Tensor, level_B: Tensor) -> Tensor:
            told_BFM: Tensor = network(x_BFM, level_B, known.context, known.mask).float()
            return told_BFM

        return lambda x_BFM, level_B: self.student.noise.denoised(called, x_BFM, level_B, exact) * known.mask
