"""The state of a run on disk: safetensors and JSON, one folder per step, complete or not at all."""

import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autosing.models.directory import read_safetensors
from autosing.models.folder import whole_folder
from autosing.signal.errors import CheckpointError
from autosing.training.ema import Ema
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
        window: losses and gradient norms of the steps since the last line of the log.
    """

    step: int = 0
    position: Position = START
    best: float | None = None
    window: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """What training changes: everything that a state must hold besides the progress and the random generators."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    ema: Ema | None


def save_state(checkpoints: Path, trained: Trained, progress: Progress, keep_last: int) -> Path:
    """Writes the state of a step and removes all but the last states; returns its folder."""
    from safetensors.torch import save_file

    tensors = {**_model_tensors(trained), **_optimiser_tensors(trained), **_torch_generators()}
    facts = {"progress": asdict(progress), "python": random.getstate(), "numpy": _numpy_generator()}
    folder = checkpoints / f"step-{progress.step:08d}"
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
    """Brings model, optimiser, average and random generators to a stored state; returns the progress.

    Raises:
        CheckpointError: the state is damaged or of another model.
    """
    way_out = f"remove {folder} to go on from the state before it, or start a new folder"
    tensors = {name: torch.from_numpy(array) for name, array in read_safetensors(folder / TENSORS, way_out).items()}
    try:
        facts = json.loads((folder / FACTS).read_text())
        _restore_model(trained, tensors)
        _restore_optimiser(trained, tensors)
        _restore_generators(facts, tensors)
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
        for parameter, state in trained.optimiser.state.items()
        for field, tensor in state.items()
    }


def _torch_generators() -> dict[str, Tensor]:
    tensors = {"generator/cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        tensors["generator/cuda"] = torch.cuda.get_rng_state()
    return tensors


def _numpy_generator() -> list[Any]:
    name, words, *rest = np.random.get_state(legacy=True)
    return [name, np.asarray(words).tolist(), *rest]


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)}


def _restore_model(trained: Trained, tensors: Mapping[str, Tensor]) -> None:
    trained.model.load_state_dict(_part(tensors, "model/"))
    if trained.ema:
        for name, shadow in trained.ema.shadow.items():
            shadow.copy_(tensors[f"ema/{name}"])


def _restore_optimiser(trained: Trained, tensors: Mapping[str, Tensor]) -> None:
    names: dict[Tensor, str] = {parameter: name for name, parameter in trained.model.named_parameters()}
    ordered = [names[p] for group in trained.optimiser.param_groups for p in group["params"]]
    state = {i: _part(tensors, f"optimiser/{name}/") for i, name in enumerate(ordered)}
    groups = trained.optimiser.state_dict()["param_groups"]
    trained.optimiser.load_state_dict({"state": {i: s for i, s in state.items() if s}, "param_groups": groups})


def _restore_generators(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    version, words, gauss = facts["python"]
    random.setstate((version, tuple(words), gauss))
    name, numbers, *rest = facts["numpy"]
    np.random.set_state((name, np.asarray(numbers, np.uint32), *rest))
    torch.set_rng_state(tensors["generator/cpu"])
    if torch.cuda.is_available() and "generator/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["generator/cuda"])
