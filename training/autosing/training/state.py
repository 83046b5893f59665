"""The state of a run on disk: safetensors and JSON, one folder per step, complete or not at all."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autosing.models.directory import read_safetensors
from autosing.models.folder import whole_folder
from autosing.signal.errors import CheckpointError
from autosing.training.ema import Ema
from autosing.training.optimisers import Turn
from autosing.training.order import START, Position

TENSORS = "state.safetensors"
FACTS = "state.json"


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: optimiser steps done.
        position: in the data, of what was consumed.
        best: the best validation metric so far.
        stale: validations since then.
        window: losses and gradient norms of the steps since the last line of the log.
    """

    step: int = 0
    position: Position = START
    best: float | None = None
    stale: int = 0
    window: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """What training changes: everything that a state must hold besides the progress.

    Random generators are none of it: each microbatch seeds them from the run's seed and its place in the run.
    """

    model: nn.Module
    turns: Sequence[Turn]
    ema: Ema | None

    @property
    def optimisers(self) -> list[torch.optim.Optimizer]:
        """All optimisers; no two move one parameter."""
        return [optimiser for turn in self.turns for optimiser in turn.optimisers]


def save_state(
    checkpoints: Path, trained: Trained, progress: Progress, keep_last: int, origin: Mapping[str, Any]
) -> Path:
    """Writes the state of a step and removes all but the last states; returns its folder.

    Args:
        checkpoints: the folder of the states.
        trained: what is stored.
        progress: how far the run is.
        keep_last: how many states are kept.
        origin: what the run is of: recipe, data digest, versions; stored beside, for people.
    """
    from safetensors.torch import save_file

    folder = checkpoints / f"step-{progress.step:08d}"
    if folder.exists():
        return folder
    tensors = {**_model_tensors(trained), **_optimiser_tensors(trained)}
    facts = {"progress": asdict(progress), "origin": dict(origin)}
    with whole_folder(folder) as draft:
        # A copy each: on CUDA an LSTM's weights share one storage, which the format does not allow.
        save_file({name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}, draft / TENSORS)
        (draft / FACTS).write_text(json.dumps(facts))
    for old in (*saved_states(checkpoints)[:-keep_last], *checkpoints.glob(".step-*")):
        shutil.rmtree(old)
    return folder


def saved_states(checkpoints: Path) -> list[Path]:
    """Returns the folders of the states of a run, oldest first."""
    return sorted(checkpoints.glob("step-*"))


def load_state(folder: Path, trained: Trained) -> Progress:
    """Brings model, optimisers and average to a stored state; returns the progress.

    Raises:
        CheckpointError: the state is damaged or of another model.
    """
    way_out = f"remove {folder} to go on from the state before it, or start a new folder"
    tensors = {name: torch.from_numpy(array) for name, array in read_safetensors(folder / TENSORS, way_out).items()}
    try:
        facts = json.loads((folder / FACTS).read_text())
        _restore_model(trained, tensors)
        for optimiser in trained.optimisers:
            _restore_optimiser(optimiser, trained.model, tensors)
        progress = Progress(**facts["progress"])
    except (KeyError, ValueError, TypeError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{folder} is no state of this run ({error}); {way_out}") from error
    progress.position = Position(*progress.position)
    return progress


def _model_tensors(trained: Trained) -> dict[str, Tensor]:
    tensors = {f"model/{name}": tensor for name, tensor in trained.model.state_dict().items()}
    if trained.ema:
        tensors |= {f"ema/{name}": tensor for name, tensor in trained.ema.shadow.items()}
    return tensors


def _optimiser_tensors(trained: Trained) -> dict[str, Tensor]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in trained.model.named_parameters()}
    return {
        f"optimiser/{names[parameter]}/{field}": tensor
        for optimiser in trained.optimisers
        for parameter, state in optimiser.state.items()
        for field, tensor in state.items()
    }


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)}


def _restore_model(trained: Trained, tensors: Mapping[str, Tensor]) -> None:
    trained.model.load_state_dict(_part(tensors, "model/"))
    if trained.ema:
        for name, shadow in trained.ema.shadow.items():
            shadow.copy_(tensors[f"ema/{name}"])


def _restore_optimiser(optimiser: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    ordered = [names[p] for group in optimiser.param_groups for p in group["params"]]
    state = {i: _part(tensors, f"optimiser/{name}/") for i, name in enumerate(ordered)}
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": {i: s for i, s in state.items() if s}, "param_groups": groups})
