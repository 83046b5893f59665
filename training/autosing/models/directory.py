"""Model directories: a model's weights, fields and contract, saved to a directory and built from one again.

No name in a directory is ever imported: its `class` is looked up among the registered models. Directories of plain
arrays (a codebook) are those of `arrays`, told here too. Importing this module loads no torch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autosing.models.arrays import (
    CONFIG,
    COPY_AGAIN,
    WEIGHTS,
    WHAT_IS_ONE,
    Array,
    directory_digest,
    load_tensors,
    read_safetensors,
    save_tensors,
)
from autosing.models.hub import model_folder
from autosing.signal.errors import CheckpointError, UsageError
from autosing.signal.mel import LATER_FIELDS

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "LoadedModel",
    "check_contract",
    "directory_digest",
    "load_model",
    "load_tensors",
    "read_safetensors",
    "register_model",
    "save_model",
    "save_tensors",
]

# What a directory's `class` may say, and the module and class that stand for it.
_MODELS: dict[str, tuple[str, str]] = {
    "acoustic": ("autosing.models.acoustic", "AcousticModel"),
    "aligner": ("autosing.models.aligner", "Aligner"),
    "bigvgan": ("autosing.models.published.bigvgan", "BigVgan"),
    "codec": ("autosing.models.codec", "Codec"),
    "codes_language": ("autosing.models.codes_language", "CodesLanguage"),
    "content": ("autosing.models.content", "ContentEncoder"),
    "hifigan": ("autosing.models.published.hifigan", "PublishedHifiGan"),
    "language": ("autosing.models.language", "TokenLanguage"),
    "multires": ("autosing.models.multires", "MultiResolution"),
    "semantic": ("autosing.models.semantic", "Semantic"),
    "singer": ("autosing.models.singer", "SingerEncoder"),
    "nsf_hifigan": ("autosing.models.published.nsf_hifigan", "NsfHifiGan"),
    "svc": ("autosing.models.svc", "SvcModel"),
    "vocoder": ("autosing.models.vocoder", "Vocoder"),
    "wave_content": ("autosing.models.wave_content", "WaveContentEncoder"),
    "vocos": ("autosing.models.published.vocos", "Vocos"),
}


Shape = tuple[int, ...] | None


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode.

    Attributes:
        model: the network.
        contract: what it was trained for: mel, rates, definitions, singers.
        digest: of the directory it came from.
        training: how it was made (recipe, settings, data, versions, metrics), where that was stored.
    """

    model: "nn.Module"
    contract: Mapping[str, Any]
    digest: str
    training: Mapping[str, Any] | None = None


def register_model(name: str, module: str, qualname: str) -> None:
    """Lets model directories hold a class of any package: `register_model("duet", "my_package.nets", "Duet")`.

    The class has `fields_type`, the dataclass of its fields, is built from an instance of it and keeps it as `fields`.
    Its module is imported when a directory of this name is loaded, not before. A class may have several names; the
    first is the one that is saved.

    Raises:
        UsageError: the name stands for another class.
    """
    known = _MODELS.setdefault(name, (module, qualname))
    if known != (module, qualname):
        raise UsageError(
            f"the model name {name!r} stands for {'.'.join(known)} and can't stand for {module}.{qualname} too; "
            "register the class under another name"
        )


