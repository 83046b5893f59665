"""The trainer of students, which convert in one to four calls what their teacher takes many steps for."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from autosing.models.diffusion import Solver, step
from autosing.models.directory import LoadedModel, check_contract
from autosing.models.distillation import Distillation
from autosing.models.svc import Known, SvcFields, SvcModel
from autosing.models.svc_sampling import Sampling
from autosing.signal.errors import CheckpointError, UsageError
from autosing.training.look import Look
from autosing.training.manifest import Manifest
from autosing.training.sample import Sample
from autosing.training.task import FREE, Phase, Tensors
from autosing.training.tasks.conversion import ConversionConfig, ConversionTask, Given, drawn
from autosing.training.tasks.conversion_figures import Drawn

Objective = Literal["consistency", "easy", "trajectory"]
LOSS = "distance"
CALLS, TEACHER = (1, 2, 4), "_teacher"
# How far the two levels of `easy` are apart at first: half of the higher one; each stage halves it again.
STAGES = 6
# Spread of the levels that `easy` learns from: wide enough that the highest, where one call begins, are among them.
WIDE_MEAN, WIDE_SPREAD = 0.0, 2.0


@dataclass(frozen=True, kw_only=True)
class StudentConfig(ConversionConfig):
    """Settings of the trainer of students. `begin_from` is the teacher.

    Attributes:
        objective: `consistency`, as CoMoSVC's: a student's answers along one step of the teacher are the same (Song et
            al., 2023); `easy`, the same without the teacher's steps, from levels that draw nearer (ECT; Geng et al.,
            2024); `trajectory`, what the teacher's solver comes to from noise, at every level on its way (Luhman and
            Luhman, 2021, for all levels).
        solver: of the teacher's steps.
        grid: levels of `consistency`, or steps of the teacher of `trajectory`.
        first_grid: levels of `consistency` at the beginning; they double until there are `grid`.
        target_decay: of the average that `consistency` aims at, when there are `first_grid` levels; with more of them
            it moves more slowly.
        teacher_steps: in which the teacher draws mels for validations.
    """

    objective: Objective = "consistency"
    solver: Solver = "heun"
    grid: int = 40
    first_grid: int = 10
    target_decay: float = 0.9
    teacher_steps: int = 18

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_above_0("teacher_steps", "grid")
        if self.objective == "consistency" and not 2 <= self.first_grid <= self.grid:
            raise UsageError(f"first_grid is {self.first_grid} and grid {self.grid}; give 2 <= first_grid <= grid")
        if not 0 <= self.target_decay < 1:
            raise UsageError(f"target_decay is {self.target_decay}; it must be from 0 to below 1")

    @cached_property
    def teacher_fields(self) -> SvcFields:
        """The fields of the teacher, as its directory tells them."""
        from autosing.models.hub import model_folder
        from autosing.signal.checkpoint import Checkpoint

        if not self.begin_from:
            raise UsageError("svc_student has no teacher; give one that `autosing train svc` made with --from MODEL")
        config = Checkpoint(str(model_folder(self.begin_from))).config
        if config.get("class") != "svc" or config["fields"].get("distilled"):
            raise UsageError(f"--from {self.begin_from} is no teacher: give what `autosing train svc` made")
        return SvcFields(**config["fields"])

    @property
    def given(self) -> Given:
        """What the model is given: what the teacher is."""
        if not self.begin_from:
            return Given(("soft_units",), True, True, "table")
        return Given.of(vars(self.teacher_fields))

    def task(self, manifest: Manifest) -> "StudentTask":
        """Returns the task on a built set; raises UsageError where there is no teacher."""
        assert self.teacher_fields
        return StudentTask(self, manifest)

    def levels_at(self, done: int) -> int:
        """Returns how many levels `consistency` has after so many steps: doubled at even intervals (iCT, eq. 5)."""
        # The last of them ends at `grid`, which need not be a doubling.
        doublings = math.ceil(math.log2(self.grid / self.first_grid))
        each = max(self.steps / (doublings + 1), 1)
        return int(min(self.first_grid * 2 ** int(done / each), self.grid))

    def decay_at(self, done: int) -> float:
        """Returns the decay of the average that is aimed at (Song et al., 2023, section 6)."""
        if not self.target_decay:
            return 0.0
        return math.exp(self.first_grid * math.log(self.target_decay) / self.levels_at(done))


class StudentTask(ConversionTask[Distillation]):
    """A student's distance from what it should answer.

    Raises:
        UsageError: there is no teacher.
    """

    metric: ClassVar[str] = "fd_mel_1"
    overfit_bound: ClassVar[float] = 25.0
    config: StudentConfig

    def __init__(self, config: StudentConfig, manifest: Manifest) -> None:
        super().__init__(config, manifest)

    def build(self) -> Distillation:
        """Returns student, teacher and average with random weights."""
        return Distillation(self.config.teacher_fields)

    def initialise(self, model: Distillation, samples: Iterable[Sample]) -> None:
        """Is never called: a student begins from its teacher."""
        raise UsageError("svc_student has no teacher; give one with --from MODEL")

    def adopt(self, model: Distillation, base: LoadedModel, samples: Iterable[Sample]) -> None:
        """Takes over the teacher.

        Raises:
            CheckpointError: it was trained for other columns or singers.
        """
        told = [{k: v for k, v in c.items() if k not in FREE} for c in (base.contract, self.contract())]
        check_contract("begin_from: the teacher", told[0], told[1], exact=True)
        if list(base.contract.get("singers", ())) != list(self.singers):
            raise CheckpointError(
                f"begin_from: the teacher's singers are {', '.join(base.contract.get('singers', ()))}, and the set's "
                f"{', '.join(self.singers)}; distil on the teacher's set, or fine-tune the teacher on this one first"
            )
        assert isinstance(base.model, SvcModel)
        model.begin(base.model)

    def kept(self, model: Distillation) -> nn.Module:
        """Returns the student."""
        return model.student

    def phases(self) -> Sequence[Phase]:
        """Returns the turn of the student's denoiser."""
        return (Phase(modules=("student.denoiser",)),)

    @property
    def counted(self) -> Sequence[str]:
        """The loss, which is summed over the values of mels."""
        return (LOSS,)

    def losses(self, model: Distillation, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns the weighted squared distance of the student's answers from what they should be."""
        with torch.no_grad():
            known = model.student.known(batch)
            normal_BFM = model.student.scale.normal(batch["mel"]) * known.mask
            open_BFM = model.student.open_part(normal_BFM, known)
            noisy_BFM, level_B, wanted_BFM, weight_B = self._asked(model, known, open_BFM)
        answer_BFM = model.student.denoise(known)(noisy_BFM, level_B)
        missed_BFM = (answer_BFM - wanted_BFM) * known.mask
        return {LOSS: (weight_B[:, None, None] * missed_BFM.square()).sum()}

    def _asked(self, model: Distillation, known: Known, open_BFM: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns noisy values, their level, what the student should answer, and how much it counts."""
        ask = {"consistency": self._consistent, "easy": self._easy, "trajectory": self._on_the_way}
        return ask[self.config.objective](model, known, open_BFM)

    def _consistent(self, model: Distillation, known: Known, open_BFM: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        noise, n = model.student.noise, self.config.levels_at(int(model.steps))
        place_B = torch.randint(1, n, (len(open_BFM),), device=open_BFM.device)
        level_B, lower_B = (noise.between(place / (n - 1)) for place in (place_B, place_B - 1))
        noisy_BFM = open_BFM + level_B[:, None, None] * torch.randn_like(open_BFM)
        reached_BFM = step(model.by_teacher(known), noisy_BFM, level_B, lower_B, self.config.solver)
        return noisy_BFM, level_B, model.by_target(known)(reached_BFM, lower_B), torch.ones_like(level_B)

    def _easy(self, model: Distillation, known: Known, open_BFM: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        noise = model.student.noise
        level_B = (WIDE_MEAN + WIDE_SPREAD * torch.randn(len(open_BFM), device=open_BFM.device)).exp()
        level_B = level_B.clamp(1.01 * noise.lowest, noise.highest)
        stage = 1 + int(STAGES * int(model.steps) / self.config.steps)
        # Levels near none are drawn nearer, where answers change fastest (Geng et al., eq. 19).
        apart_B = (0.5**stage * (1 + 8 * torch.sigmoid(-level_B))).clamp(max=1)
        lower_B = (level_B * (1 - apart_B)).clamp(min=noise.lowest)
        drawn_BFM = torch.randn_like(open_BFM)
        noisy_BFM, lower_BFM = (open_BFM + at[:, None, None] * drawn_BFM for at in (level_B, lower_B))
        wanted_BFM = model.student.denoise(known)(lower_BFM, lower_B)
        return noisy_BFM, level_B, wanted_BFM, (level_B / (level_B - lower_B)).clamp(max=2.0**STAGES)

    def _on_the_way(self, model: Distillation, known: Known, open_BFM: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        levels = model.student.noise.levels(self.config.grid)
        denoise, x = model.by_teacher(known), torch.randn_like(open_BFM) * levels[0]
        passed = [x]
        for level, after in zip(levels, [*levels[1:], 0.0], strict=True):
            level_B, next_B = (x.new_full((len(x),), value) for value in (level, after))
            x = step(denoise, x, level_B, next_B, self.config.solver if after else "euler")
            passed.append(x)
        # Half of the samples are asked from the start, where one call begins; the others anywhere on the way.
        place_B = torch.randint(0, len(levels), (len(x),), device=x.device)
        place_B = torch.where(torch.rand(len(x), device=x.device) < 0.5, 0, place_B)
        noisy_BFM = torch.stack(passed[:-1])[place_B, torch.arange(len(x), device=x.device)]
        level_B = torch.tensor(levels, device=x.device)[place_B]
        return noisy_BFM, level_B, x, torch.ones_like(level_B)

    def after_step(self, model: Distillation, step: int) -> None:
        """Moves the average that is aimed at."""
        model.follow(self.config.decay_at(step) if self.config.objective == "consistency" else 0.0)

    def validate(self, model: Distillation, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns figures of one, two and four calls, of the teacher, and how far each is from the teacher's."""
        teacher, found = _teacher_of(model), Drawn(self.spec)
        for batch in batches:
            mels = {f"_{n}": drawn(model.student, batch, Sampling(n)) for n in CALLS}
            found.add(batch, mels | {TEACHER: drawn(teacher, batch, Sampling(self.config.teacher_steps))})
        figures = found.figures()
        what = [name.removesuffix(TEACHER) for name in figures if name.endswith(TEACHER)]
        gaps = {f"{w}_{n}_minus_teacher": figures[f"{w}_{n}"] - figures[f"{w}{TEACHER}"] for w in what for n in CALLS}
        return figures | gaps

    def look(self, model: Distillation, batch: Tensors) -> Look:
        """Returns target, and mels of one and four calls, of the first sample."""
        return self.look_at(model.student, batch, {f"{n} calls": Sampling(n) for n in (1, 4)})


def _teacher_of(model: Distillation) -> SvcModel:
    """Returns the teacher as a model of its own, which shares all but its fields."""
    from dataclasses import replace

    teacher = SvcModel(replace(model.student.fields, distilled=False)).to(model.steps.device)
    teacher.load_state_dict(model.student.state_dict())
    teacher.denoiser.load_state_dict(model.teacher.state_dict())
    return teacher.eval()
