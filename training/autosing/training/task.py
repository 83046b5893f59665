"""What a trainer must say of itself; the one loop does the rest."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from autosing.models.directory import check_contract, load_model
from autosing.signal.errors import UsageError
from autosing.training.files import DEFAULT_CACHE_GB
from autosing.training.loader import Batch
from autosing.training.look import Look
from autosing.training.manifest import Manifest
from autosing.training.packing import Rows
from autosing.training.ranks import Device
from autosing.training.sample import Sample
from autosing.training.schedule import Schedule
from autosing.training.tuning import take_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

    from autosing.models.directory import LoadedModel

Model = TypeVar("Model", bound="nn.Module")
Tensors = Mapping[str, "Tensor"]
OptimiserName = Literal["adamw", "muon"]


@dataclass(frozen=True, kw_only=True)
class RunConfig(ABC):
    """The settings that every run has; each trainer adds its own.

    Attributes:
        begin_from: a model directory or hub id whose weights the run begins with, for fine-tuning; "" begins anew.
        steps: optimiser steps of the whole run.
        seconds_per_batch: seconds of audio in a microbatch, padding included.
        microbatches: microbatches whose gradients are added up for a step, over all processes together.
        crop_s: longer samples are read as a random stretch of this length; 0 reads them whole.
        optimiser: `adamw`, or `muon` for the matrices of linear layers and AdamW for the rest.
        lr: highest learning rate.
        schedule: of the learning rate after the warm-up.
        warmup_steps: steps in which the learning rate rises from 0.
        weight_decay: of matrices; vectors (biases, norms) have none.
        clip_norm: gradients longer than this are shortened to it.
        ema_decay: of the averaged weights that are validated and kept; 0 keeps the weights themselves.
        seed: of weights, order, crops and dropout.
        compile: compile the losses for shapes of batches that recur.
        readers: processes that read, for each process that trains; 0 is one thread.
        cache_gb: how much of the local disk remote sets may take.
        device: `auto` is CUDA where there is one.
        peak_tflops: of one device, for the log's MFU; 0 takes the data sheet's for bf16, where the device is known.
        log_every: steps between lines of the log.
        validate_every: steps between validations.
        validate_samples: samples of the split `valid` that are looked at.
        patience: validations without a better metric after which the run ends; 0 goes on to the last step.
        save_every: steps between training states.
        keep_last: training states that are kept.
    """

    begin_from: str = ""
    steps: int = 20_000
    seconds_per_batch: float = 80.0
    microbatches: int = 1
    crop_s: float = 0.0
    optimiser: OptimiserName = "adamw"
    lr: float = 1e-3
    schedule: Schedule = "cosine"
    warmup_steps: int = 200
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_decay: float = 0.0
    seed: int = 0
    compile: bool = False
    readers: int = 0
    cache_gb: float = DEFAULT_CACHE_GB
    device: Device = "auto"
    peak_tflops: float = 0.0
    log_every: int = 50
    validate_every: int = 500
    validate_samples: int = 64
    patience: int = 0
    save_every: int = 500
    keep_last: int = 2

    def __post_init__(self) -> None:
        self.require_above_0("steps", "seconds_per_batch", "microbatches", "lr", "clip_norm", *COUNTED)
        self.require_not_below_0(*NOT_NEGATIVE)
        if 0 < self.crop_s < SHORTEST_CROP_S:
            raise UsageError(f"crop_s is {self.crop_s}; it must be 0, for whole samples, or at least {SHORTEST_CROP_S}")
        if self.ema_decay >= 1:
            raise UsageError(f"ema_decay is {self.ema_decay}; it must be below 1, for example 0.999, or 0 for none")

    def require_above_0(self, *names: str) -> None:
        """Raises UsageError where one of the settings is not above 0."""
        for name in names:
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above 0")

    def require_not_below_0(self, *names: str) -> None:
        """Raises UsageError where one of the settings is below 0."""
        for name in names:
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must not be below 0")

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample; `audio` is the FLAC member."""

    @abstractmethod
    def task(self, manifest: Manifest) -> "Task[Any]":
        """Returns the task on a built set; raises DataError where the set does not fit."""


SHORTEST_CROP_S = 0.05
# Of a contract, what a model that is fine-tuned may have otherwise; what columns mean, their definitions tell.
FREE = ("artefacts", "singers", "instances", "columns")
MEASURES = ("cache_gb", "peak_tflops")
COUNTED = ("log_every", "validate_every", "validate_samples", "save_every", "keep_last")
NOT_NEGATIVE = ("crop_s", "warmup_steps", "weight_decay", "ema_decay", "seed", "readers", "patience", *MEASURES)
# What may be changed when a run is resumed: it moves no sample and, but for `steps` and rounding, no weight.
CHANGEABLE = ("steps", "readers", "cache_gb", "device", "compile", "peak_tflops", "patience", *COUNTED)


@dataclass(frozen=True)
class Fade:
    """A weight that moves in a straight line over the first `steps` of a run and then stays; of 0 steps, at `first`."""

    first: float
    last: float
    steps: int

    def at(self, step: int) -> float:
        """Returns the weight of a step, counted from 0."""
        done = min(step / self.steps, 1.0) if self.steps else 0.0
        return (1 - done) * self.first + done * self.last