def save_model(
    path: Path, model: "nn.Module", contract: Mapping[str, Any], training: Mapping[str, Any] | None = None
) -> None:
    """Writes a model's weights, its fields and its contract as a directory, replacing what was at `path`.

    Args:
        path: the directory.
        model: of a registered class.
        contract: what a caller must agree to, as JSON: mel, rates, definitions, singers.
        training: how it was made, as JSON: recipe, settings, digest of the data, versions, metrics.

    Raises:
        UsageError: the model's class is not registered.
    """
    tensors = {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
    config = {"class": _name_of(model), "fields": asdict(model.fields), "contract": contract}  # type: ignore[call-overload]
    save_tensors(path, tensors, config if training is None else {**config, "training": training})


def load_model(path: str | Path, expect: Mapping[str, Any] | None = None) -> LoadedModel:
    """Returns the model of a directory, on the CPU and in evaluation mode.

    Args:
        path: the directory, or a Hugging Face id: `org/name`, `org/name@revision`. See `hub.model_folder`.
        expect: the part of the contract that the caller relies on, e.g. `{"mel": {"hop": 256, ...}}`.

    Raises:
        CheckpointError: the directory is damaged, foreign or not to be had, or its contract is another than expected.
    """
    folder = model_folder(path)
    tensors, config = load_tensors(folder)
    contract = _mapping(folder, config, "contract")
    check_contract(f"the model {path}", contract, expect or {})
    model = _build(folder, config.get("class"), _mapping(folder, config, "fields"), tensors)
    training = _mapping(folder, config, "training") if "training" in config else None
    return LoadedModel(model.eval(), contract, directory_digest(folder), training)


def check_contract(
    owner: str, found: Mapping[str, Any], expected: Mapping[str, Any], field: str = "", exact: bool = False
) -> None:
    """Compares a contract with what is expected of it, field by field; `exact` allows nothing beside.

    Raises:
        CheckpointError: names the first field that differs, both values and the ways out.
    """
    unexpected = [name for name in found if name not in expected] if exact else []
    for name, value in {**expected, **dict.fromkeys(unexpected)}.items():
        if isinstance(value, Mapping) and isinstance(found.get(name), Mapping):
            later = LATER_FIELDS if name == "spec" else {}
            check_contract(owner, {**later, **found[name]}, {**later, **value}, f"{field}{name}.", exact)
        elif name not in found or found[name] != value:
            raise CheckpointError(
                f"{owner} was trained with {field}{name} = {found.get(name)!r}, but it is {value!r} here; "
                "use data built with the model's settings, or a model that was trained on this data"
            )


def _mapping(path: Path, config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if "class" not in config:
        raise CheckpointError(f"{path / CONFIG} has no 'class': it holds arrays, not a model; {WHAT_IS_ONE}")
    value = config.get(name)
    if not isinstance(value, Mapping):
        raise CheckpointError(f"{path / CONFIG}: {name} is {value!r}, and a model needs a mapping; {COPY_AGAIN}")
    return value


def _name_of(model: "nn.Module") -> str:
    target = type(model).__module__, type(model).__qualname__
    for name, known in _MODELS.items():
        if known == target:
            return name
    raise UsageError(
        f"{'.'.join(target)} is no registered model, so no directory could be loaded as one; call "
        f"autosing.models.directory.register_model(NAME, {target[0]!r}, {target[1]!r}) first"
    )


def _build(path: Path, name: Any, fields: Mapping[str, Any], tensors: Mapping[str, Array]) -> "nn.Module":
    import torch

    if not isinstance(name, str) or name not in _MODELS:
        known = ", ".join(sorted(_MODELS))
        raise CheckpointError(
            f"{path / CONFIG}: unknown class {name!r}; known: {known}; a class of your own needs `register_model`"
        )
    module, qualname = _MODELS[name]
    try:
        model_type: Any = reduce(getattr, qualname.split("."), import_module(module))
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{path / CONFIG}: its class {name} is registered as {module}.{qualname}, which can't be imported "
            f"({error}); install the package it is in"
        ) from error
    try:
        told = model_type.fields_type(**fields)
        # Shapes alone, without memory: what a foreign file asks for may be more than there is.
        with torch.device("meta"):
            _check_shapes(path, model_type(told), tensors)
        model: nn.Module = model_type(told)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path / CONFIG}: fields of another version of {name} ({error})") from error
    model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    return model


def differing_shapes(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> "list[tuple[str, Shape, Shape]]":
    """Returns name and both shapes of the arrays that two sets of weights do not have alike; None where one is absent.

    Args:
        found: arrays or tensors by name.
        wanted: those that are to be filled.
    """
    shapes = [{name: tuple(array.shape) for name, array in arrays.items()} for arrays in (found, wanted)]
    names = sorted(shapes[0].keys() | shapes[1].keys())
    pairs = [(name, shapes[0].get(name), shapes[1].get(name)) for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _check_shapes(path: Path, model: "nn.Module", tensors: Mapping[str, Array]) -> None:
    for name, found, wanted in differing_shapes(tensors, model.state_dict()):
        raise CheckpointError(
            f"{path / WEIGHTS} does not fit its {CONFIG}: {name} is {'missing' if found is None else found}, "
            f"expected {'no such tensor' if wanted is None else wanted}; {COPY_AGAIN}"
        )
