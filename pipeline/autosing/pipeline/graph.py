"""The instances of a data set's stages and their order, which follows from what they read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Literal

from autosing.models.directory import check_contract
from autosing.pipeline.artefact import fit_changes, read_fit
from autosing.pipeline.dataset import INDEX, PROBE, RESERVED, split_address
from autosing.pipeline.model_digest import model_digest
from autosing.pipeline.record import definition_of
from autosing.pipeline.schema import Column
from autosing.pipeline.stage import Stage, fitted
from autosing.signal.errors import UsageError

Voice = Literal["index", "stems", "denoised"]
VOICE_ADDRESSES: Mapping[Voice, str] = {
    "index": "index.audio",
    "stems": "stems.vocals",
    "denoised": "denoise.audio",
}


@dataclass(frozen=True)
class Instance:
    """A stage with its settings, under the name that its columns are addressed by.

    Args:
        name: `<stage>` or `<stage>.<label>`.
        stage_name: the stage's name.
        stage: the stage with its settings.
        keep: whether values are stored; otherwise they only pass to the instances that read them.
        shares_artefact: whether its artefact lies at a path that was given, where other data sets may use it too.
    """

    name: str
    stage_name: str
    stage: Stage
    keep: bool = True
    shares_artefact: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that it writes."""
        return self.stage.columns()


