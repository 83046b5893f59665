"""The toy with metrics that a test tells it."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor
from toy_gan import ToyGan, ToyGanConfig, ToyGanTask

from autosing.training.manifest import Manifest
from autosing.training.sample import Sample
from autosing.training.task import Tensors


class Judged(ToyGanTask):
    """Has the metrics that it is told, one after the other."""

    told: ClassVar[list[float]] = []
    beside: ClassVar[float | None] = None
    modes: ClassVar[list[tuple[bool, bool]]] = []

    def losses(self, model: ToyGan, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        if phase == "generator":
            self.modes.append((model.generator.training, model.generator.layers[2].training))
        return super().losses(model, batch, phase)

    def validate(self, model: ToyGan, batches: Iterable[Tensors]) -> Mapping[str, float]:
        return {"mel_l1": self.told.pop(0), **({} if self.beside is None else {"beside": self.beside})}


class Frozen(Judged):
    """The same, with a part that stays in evaluation."""

    def initialise(self, model: ToyGan, samples: Iterable[Sample]) -> None:
        model.generator.layers[2].eval()


class JudgedHigh(Judged):
    """The same, where more is better."""

    higher_is_better = True


class JudgedConfig(ToyGanConfig):
    """Settings of `Judged`."""

    kind: ClassVar[type[Judged]] = Judged

    def task(self, manifest: Manifest) -> ToyGanTask:
        return self.kind(self, manifest)


class JudgedHighConfig(JudgedConfig):
    """Settings of `JudgedHigh`."""

    kind = JudgedHigh


class FrozenConfig(JudgedConfig):
    """Settings of `Frozen`."""

    kind = Frozen


def frozen(**settings: Any) -> JudgedConfig:
    """A part is frozen."""
    return FrozenConfig(**settings)


def low(**settings: Any) -> JudgedConfig:
    """Lower is better."""
    return JudgedConfig(**settings)


def high(**settings: Any) -> JudgedConfig:
    """Higher is better."""
    return JudgedHighConfig(**settings)
