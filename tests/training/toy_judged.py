"""The toy with metrics that a test tells it."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from toy_gan import ToyGan, ToyGanConfig, ToyGanTask

from autosing.training.manifest import Manifest
from autosing.training.task import Tensors


class Judged(ToyGanTask):
    """Has the metrics that it is told, one after the other."""

    told: ClassVar[list[float]] = []

    def validate(self, model: ToyGan, batches: Iterable[Tensors]) -> Mapping[str, float]:
        return {"mel_l1": self.told.pop(0)}


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


def low(**settings: Any) -> JudgedConfig:
    """Lower is better."""
    return JudgedConfig(**settings)


def high(**settings: Any) -> JudgedConfig:
    """Higher is better."""
    return JudgedHighConfig(**settings)
