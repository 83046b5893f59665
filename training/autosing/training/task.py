"""What a trainer must say of itself; the one loop does the rest."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from autosing.signal.errors import UsageError
from autosing.training.loader import Batch
from autosing.training.schedule import Schedule
from autosing.training.shards import Manifest, Sample, ShardSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

Model = TypeVar("Model", bound="nn.Module")
Tensors = Mapping[str, "Tensor"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class RunConfig(ABC):
    """The settings that every run has; each trainer adds its own.

    Attributes:
        steps: optimiser steps of the whole run.
        seconds_per_batch: seconds of audio in a microbatch, padding included.
        microbatches: microbatches whose gradients are added up for a step.
        lr: highest learning rate.
        schedule: of the learning rate after the warm-up.
        warmup_steps: steps in which the learning rate rises from 0.
        weight_decay: of matrices; vectors (biases, norms) have none.
        clip_norm: gradients longer than this are shortened to it.
        ema_decay: of the averaged weights that are validated and kept; 0 keeps the weights themselves.
        seed: of weights, order and dropout.
        workers: processes that read; 0 is one thread.
        device: `auto` is CUDA where there is one.
        log_every: steps between lines of the log.
        validate_every: steps between validations.
        validate_samples: samples of the split `valid` that are looked at.
        save_every: steps between training states.
        keep_last: training states that are kept.
    """

    steps: int = 20_000
    seconds_per_batch: float = 80.0
    microbatches: int = 1
    lr: float = 1e-3
    schedule: Schedule = "cosine"
    warmup_steps: int = 200
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_decay: float = 0.0
    seed: int = 0
    workers: int = 0
    device: Device = "auto"
    log_every: int = 50
    validate_every: int = 500
    validate_samples: int = 64
    save_every: int = 500
    keep_last: int = 2

    def __post_init__(self) -> None:
        for name in ("steps", "seconds_per_batch", "microbatches", "lr", "clip_norm", *COUNTED):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("warmup_steps", "weight_decay", "ema_decay", "seed", "workers"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must not be below 0")
        if self.ema_decay >= 1:
            raise UsageError(f"ema_decay is {self.ema_decay}; it must be below 1, for example 0.999, or 0 for none")

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""

    @abstractmethod
    def task(self, manifest: Manifest) -> "Task[Any]":
        """Returns the task on a built set; raises DataError where the set does not fit."""


COUNTED = ("log_every", "validate_every", "validate_samples", "save_every", "keep_last")
# What may be changed when a run is resumed: it moves no sample and, but for `steps`, no weight.
CHANGEABLE = ("steps", "workers", "device", *COUNTED)


class Task(ABC, Generic[Model]):
    """One trainer: its model, its batches, its losses and what is looked at.

    A task holds no model and no tensors, so it travels to reading processes.

    Attributes:
        metric: the validation metric that chooses the best weights; lower is better.
        config: the run's settings.
    """

    metric: ClassVar[str]
    config: RunConfig

    @abstractmethod
    def build(self) -> Model:
        """Returns the model with random weights."""

    def initialise(self, model: Model, shards: ShardSet) -> None:
        """Sets what the model takes from the training data before the first step, such as statistics."""

    @abstractmethod
    def contract(self) -> Mapping[str, Any]:
        """Returns what the model will rely on, for its directory."""

    @abstractmethod
    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns samples side by side, with the number of elements that each loss sums over.

        Args:
            samples: of one batch.
            training: whether augmentation is wanted; its randomness comes from `Sample.rng`.
        """

    @abstractmethod
    def losses(self, model: Model, batch: Tensors) -> Mapping[str, "Tensor"]:
        """Returns each loss summed over the elements that `collate` counted.

        Sums and counts are apart, and counts known before the forward pass, so that several microbatches (and several
        ranks) are divided by what they count together.
        """

    @abstractmethod
    def validate(self, model: Model, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns the metrics over some samples; the model is in evaluation mode."""

    @abstractmethod
    def figures(self, model: Model, batch: Tensors) -> Mapping[str, "Figure"]:
        """Returns pictures of a batch by name."""
