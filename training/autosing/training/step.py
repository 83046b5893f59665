"""One optimiser step: the turns of its phases over the microbatches of this process."""

import random
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from autosing.models.compiling import compiled
from autosing.signal.errors import AutosingError, UsageError
from autosing.training.loader import Batch, Delivery
from autosing.training.optimisers import Turn
from autosing.training.ranks import Ranks
from autosing.training.state import Trained
from autosing.training.task import Task

GRAD_NORM = "grad_norm"
# Shapes of batches that are compiled; others run as they are.
MOST_SHAPES = 32


class Stepper:
    """Takes steps. Nothing in it waits for the device.

    Args:
        task: whose losses are followed.
        trained: what they move.
        ranks: the processes that take the same step.
    """

    def __init__(self, task: Task[Any], trained: Trained, ranks: Ranks) -> None:
        self._task, self._trained, self._ranks = task, trained, ranks
        if task.config.compile:
            # PyTorch's own limit of 8 counts all phases together.
            torch._dynamo.config.recompile_limit = max(len(trained.turns) * MOST_SHAPES, 8)
        self._losses = {turn.phase.name: self._losses_of(turn) for turn in trained.turns}
        self._pieces = 1

    def take(
        self, step: int, lr: float, deliveries: Sequence[Delivery], counts: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """Takes a step; returns this process's part of each loss and the gradients' norms, still on the device.

        Args:
            step: which one, from 0.
            lr: the learning rate before each phase's scale.
            deliveries: the microbatches of this process.
            counts: elements of each loss in the microbatches of all processes.
        """
        batches = [tensors(delivery.batch, self._ranks.device) for delivery in deliveries]
        rows = [delivery.row for delivery in deliveries]
        values: dict[str, Tensor] = {}
        for number, turn in enumerate(self._trained.turns):
            if turn.phase.is_due(step):
                seeds = [(self._task.config.seed, step, row, number) for row in rows]
                with turn.alone():
                    values |= self._turn(turn, lr, batches, seeds, counts, turn.phase.weights_at(step))
        self._task.after_step(self._trained.model, step)
        if self._trained.ema:
            self._trained.ema.update(step)
        return values

    def _turn(
        self,
        turn: Turn,
        lr: float,
        batches: Sequence[dict[str, Tensor]],
        seeds: Sequence[tuple[int, ...]],
        counts: Mapping[str, float],
        weights: Mapping[str, float],
    ) -> dict[str, Tensor]:
        losses = self._backward_in_memory(turn, batches, seeds, counts, weights)
        norm = nn.utils.clip_grad_norm_(turn.parameters, self._task.config.clip_norm)
        turn.move(lr)
        lone = len(self._trained.turns) == 1
        return {**losses, GRAD_NORM if lone else f"{GRAD_NORM}_{turn.phase.name}": norm}

    def _backward_in_memory(self, turn: Turn, *step: Any) -> dict[str, Tensor]:
        """Adds up the gradients; batches that memory cannot hold are halved, from then on and once."""
        try:
            return self._backward(turn, *step)
        except torch.OutOfMemoryError as error:
            # Of several processes the others have begun to average gradients with this one.
            if self._pieces > 1 or self._ranks.size > 1:
                raise AutosingError(
                    f"batches of {self._task.config.seconds_per_batch} s do not fit the memory of "
                    f"{self._ranks.device}{', nor do halves of them' if self._pieces > 1 else ''} ({error}); start a "
                    "new run with a smaller seconds_per_batch and more microbatches, which together are the same step, "
                    "or with a smaller crop_s where single samples do not fit"
                ) from error
        # Outside the handler: the exception's frames hold the tensors that did not fit.
        turn.clear()
        torch.cuda.empty_cache()
        self._pieces = 2
        warnings.warn(
            f"batches of {self._task.config.seconds_per_batch} s do not fit the memory of {self._ranks.device}; they "
            "are halved from here on, which changes the speed and not the result",
            stacklevel=2,
        )
        return self._backward_in_memory(turn, *step)

    def _backward(
        self,
        turn: Turn,
        batches: Sequence[dict[str, Tensor]],
        seeds: Sequence[tuple[int, ...]],
        counts: Mapping[str, float],
        weights: Mapping[str, float],
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        for i, (batch, seed) in enumerate(zip(batches, seeds, strict=True)):
            seed_generators(seed, self._ranks.device)
            pieces = _pieces(batch, self._pieces)
            for k, piece in enumerate(pieces):
                last = i == len(batches) - 1 and k == len(pieces) - 1
                for name, share in self._piece(turn, piece, counts, weights, last).items():
                    losses[name] = losses.get(name, 0) + share
            if len(pieces) > 1:
                batch |= {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
        return losses

    def _piece(
        self,
        turn: Turn,
        batch: dict[str, Tensor],
        counts: Mapping[str, float],
        weights: Mapping[str, float],
        last: bool,
    ) -> dict[str, Tensor]:
        """Adds up the gradients of a batch; those of all processes are averaged with the last one."""
        losses = self._losses[turn.phase.name]
        apart = losses.no_sync() if isinstance(losses, DistributedDataParallel) and not last else nullcontext()
        with apart:
            with self.autocast():
                shares = {name: total / max(_count(counts, name), 1) for name, total in losses(batch).items()}
            weighted = [weights.get(name, 1.0) * share for name, share in shares.items() if weights.get(name, 1.0)]
            # Gradients are averaged over processes; the counts are everyone's, so the sum is wanted.
            (torch.stack(weighted).sum() * self._ranks.size).backward()  # type: ignore[no-untyped-call]
        return {name: share.detach() for name, share in shares.items()}

    def _losses_of(self, turn: Turn) -> nn.Module:
        losses = _Losses(self._task, self._trained.model, turn.phase.name)
        if self._ranks.size == 1:
            return losses
        # Made while only this phase's parameters want gradients, so that it waits for no others.
        with turn.alone():
            return DistributedDataParallel(
                losses,
                gradient_as_bucket_view=True,
                find_unused_parameters=self._task.leaves_unused,
            )

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns a block in which CUDA computes in bf16; a CPU computes in float32."""
        on_cuda = self._ranks.device.type == "cuda"
        return torch.autocast("cuda", torch.bfloat16) if on_cuda else nullcontext()


class _Losses(nn.Module):
    """A task's losses as a module, which is what PyTorch distributes; compiled for shapes that come again."""

    def __init__(self, task: Task[Any], model: nn.Module, phase: str) -> None:
        super().__init__()
        self._task, self._model, self._phase = task, model, phase
        self._met: dict[tuple[torch.Size, ...], int] = {}
        self._compiled = (
            compiled(task.losses, "set compile=false", dynamic=False) if task.config.compile else task.losses
        )

    def forward(self, batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        run = self._compiled if self._comes_again(batch) else self._task.losses
        return run(self._model, batch, self._phase)

    def _comes_again(self, batch: Mapping[str, Tensor]) -> bool:
        """Says whether a shape was met before: compiling what comes once costs more than it gives."""
        if not self._task.config.compile:
            return False
        shape = tuple(tensor.shape for tensor in batch.values())
        known = self._met.get(shape, 0)
        if known == 1 and sum(times > 1 for times in self._met.values()) >= MOST_SHAPES:
            return False
        self._met[shape] = known + 1
        return known > 0


def tensors(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """Returns a batch on the device; the host does not wait for the copy."""
    found = {name: torch.from_numpy(array) for name, array in batch.arrays.items()}
    if device.type == "cpu":
        return found
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in found.items()}


def seed_generators(seed: Sequence[int], device: torch.device) -> None:
    """Seeds torch, NumPy and Python from the run's seed and the place in the run.

    So randomness is no state: it is the same after resuming, and for any number of processes.
    """
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(number)
    np.random.seed(number)
    # `torch.manual_seed` asks for a stack trace where CUDA is not in use: 0.3 ms.
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


def _count(counts: Mapping[str, float], loss: str) -> float:
    if loss not in counts:
        raise UsageError(f"the task gives the loss {loss}, but its batches count only {', '.join(counts)}")
    return counts[loss]


def _pieces(batch: dict[str, Tensor], n: int) -> list[dict[str, Tensor]]:
    """Returns a batch, or its samples in `n` pieces."""
    (size, *others) = {len(tensor) for tensor in batch.values()}
    if n == 1 or size < 2:
        return [batch]
    if others:
        lengths = {name: len(tensor) for name, tensor in batch.items()}
        raise AutosingError(f"a batch cannot be halved: the first axis of its tensors is not the samples ({lengths})")
    cut = {name: torch.tensor_split(tensor, n) for name, tensor in batch.items()}
    return [{name: parts[i] for name, parts in cut.items()} for i in range(n)]
