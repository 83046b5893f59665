"""The optimisers of a run: AdamW, or Muon for matrices and AdamW for the rest, for each turn of a step."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from autosing.signal.errors import UsageError
from autosing.training.task import Phase, RunConfig, Task

# Of a group of parameters: what the learning rate is multiplied with.
LR_SCALE = "lr_scale"


@dataclass(frozen=True)
class Turn:
    """A phase with the parameters that it moves and what moves them."""

    phase: Phase
    parameters: Sequence[nn.Parameter]
    optimisers: Sequence[Optimizer]
    others: Sequence[nn.Parameter]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Spares the other phases' parameters their gradients."""
        for parameter in self.others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self.others:
                parameter.requires_grad_(True)

    def clear(self) -> None:
        """Drops the gradients."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)

    def move(self, lr: float) -> None:
        """Takes a step and drops the gradients."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = lr * self.phase.lr_scale * group.get(LR_SCALE, 1.0)
            optimiser.step()
        self.clear()


def turns(task: Task[Any], model: nn.Module) -> list[Turn]:
    """Returns the turns of a task's step.

    Raises:
        UsageError: a phase names a module that is not there, or two phases move one parameter.
    """
    trained = {phase: _parameters(phase, model) for phase in task.phases()}
    moved = [parameter for parameters in trained.values() for parameter in parameters]
    if len(set(moved)) < len(moved) or len({phase.name for phase in trained}) < len(trained):
        raise UsageError("two phases of the task move the same parameter, or have one name; give each its own")
    muons, scales = _muons(task, model), task.lr_scales(model)
    return [
        Turn(phase, parameters, _optimisers(phase, parameters, task.config, muons, scales), _others(model, parameters))
        for phase, parameters in trained.items()
    ]


def _others(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Returns the parameters that want gradients and are not among these, those that no phase moves included."""
    own = set(parameters)
    return [parameter for parameter in model.parameters() if parameter.requires_grad and parameter not in own]


def _parameters(phase: Phase, model: nn.Module) -> list[nn.Parameter]:
    modules = dict(model.named_modules())
    missing = [name for name in phase.modules if name not in modules]
    if missing:
        raise UsageError(f"the phase {phase.name} moves {missing[0]!r}, which is no module of the model")
    found = {p: None for name in phase.modules for p in modules[name].parameters() if p.requires_grad}
    return list(found)


def _muons(task: Task[Any], model: nn.Module) -> set[nn.Parameter]:
    """Returns the matrices that Muon moves: those of linear layers but the last ones (Jordan et al., 2024)."""
    if task.config.optimiser != "muon":
        return set()
    layers = [module for name, module in model.named_modules() if name not in task.readouts]
    return {cast(nn.Parameter, layer.weight) for layer in layers if isinstance(layer, nn.Linear)}


def _optimisers(
    phase: Phase,
    parameters: Sequence[nn.Parameter],
    config: RunConfig,
    muons: set[nn.Parameter],
    scales: Mapping[nn.Parameter, float],
) -> list[Optimizer]:
    turned = [p for p in parameters if p in muons]
    matrices = [p for p in parameters if p.ndim >= 2 and p not in muons]
    vectors = [p for p in parameters if p.ndim < 2]
    groups = [*_groups(matrices, config.weight_decay, scales), *_groups(vectors, 0.0, scales)]
    optimisers: list[Optimizer] = [AdamW(groups, lr=config.lr, betas=phase.betas, fused=True)]
    if turned:
        # Scaled to AdamW's usual step, so that one learning rate serves both (Liu et al., 2025, eq. 4).
        options = {"weight_decay": config.weight_decay, "adjust_lr_fn": "match_rms_adamw"}
        optimisers.append(Muon(turned, lr=config.lr, **options))  # type: ignore[arg-type]
    return optimisers


def _groups(
    parameters: Sequence[nn.Parameter], weight_decay: float, scales: Mapping[nn.Parameter, float]
) -> list[dict[str, Any]]:
    """Returns groups of AdamW by what their learning rate is scaled with, those that are not scaled first."""
    by_scale: dict[float, list[nn.Parameter]] = {1.0: []}
    for parameter in parameters:
        by_scale.setdefault(scales.get(parameter, 1.0), []).append(parameter)
    # AdamW decays by rate times decay; divided by the scale, weights of all groups decay at one pace.
    return [
        {"params": found, "weight_decay": weight_decay / scale, LR_SCALE: scale} for scale, found in by_scale.items()
    ]