@dataclass(frozen=True)
class Since:
    """A weight that counts from step `start` of a run on, and not before."""

    weight: float
    start: int

    def at(self, step: int) -> float:
        """Returns the weight of a step, counted from 0."""
        return self.weight if step >= self.start else 0.0


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn in a step: the parameters that it moves, and how much each loss counts for them.

    Attributes:
        name: given to `Task.losses`.
        modules: names of the model's modules whose parameters move; "" is the whole model.
        lr_scale: what the run's learning rate is multiplied with.
        betas: of AdamW.
        weights: of losses by name, 1 where not named; the log has the losses without them.
        start: the first step that has this turn.
        every: steps from one turn to the next.
    """

    name: str = "model"
    modules: tuple[str, ...] = ("",)
    lr_scale: float = 1.0
    betas: tuple[float, float] = (0.9, 0.99)
    weights: Mapping[str, float | Fade | Since] = field(default_factory=dict, hash=False)
    start: int = 0
    every: int = 1

    def is_due(self, step: int) -> bool:
        """Says whether the step that is about to be taken, from 0, has this turn."""
        return step >= self.start and (step - self.start) % self.every == 0

    def weights_at(self, step: int) -> dict[str, float]:
        """Returns how much the losses that are named in `weights` count in a step, from 0."""
        return {name: w.at(step) if isinstance(w, Fade | Since) else w for name, w in self.weights.items()}


class Task(ABC, Generic[Model]):
    """One trainer: its model, its batches, its losses and what is looked at.

    A task holds no model and no tensors, so it travels to reading processes.

    Attributes:
        metric: the validation metric that chooses the best weights.
        higher_is_better: whether a higher metric is a better one.
        overfit_bound: what the metric must get to, or beyond, when four samples are learned by heart.
        readouts: names of the last layers, which Muon leaves to AdamW.
        leaves_unused: whether a step may leave a parameter without gradient, which several processes must expect.
        statistics_samples: how many samples `initialise` is given.
        free: parts of a contract that a model that is fine-tuned may have otherwise.
        growing: names of tables whose rows `adopt` has to see to, as other data may have more of them.
        config: the run's settings.
    """

    metric: ClassVar[str]
    higher_is_better: ClassVar[bool] = False
    overfit_bound: ClassVar[float]
    readouts: ClassVar[tuple[str, ...]] = ()
    leaves_unused: ClassVar[bool] = False
    statistics_samples: ClassVar[int] = 256
    free: ClassVar[tuple[str, ...]] = FREE
    growing: ClassVar[tuple[str, ...]] = ()
    config: RunConfig

    @property
    def shared_rows(self) -> Rows | None:
        """The rows that the samples of a training batch share, of a task that packs them; else None."""
        return None

    @abstractmethod
    def build(self) -> Model:
        """Returns the model with random weights."""

    def initialise(self, model: Model, samples: Iterable[Sample]) -> None:
        """Sets what the model takes from the training data before the first step, such as statistics.

        Args:
            model: with random weights, on the CPU.
            samples: from all over the training data, read as they are asked for.
        """

    def base(self) -> "LoadedModel":
        """Returns the trained model that the run begins with.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        return load_model(self.config.begin_from)

    def adopt(self, model: Model, base: "LoadedModel", samples: Iterable[Sample]) -> None:
        """Takes over the weights and statistics of a trained model before the first step, in place of `initialise`.

        Args:
            model: with random weights, on the CPU.
            base: the trained one.
            samples: from all over the training data, read as they are asked for.

        Raises:
            CheckpointError: it is of another kind, size or contract.
        """
        # Other songs have other singers, and other codebooks where the definitions allow them.
        found, wanted = ({k: c[k] for k in sorted(c) if k not in self.free} for c in (base.contract, self.contract()))
        check_contract("begin_from: the model", found, wanted, exact=True)
        take_weights(self.kept(model), base.model, self.growing)

    def phases(self) -> Sequence[Phase]:
        """Returns the turns of a step in their order; one that moves everything, unless a task says more."""
        return (Phase(),)

    def lr_scales(self, model: Model) -> "Mapping[nn.Parameter, float]":
        """Returns what the learning rate of parameters that AdamW moves is multiplied with; 1 for those not told."""
        return {}

    def kept(self, model: Model) -> "nn.Module":
        """Returns what is averaged and goes to the model directory: the model, or the part that people use."""
        return model

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
    def losses(self, model: Model, batch: "dict[str, Tensor]", phase: str) -> Mapping[str, "Tensor"]:
        """Returns each loss of a phase summed over the elements that `collate` counted.

        Sums and counts are apart, and counts known before the forward pass, so that several microbatches and several
        processes are divided by what they count together. What a phase adds to `batch` (B, ...), without its graph,
        the later phases of the step find there. Randomness of torch, NumPy and Python is seeded before each microbatch.
        Of buffers that change here (running statistics, codebooks), those of the first process are taken by all.
        """

    def after_step(self, model: Model, step: int) -> None:
        """Changes what follows the weights without being trained, after the optimisers' step, from 0; mostly nothing.

        An average that a loss aims at belongs here: in `losses` it would move in validations, too.
        """

    @abstractmethod
    def validate(self, model: Model, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns the metrics over some samples; the model is in evaluation mode."""

    @abstractmethod
    def look(self, model: Model, batch: Tensors) -> Look:
        """Returns pictures and sounds of a batch."""

    def flops_per_token(self, model: Model) -> float:
        """Returns the operations of a training step per token, for MFU; 0 where tokens are not what is computed on.

        For a decoder of N parameters (embeddings aside), L layers, width D and T tokens: 6 N + 12 L D T (PaLM, app. B).
        """
        return 0.0
