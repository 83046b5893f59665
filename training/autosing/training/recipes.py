"""Recipes: named runs as functions, their settings, and `train`, which runs one."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from autosing.signal.errors import CheckpointError, UsageError
from autosing.training.shards import Manifest
from autosing.training.task import CHANGEABLE, RunConfig

if TYPE_CHECKING:
    from autosing.training.loop import OnStep, RunResult
    from autosing.training.tasks.acoustic import AcousticConfig

RUN = "run.json"

Config = TypeVar("Config", bound=RunConfig)


def acoustic(**settings: Any) -> "AcousticConfig":
    """Units with F0, energy and singer to mels, all frames at once."""
    from autosing.training.tasks.acoustic import AcousticConfig

    return AcousticConfig(**settings)


def soft_vc(**settings: Any) -> "AcousticConfig":
    """Units alone to mels with Soft-VC's LSTM decoder, widths and learning rate."""
    original = {"size": "base", "decoder": "lstm", "lr": 4e-4, "schedule": "constant", "weight_decay": 1e-5}
    return acoustic(**{**original, "use_f0": False, "use_energy": False, "use_singer": False, **settings})


RECIPES: Mapping[str, Callable[..., RunConfig]] = {"acoustic": acoustic, "soft_vc": soft_vc}


@dataclass(frozen=True)
class RecipeInfo:
    """What `autosing train --list` says of a recipe: its columns, and type and value of its settings."""

    name: str
    summary: str
    columns: tuple[str, ...]
    settings: Mapping[str, tuple[str, Any]]


def describe_recipes() -> list[RecipeInfo]:
    """Returns the recipes by name."""
    return [_describe(name, make) for name, make in sorted(RECIPES.items())]


def apply_settings(config: Config, settings: Sequence[str]) -> Config:
    """Returns a configuration with fields changed as in `["steps=400", "use_f0=false"]`.

    Raises:
        UsageError: a field that doesn't exist, or a value that is not of its type.
    """
    return replace(config, **dict(_setting(config, setting) for setting in settings))


def train(
    recipe: str,
    data: Path,
    out: Path,
    settings: Sequence[str] = (),
    resume: bool = False,
    on_step: "OnStep | None" = None,
) -> "RunResult":
    """Trains a recipe on a built set and returns what the run left in `out`.

    Args:
        recipe: a name in `RECIPES`.
        data: the folder of a built set.
        out: the folder of the run, new or empty unless `resume`.
        settings: `field=value`; on resuming, changes to the settings that the run was started with.
        resume: go on from the last state in `out`; a folder without a state starts from the beginning.
        on_step: called after each step with its number and what was logged at it, mostly nothing.

    Raises:
        UsageError: unknown recipe or setting, or a folder that holds something.
        DataError: the set does not fit the recipe or is damaged.
        CheckpointError: the run in `out` is of another recipe or set, or is damaged.
    """
    from autosing.training.loop import Loop

    config = _recipe(recipe)()
    manifest = Manifest.read(data)
    if out.exists() and any(out.iterdir()):
        stored = _stored_config(config, recipe, manifest, out, resume)
        config = _changed_on_resume(stored, apply_settings(stored, settings), out)
    else:
        config = apply_settings(config, settings)
    loop = Loop(config.task(manifest), data, out)
    _write_facts(out, recipe, config, manifest)
    return loop.run(on_step)


def _recipe(name: str) -> Callable[..., RunConfig]:
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}; there are: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]


def _describe(name: str, make: Callable[..., RunConfig]) -> RecipeInfo:
    config = make()
    types = get_type_hints(type(config))
    settings = {field.name: (_type_name(types[field.name]), getattr(config, field.name)) for field in fields(config)}
    return RecipeInfo(name, (make.__doc__ or "").strip(), config.columns, settings)


def _setting(config: RunConfig, setting: str) -> tuple[str, Any]:
    name, equals, text = setting.partition("=")
    known = [field.name for field in fields(config)]
    if not equals:
        raise UsageError(f"the setting {setting!r} has no value; write field=value, for example steps=400")
    if name not in known:
        raise UsageError(f"there is no setting {name!r}; there are: {', '.join(known)}")
    kind = get_type_hints(type(config))[name]
    try:
        return name, _parsed(kind, text)
    except ValueError as error:
        raise UsageError(f"{name}={text}: {text!r} is not {_type_name(kind)}") from error


def _parsed(kind: Any, text: str) -> Any:
    choices = _choices(kind)
    if choices:
        if text not in choices:
            raise ValueError(text)
        return choices[text]
    value = kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError(text)
    return value


def _choices(kind: Any) -> dict[str, Any]:
    if kind is bool:
        return {"true": True, "false": False}
    return {choice: choice for choice in get_args(kind)} if get_origin(kind) is Literal else {}


def _type_name(kind: Any) -> str:
    choices = _choices(kind)
    if choices:
        return f"one of {', '.join(choices)}"
    return {int: "a whole number", float: "a number", str: "a text"}[kind]


def _stored_config(config: Config, recipe: str, manifest: Manifest, out: Path, resume: bool) -> Config:
    """Returns the configuration of the run in `out`, if it may and can be resumed."""
    if not resume:
        raise UsageError(f"{out} is not empty; resume the run in it, or give a new folder")
    try:
        stored = json.loads((out / RUN).read_text())
        found, digest, settings = stored["recipe"], stored["data_digest"], stored["config"]
    except FileNotFoundError as error:
        raise UsageError(f"{out} holds files but no run (it has no {RUN}); give a new folder") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{out / RUN} is damaged ({error!r}); start a new folder") from error
    if found != recipe:
        raise CheckpointError(
            f"the run in {out} is of the recipe {found}, not {recipe}; resume {found}, or start a new folder"
        )
    if digest != manifest.digest:
        raise CheckpointError(
            f"the run in {out} was trained on the set {digest}, but {manifest.folder} is {manifest.digest}; "
            "give it the set it was started on, or start a new folder"
        )
    try:
        return type(config)(**settings)
    except TypeError as error:
        raise CheckpointError(f"{out / RUN} has settings of another version ({error}); start a new folder") from error


def _changed_on_resume(stored: Config, config: Config, out: Path) -> Config:
    """Returns the changed configuration, unless it changes what a run is."""
    for field in fields(config):
        before, after = getattr(stored, field.name), getattr(config, field.name)
        if before != after and field.name not in CHANGEABLE:
            raise UsageError(
                f"the run in {out} was started with {field.name}={before}, which cannot become {after} on the way; "
                f"start a new folder, or change only: {', '.join(CHANGEABLE)}"
            )
    return config


def _write_facts(out: Path, recipe: str, config: RunConfig, manifest: Manifest) -> None:
    versions = {name: version(name) for name in ("autosing", "torch", "numpy")}
    facts = {"recipe": recipe, "config": asdict(config), "data_digest": manifest.digest, "versions": versions}
    out.mkdir(parents=True, exist_ok=True)
    draft = out / f".{RUN}.draft"
    draft.write_text(json.dumps(facts, indent=1) + "\n")
    draft.replace(out / RUN)
