"""Which features a model hears: those it was trained on, found by their definition, or those that are asked for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autosing.pipeline.encode.kinds import Kind, kind_of
from autosing.pipeline.graph import Graph
from autosing.pipeline.settings import DatasetEntry, Project, parse_override
from autosing.pipeline.stages.ssl import WEIGHT_FREE
from autosing.signal.errors import UsageError

SSL = "ssl"


@dataclass(frozen=True)
class Chain:
    """The stages that lead from sound to what a model says.

    Attributes:
        model: the model, as it was named.
        kind: how it is applied.
        graph: the stages with their settings.
        source: the instance whose features the model hears; None where it hears sound.
        is_as_trained: whether the features are those that it was trained on; None where that is not known.
    """

    model: str
    kind: Kind
    graph: Graph
    source: str | None = None
    is_as_trained: bool | None = None


def chain_of(model: str, project: Project, overrides: Sequence[str] = ()) -> Chain:
    """Returns what applies a model to sound.

    Args:
        model: see `kind_of`.
        project: what `datasets.yaml` says of stages.
        overrides: `INSTANCE.FIELD=VALUE`; any of `ssl`, or the `source` of the model's stage, chooses the features.

    Raises:
        UsageError: it is no encoder, or it hears features of which neither its contract nor the overrides tell enough.
    """
    kind = kind_of(model)
    graph = _graph(project, kind, overrides)
    if kind.hears is None:
        return Chain(model, kind, graph)
    if _are_chosen(kind, overrides):
        source = _source(graph, kind)
        known = graph.definition(source) == kind.hears if kind.hears else None
        return Chain(model, kind, graph, source, known)
    for source, tried in _candidates(project, kind, overrides):
        if kind.hears and _definition(tried, source) == kind.hears:
            return Chain(model, kind, tried, source, True)
    raise UsageError(_asking(model, kind, graph))


def _graph(project: Project, kind: Kind, overrides: Sequence[str], **more: Mapping[str, Any]) -> Graph:
    """Returns the stages with the model's settings, which those of the settings file and of a call may add to."""
    stages = {name: dict(settings) for name, settings in project.stages.items()}
    for name, settings in {kind.stage: kind.settings, **more}.items():
        stages[name] = {**stages.get(name, {}), **settings}
    return replace(project, stages=stages).graph(DatasetEntry(""), overrides)


def _are_chosen(kind: Kind, overrides: Sequence[str]) -> bool:
    """Says whether features are asked for."""
    asked = [(instance, field) for instance, field, _ in map(parse_override, overrides)]
    return any(
        instance.split(".")[0] == SSL or (instance, field) == (kind.stage, "source") for instance, field in asked
    )


def _candidates(project: Project, kind: Kind, overrides: Sequence[str]) -> Iterator[tuple[str, Graph]]:
    """Yields instances of `ssl`, and the stages in which the model hears them: first those that need no model."""
    for features in WEIGHT_FREE:
        yield SSL, _graph(project, kind, [*overrides, f"{kind.stage}.source={SSL}", f"{SSL}.model={features}"])
    for name in _instances(_graph(project, kind, overrides)):
        yield name, _graph(project, kind, [*overrides, f"{kind.stage}.source={name}"])


def _definition(graph: Graph, name: str) -> str | None:
    """Returns what an instance means; None where its model is not to be had, so that nothing is known of it."""
    try:
        return graph.definition(name)
    except UsageError:
        return None


def _instances(graph: Graph) -> list[str]:
    return [i.name for i in graph.instances.values() if i.stage_name == SSL]


def _source(graph: Graph, kind: Kind) -> str:
    source: str = graph[kind.stage].stage.settings()["source"]
    return source


def _asking(model: str, kind: Kind, graph: Graph) -> str:
    tried = ", ".join([*WEIGHT_FREE, *_instances(graph)])
    why = f"they are none of {tried}" if kind.hears else "it does not say which"
    return (
        f"{model} hears features of a speech encoder, and {why}; give them as they were computed where it was trained: "
        f"--set ssl.model=ID_OR_PATH --set 'ssl.layers=[9]', or --set {kind.stage}.source=ssl.LABEL of a settings file"
    )