@dataclass(frozen=True)
class Graph:
    """All instances that a data set knows.

    Args:
        instances: by name.
        voice: where the data set's voice is: the index audio itself, the stem `stems.vocals`, or `denoise.audio`.
        asked: instances that the data set asks for although their stages do not run by default.
    """

    instances: Mapping[str, Instance]
    voice: Voice = "index"
    asked: frozenset[str] = frozenset()
    _definitions: dict[str, str | None] = field(default_factory=dict, compare=False, repr=False)
    _reads: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)
    _inputs: dict[str, list[str]] = field(default_factory=dict, compare=False, repr=False)
    _closures: dict[tuple[str, ...], list[str]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def audio_addresses(self) -> dict[str, str]:
        """Where `voice`, `mix`, `vocals` and `backing` are found."""
        voice = VOICE_ADDRESSES[self.voice]
        return {"voice": voice, "mix": "index.audio", "vocals": "stems.vocals", "backing": "stems.backing"}

    @property
    def default_targets(self) -> list[str]:
        """The unlabelled instances that run by default, and those that the data set asks for."""
        plain = [i for i in self.instances.values() if i.name == i.stage_name]
        return [i.name for i in plain if i.stage.by_default or i.name in self.asked]

    def streamed(self, names: Iterable[str]) -> frozenset[str]:
        """Returns the addresses of audio that no stage of the given instances wants whole."""
        wanted = [(self[name].stage, self.audio_addresses[a]) for name in names if (a := self[name].stage.audio_read())]
        return frozenset(a for _, a in wanted) - {a for stage, a in wanted if not stage.streams}

    def __getitem__(self, name: str) -> Instance:
        if name not in self.instances:
            raise UsageError(f"the stage {name!r} is unknown; known: {', '.join(sorted(self.instances))}")
        return self.instances[name]

    def reads(self, name: str) -> tuple[str, ...]:
        """Returns the addresses that an instance reads, its audio included."""
        if name not in self._reads:
            stage = self[name].stage
            audio = stage.audio_read()
            self._reads[name] = stage.reads() + ((self.audio_addresses[audio],) if audio else ())
        return self._reads[name]

    def inputs(self, name: str) -> list[str]:
        """Returns the instances that an instance reads from, the reserved ones aside.

        Raises:
            UsageError: it reads from an instance that is unknown.
        """
        if name in self._inputs:
            return self._inputs[name]
        found = dict.fromkeys(split_address(a)[0] for a in self.reads(name))
        for instance in found:
            if instance not in self.instances and instance not in RESERVED:
                raise UsageError(
                    f"{name} reads {instance}, which is not a stage of this data set; name it under `stages:` "
                    f"(known: {', '.join(sorted(self.instances))})"
                )
        self._inputs[name] = [i for i in found if i not in RESERVED]
        return self._inputs[name]

    def check_reads(self, name: str) -> None:
        """Checks that the instances an instance reads have the columns that it wants of them, as it wants them.

        Raises:
            UsageError: one has not; the message lists those that it has.
            CheckpointError: its model was trained on columns of other settings.
        """
        for instance, column in map(split_address, self.reads(name)):
            columns = [c.name for c in self[instance].columns] if instance in self.instances else [column]
            if column not in columns:
                raise UsageError(
                    f"{name} reads {instance}.{column}, and {instance} has only {', '.join(columns)}; "
                    f"change the settings of {name}"
                )
        for instance, then in self[name].stage.learned_from().items():
            now = {**self[instance].stage.settings(), **self.model_digests(instance)}
            check_contract(f"the model of {name}", then, {setting: now.get(setting) for setting in then})

    def closure(self, targets: Iterable[str]) -> list[str]:
        """Returns the targets with all that they need, inputs first, `probe` at the head.

        Raises:
            UsageError: instances read each other in a circle.
        """
        asked = tuple(targets)
        if asked in self._closures:
            return self._closures[asked]
        needed: dict[str, list[str]] = {}
        pending = list(asked)
        while pending:
            name = pending.pop()
            if name not in needed:
                needed[name] = [] if name == PROBE else [PROBE, *self.inputs(name)]
                pending.extend(needed[name])
        try:
            self._closures[asked] = list(TopologicalSorter(needed).static_order())
        except CycleError as error:
            raise UsageError(f"these stages read each other in a circle: {' -> '.join(error.args[1])}") from error
        return self._closures[asked]

    def definition(self, name: str) -> str | None:
        """Returns what an instance's columns mean; None while an artefact they depend on is not fitted."""
        if name not in self._definitions:
            self._definitions[name] = self._define(name)
        return self._definitions[name]

    def forget_definitions(self) -> None:
        """Makes definitions be worked out again (after a fit)."""
        self._definitions.clear()

    def input_definitions(self, name: str) -> dict[str, str | None]:
        """Returns the definition of each input instance."""
        return {i: self.definition(i) for i in self.inputs(name)}

    def model_digests(self, name: str) -> dict[str, str | None]:
        """Returns the digest of each model of an instance; None for an artefact that is not there yet.

        Raises:
            UsageError: a model that no fit will make is not there.
        """
        stage = self[name].stage
        digests = {setting: model_digest(where) for setting, where in stage.models().items()}
        for setting, digest in digests.items():
            if digest is None and fitted(stage) is None:
                raise UsageError(
                    f"{name}.{setting}: {stage.models()[setting]} does not exist; give a hub id, the path of a model's "
                    "files, or a weight-free method (for ssl: model: mfcc, for stems: method: center)"
                )
        return digests

    def _define(self, name: str) -> str | None:
        stage = self[name].stage
        inputs, models = self.input_definitions(name), self.model_digests(name)
        known_inputs = {k: v for k, v in inputs.items() if v is not None}
        known_models = {k: v for k, v in models.items() if v is not None}
        if len(known_inputs) < len(inputs) or len(known_models) < len(models) or self.fit_reason(name):
            return None
        return definition_of(self[name].stage_name, stage.version, stage.settings(), known_models, known_inputs)

    def fit_reason(self, name: str) -> str | None:
        """Returns why an instance's artefact has to be fitted before it can run; None where it need not be.

        Changed fit settings make a fit due, new data never does.

        Raises:
            UsageError: an artefact at a given path, which others may use, was fitted with other settings or inputs.
        """
        stage = fitted(self[name].stage)
        if stage is None:
            return None
        record = read_fit(Path(stage.artefact))
        if record is None:
            return f"{stage.artefact} is not fitted yet"
        changes = fit_changes(record, stage, self.input_definitions(name))
        if changes and self[name].shares_artefact:
            raise UsageError(
                f"{name}: the artefact {stage.artefact} was fitted otherwise ({changes}); take the settings it was "
                "fitted with, or give another path as `{stage.artefact_setting}`"
            )
        return changes or None

    @cached_property
    def names(self) -> list[str]:
        """All instance names, sorted."""
        return sorted(self.instances)


def reads_index(graph: Graph, names: Iterable[str]) -> list[str]:
    """Returns the index columns that the given instances read."""
    addresses = [split_address(a) for name in names for a in graph.reads(name)]
    return sorted({column for instance, column in addresses if instance == INDEX})
