"""Recipes: named runs as functions, their settings, and `train`, which runs one.

A recipe of one's own is a function in any importable module that returns a `RunConfig`, named `MODULE:FUNCTION`.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from autosing.signal.errors import CheckpointError, UsageError
from autosing.training.manifest import Manifest
from autosing.training.ranks import Ranks, joined
from autosing.training.task import CHANGEABLE, RunConfig

if TYPE_CHECKING:
    from autosing.training.loop import Loop, OnStep, RunResult
    from autosing.training.shards import Data
    from autosing.training.task import Task
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
    data: str | Path | Sequence[str | Path],
    out: Path,
    settings: Sequence[str] = (),
    resume: bool = False,
    on_step: "OnStep | None" = None,
    weights: Sequence[float] = (),
    stream: Sequence[str] = (),
) -> "RunResult":
    """Trains a recipe on built sets and returns what the run left in `out`.

    Called by each of several processes (under torchrun, or by Ray Train), it trains with all of them; `out` is then a
    folder that all of them see.

    Args:
        recipe: a name in `RECIPES`, or `MODULE:FUNCTION`.
        data: the folder or URL of a built set, or several.
        out: the folder of the run, new or empty unless `resume`.
        settings: `field=value`; on resuming, changes to the settings that the run was started with.
        resume: go on from the last state in `out`; a folder without a state starts from the beginning.
        on_step: called after each step with its number and what was logged at it, mostly nothing.
        weights: how often the samples of each set are taken per epoch; once where there are none.
        stream: URLs that `webdataset` reads the training samples from, such as `pipe:COMMAND`, instead of the set's own
            tars; for sources that give no ranges. A resumed run then begins a new pass.

    Raises:
        UsageError: unknown recipe or setting, a folder that holds something, or a step that cannot be divided.
        DataError: a set does not fit the recipe, or the others, or is damaged.
        CheckpointError: the run in `out` is of another recipe or set, or is damaged.
    """
    from autosing.training.shards import Data

    config = configured(recipe, data, out, settings, resume, weights)
    opened = Data.open(data, weights).cached(config.cache_gb)
    with joined(config.device) as ranks:
        # Every process has looked at the folder before the first writes to it.
        ranks.wait()
        task, origin = config.task(opened.manifest), _origin(recipe, opened.manifest)
        # Without a name, so that nothing of it is left when the processes part.
        return _loop(task, opened, out, ranks, origin, stream).run(on_step)


def _loop(
    task: "Task[Any]", data: "Data", out: Path, ranks: Ranks, origin: Mapping[str, Any], stream: Sequence[str]
) -> "Loop":
    from autosing.training.loop import Loop

    loop = Loop(task, data, out, ranks, {**origin, "config": asdict(task.config)}, stream)
    _write_facts(out, task, origin, ranks)
    return loop


def configured(
    recipe: str,
    data: str | Path | Sequence[str | Path],
    out: Path,
    settings: Sequence[str],
    resume: bool,
    weights: Sequence[float] = (),
) -> RunConfig:
    """Returns the settings of a run, if it may start or go on in `out`; see `train`."""
    from autosing.training.shards import Data

    config = find_recipe(recipe)()
    if not out.exists() or not any(out.iterdir()):
        return apply_settings(config, settings)
    stored = _stored_config(config, recipe, Data.open(data, weights).manifest, out, resume)
    return _changed_on_resume(stored, apply_settings(stored, settings), out)


def find_recipe(name: str) -> Callable[..., RunConfig]:
    """Returns a recipe by its name, or by module and function.

    Raises:
        UsageError: there is none.
    """
    if name in RECIPES:
        return RECIPES[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise UsageError(
            f"there is no recipe {name!r}; there are: {', '.join(sorted(RECIPES))}; one of your own is MODULE:FUNCTION"
        )
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the recipe {name} cannot be imported: {error}") from error
    if not callable(found):
        raise UsageError(f"the recipe {name} is no function")
    return found  # type: ignore[no-any-return]


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
            f"the run in {out} was trained on the set {digest}, but {manifest.url} is {manifest.digest}; "
            "give it the sets and weights it was started with, or start a new folder"
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


def _origin(recipe: str, manifest: Manifest) -> dict[str, Any]:
    from autosing.training.provenance import provenance

    return {"recipe": recipe, "data_digest": manifest.digest, **provenance()}


def _write_facts(out: Path, task: "Task[Any]", origin: Mapping[str, Any], ranks: Ranks) -> None:
    if not ranks.is_first:
        return
    facts = {**origin, "config": asdict(task.config), "metric": task.metric, "ranks": ranks.size}
    out.mkdir(parents=True, exist_ok=True)
    draft = out / f".{RUN}.draft"
    draft.write_text(json.dumps(facts, indent=1) + "\n")
    draft.replace(out / RUN)
