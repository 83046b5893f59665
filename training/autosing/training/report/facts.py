"""What `run.json` and the model directory say of a run, however they were left."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

OWN = ("recipe", "config", "versions", "metric")


@dataclass(frozen=True)
class Setting:
    """A setting with its value in the run and in the recipe; where no recipe of that name is known, `usual` is None."""

    name: str
    value: str
    usual: str | None

    @property
    def is_changed(self) -> bool:
        """Whether the run was started with another value than the recipe's."""
        return self.usual is not None and self.usual != self.value


@dataclass(frozen=True)
class RunFacts:
    """What a run was started with.

    Attributes:
        recipe: its name, "" where unknown.
        steps: optimiser steps of the whole run, 0 where unknown.
        metric: the validation metric that chooses the best weights, "" where it is not told.
        settings: changed ones first.
        facts: name and value of all else that is told: versions, the data's digest, ranks.
        problems: what could not be read, in words.
    """

    recipe: str
    steps: int
    metric: str
    settings: Sequence[Setting]
    facts: Sequence[tuple[str, str]]
    problems: Sequence[str]


def read_facts(path: Path) -> RunFacts:
    """Returns what a run's `run.json` says."""
    told, problems = read_json(path)
    config = told.get("config")
    config = config if isinstance(config, dict) else {}
    if told and not config:
        problems.append(f"{path.name} tells no settings")
    recipe, steps, versions = str(told.get("recipe") or ""), config.get("steps"), told.get("versions")
    facts = [*_flat(versions if isinstance(versions, dict) else {})]
    facts += [entry for name, value in told.items() if name not in OWN for entry in _flat({name: value})]
    return RunFacts(
        recipe,
        steps if type(steps) is int and steps > 0 else 0,
        str(told.get("metric") or ""),
        _settings(config, _usual(recipe)),
        facts,
        problems,
    )


def kept_step(model: Path) -> int | None:
    """Returns the step whose weights lie in a model directory, None where it does not tell."""
    told, _ = read_json(model / "config.json")
    training = told.get("training")
    step = training.get("step") if isinstance(training, dict) else None
    return step if type(step) is int else None


def read_json(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Returns the object in a file and what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, [f"{path.name} is missing"]
    except (OSError, ValueError, RecursionError):
        return {}, [f"{path.name} is damaged and can't be read"]
    return (content, []) if isinstance(content, dict) else ({}, [f"{path.name} is not what a run writes"])


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Returns name and value of all facts that are known, those inside others named like `git commit`."""
    found: list[tuple[str, str]] = []
    for name, value in facts.items():
        title = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            found += _flat(value, f"{title} ")
        elif value is not None:
            found.append((title, _text(value)))
    return found


def _text(value: object) -> str:
    """Returns a value as one writes it on the command line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _usual(recipe: str) -> Mapping[str, Any]:
    """Returns the settings of a recipe as it is now; nothing where there is none of that name.

    Recipes of other modules are not looked for: a page must not run what a file names.
    """
    from autosing.training.recipes import RECIPES

    return asdict(RECIPES[recipe]()) if recipe in RECIPES else {}


def _settings(config: Mapping[str, Any], usual: Mapping[str, Any]) -> list[Setting]:
    found = [
        Setting(name, _text(value), _text(usual[name]) if name in usual else None) for name, value in config.items()
    ]
    return sorted(found, key=lambda setting: not setting.is_changed)
