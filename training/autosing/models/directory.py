"""Model directories: `model.safetensors` beside `config.json`, written in one step and read without trust.

A directory holds a model (`save_model`, `load_model`) or plain arrays such as a codebook (`save_tensors`,
`load_tensors`). Nothing in it is ever unpickled, and no name in it is ever imported: classes come from `MODELS`.
Importing this module loads no torch.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autosing.models.folder import whole_folder
from autosing.signal.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
# What a directory's `class` may say, and the module and class that stand for it; a model class has `fields_type`.
MODELS: Mapping[str, tuple[str, str]] = {"acoustic": ("autosing.models.acoustic", "AcousticModel")}
# How files begin that some toolkits call checkpoints: torch's zip archive and pickle's protocols 2 to 5.
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

_WHAT_IS_ONE = f"a model directory holds {CONFIG} and {WEIGHTS}, as `autosing train` and `autosing fit` write them"
_COPY_AGAIN = "copy the directory again from where it was written, or train the model again"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode with what it was trained for: mel, rates, definitions, singers."""

    model: "nn.Module"
    contract: Mapping[str, Any]
    digest: str


def save_tensors(path: Path, tensors: Mapping[str, Array], config: Mapping[str, Any]) -> None:
    """Writes named arrays and their settings as a directory, replacing what was at `path`.

    The same arrays and settings give the same bytes everywhere.
    """
    from safetensors.numpy import save_file

    with whole_folder(path) as draft:
        save_file({name: np.asarray(array, order="C") for name, array in tensors.items()}, draft / WEIGHTS)
        head = {"format": FORMAT, "weights_sha256": _sha256(draft / WEIGHTS)}
        text = json.dumps({**config, **head}, indent=1, sort_keys=True, allow_nan=False)
        (draft / CONFIG).write_text(text + "\n")


def load_tensors(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Returns the arrays and the settings of a directory.

    Raises:
        CheckpointError: a file is missing, foreign (a pickle, another format), truncated or changed.
    """
    config = _read_config(path)
    weights = path / WEIGHTS
    tensors = read_safetensors(weights)
    if _sha256(weights) != config.pop("weights_sha256", None):
        raise CheckpointError(f"{weights} is not the file that {CONFIG} was written with; {_COPY_AGAIN}")
    del config["format"]
    return tensors, config


def directory_digest(path: Path) -> str:
    """Returns the sha256 of the directory's two files in hex: who has the same digest has the same model."""
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise CheckpointError(f"{path} is not a model directory: it has no {name}; {_WHAT_IS_ONE}")
    return hashlib.sha256("".join(_sha256(path / name) for name in (CONFIG, WEIGHTS)).encode()).hexdigest()


def save_model(path: Path, model: "nn.Module", contract: Mapping[str, Any]) -> None:
    """Writes a model's weights, its fields and its contract as a directory, replacing what was at `path`."""
    tensors = {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
    save_tensors(path, tensors, {"class": _class_name(model), "fields": asdict(model.fields), "contract": contract})  # type: ignore[call-overload]


def load_model(path: Path, expect: Mapping[str, Any] | None = None) -> LoadedModel:
    """Returns the model of a directory, on the CPU and in evaluation mode.

    Args:
        path: the directory.
        expect: the part of the contract that the caller relies on, e.g. `{"mel": {"hop": 256, ...}}`.

    Raises:
        CheckpointError: the directory is damaged or foreign, or its contract is another than expected.
    """
    tensors, config = load_tensors(path)
    try:
        name, fields, contract = config["class"], config["fields"], config["contract"]
    except KeyError as error:
        raise CheckpointError(
            f"{path / CONFIG} has no {error}: it holds arrays, not a model; {_WHAT_IS_ONE}"
        ) from error
    check_contract(f"the model {path}", contract, expect or {})
    model = _build(path, name, fields)
    _fill(path, model, tensors)
    return LoadedModel(model.eval(), contract, directory_digest(path))


def check_contract(owner: str, found: Mapping[str, Any], expected: Mapping[str, Any], field: str = "") -> None:
    """Compares a contract with what is expected of it, field by field.

    Raises:
        CheckpointError: names the first field that differs, both values and the ways out.
    """
    for name, value in expected.items():
        if isinstance(value, Mapping) and isinstance(found.get(name), Mapping):
            check_contract(owner, found[name], value, f"{field}{name}.")
        elif name not in found or found[name] != value:
            raise CheckpointError(
                f"{owner} was trained with {field}{name} = {found.get(name)!r}, but it is {value!r} here; "
                "use data built with the model's settings, or a model that was trained on this data"
            )


def read_safetensors(file: Path, way_out: str = _COPY_AGAIN) -> dict[str, Array]:
    """Returns the arrays of a safetensors file.

    Raises:
        CheckpointError: names the file, says what it is instead and gives the way out.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(file)
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} does not exist; {way_out}") from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{file} {_what_it_is(file)}; {way_out}") from error


def _what_it_is(file: Path) -> str:
    with open(file, "rb") as stream:
        start = stream.read(4)
    if start.startswith(PICKLES):
        return "is a pickle, which can run code when it is opened: it is refused"
    return "is truncated or no safetensors file"


def _read_config(path: Path) -> dict[str, Any]:
    file = path / CONFIG
    try:
        config = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(f"{path} is not a model directory: it has no {CONFIG}; {_WHAT_IS_ONE}") from error
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON ({error}); {_COPY_AGAIN}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else None
        raise CheckpointError(f"{file} is of format {found!r}, and this version reads {FORMAT}; {_WHAT_IS_ONE}")
    return config


def _class_name(model: "nn.Module") -> str:
    known = {target: name for name, target in MODELS.items()}
    return known[type(model).__module__, type(model).__qualname__]


def _build(path: Path, name: str, fields: Mapping[str, Any]) -> "nn.Module":
    if name not in MODELS:
        raise CheckpointError(f"{path / CONFIG}: unknown class {name!r}; known: {', '.join(sorted(MODELS))}")
    module, class_name = MODELS[name]
    model_type = getattr(import_module(module), class_name)
    try:
        model: nn.Module = model_type(model_type.fields_type(**fields))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path / CONFIG}: fields of another version of {name} ({error})") from error
    return model


def _fill(path: Path, model: "nn.Module", tensors: Mapping[str, Array]) -> None:
    import torch

    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: array.shape for name, array in tensors.items()}
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise CheckpointError(
            f"{path / WEIGHTS} does not fit its {CONFIG}: {name} is {found.get(name, 'missing')}, "
            f"expected {wanted.get(name, 'no such tensor')}; {_COPY_AGAIN}"
        )
    model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
