"""The columns that a model was trained on, computed of one recording by the stages that its contract names.

Nothing is read from a data set or written to one. What the columns mean must be what they meant in training: stages,
settings and models are compared with the contract, paths aside.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from autosing.pipeline.dataset import INDEX, PROBE, split_address
from autosing.pipeline.graph import Graph, Voice, reads_index
from autosing.pipeline.outcomes import Models
from autosing.pipeline.record import definition_of
from autosing.pipeline.sections import computed
from autosing.pipeline.settings import STEMS, DatasetEntry, Project
from autosing.pipeline.song import Song
from autosing.pipeline.stage import FittedStage, Stage
from autosing.signal.decode import Audio
from autosing.signal.errors import CheckpointError, UsageError
from autosing.signal.tape import Tape

DENOISE = "denoise"
AUDIO = f"{INDEX}.audio"
# What the stages that stood between a mix and its voice are given or give is done before, or not at all.
DONE_BEFORE = (PROBE, STEMS)
Stages = Mapping[str, Mapping[str, Any]]


class ContractColumns:
    """Computes the columns of a model's contract.

    Args:
        owner: the model, for messages.
        contract: its contract, with `columns`, `definitions`, `instances` and `artefacts`.
        overrides: `INSTANCE.FIELD=VALUE`: where the models of the stages are, and what changes no value.
        device: of the stages that have one: auto, cpu or cuda.

    Raises:
        CheckpointError: the contract does not tell of columns, or a stage would compute other values than in training.
        UsageError: an override is wrong, or a stage's model is not given; the message names all that are missing.
    """

    def __init__(
        self, owner: str, contract: Mapping[str, Any], overrides: Iterable[str] = (), device: str = "auto"
    ) -> None:
        missing = [part for part in ("columns", "definitions", "instances") if not contract.get(part)]
        if missing:
            raise CheckpointError(
                f"{owner} does not tell the {' and '.join(missing)} that it was trained on; train it again with this "
                "version"
            )
        self._owner, self._contract = owner, contract
        self._stages: Stages = contract["instances"]
        self._graph = self._built(overrides, device)
        self._models = Models()
        self._definitions: dict[str, str] = {}
        self._checked: set[str] = set()

    def check(self, names: Iterable[str]) -> None:
        """Checks that columns of the contract mean what they meant in training.

        Raises:
            CheckpointError: one does not; names the setting or model that differs.
            UsageError: the model of a stage is not given.
        """
        wanted = [name for name in names if name not in self._checked]
        addresses = [self._address(name) for name in wanted]
        chain = self._chain(split_address(address)[0] for address in addresses)
        self._require_models(chain)
        for instance in chain:
            self._check_instance(instance)
        for name, address in zip(wanted, addresses, strict=True):
            if self._definition(split_address(address)[0]) != self._contract["definitions"][name]:
                raise CheckpointError(
                    f"{self._owner} was trained with {address} of another version of its stage; use the version of "
                    "autosing that it was trained with, or train it again"
                )
        self._checked.update(wanted)

    def hear(self, audio: Audio | Tape) -> "Heard":
        """Returns a recording whose columns can be asked for.

        Those of a tape are computed a section at a time, and series lie on disk; where a stage looks at the whole song
        (Praat's pitch, an encoder that brings it to one level), this one is held in memory for it.
        """
        return Heard(self, audio)

    def compute(self, song: Song, names: Sequence[str]) -> dict[str, Any]:
        """Returns columns of a song by name; what it has been asked for before is not computed again.

        Raises:
            RowError: the song has none.
        """
        self.check(names)
        addresses = {name: self._address(name) for name in names}
        for instance in self._chain(split_address(address)[0] for address in addresses.values()):
            if instance not in DONE_BEFORE and not self._is_known(instance, song):
                self._apply(instance, song)
        return {name: song.values[address] for name, address in addresses.items()}

    def song(self, audio: Audio | Tape) -> Song:
        """Returns a recording as the stages see it: its own voice, or denoised where the training set's was."""
        names = self._chain(split_address(address)[0] for address in self._contract["columns"].values())
        voice = f"{DENOISE}.audio" if self._graph.voice == "denoised" else AUDIO
        addresses = {"mix": AUDIO, "vocals": AUDIO, "voice": voice}
        values = {f"{INDEX}.{column}": None for column in reads_index(self._graph, names)}
        if isinstance(audio, Tape) and voice == AUDIO:
            audio = audio.mono
        return Song("recording", values, addresses, decoded={AUDIO: audio})

    def _built(self, overrides: Iterable[str], device: str) -> Graph:
        voice: Voice = "denoised" if DENOISE in self._stages else "stems" if STEMS in self._stages else "index"
        project, entry = Project(stages=self._stages), DatasetEntry("", voice=voice, name=self._owner)
        graph = project.graph(entry)
        has_device = [n for n in self._stages if "device" in {f.name for f in fields(graph[n].stage)}]
        chosen = [f"{name}.device={device}" for name in has_device] if device != "auto" else []
        return project.graph(entry, [*chosen, *overrides])

    def _address(self, name: str) -> str:
        address: str | None = self._contract["columns"].get(name)
        if address is None:
            raise CheckpointError(
                f"{self._owner} was not trained on {name}, so that it is not known how to compute it; its columns are "
                f"{', '.join(sorted(self._contract['columns']))}"
            )
        return address

    def _chain(self, instances: Iterable[str]) -> list[str]:
        return [name for name in self._graph.closure(instances) if name != PROBE]

    def _require_models(self, chain: Sequence[str]) -> None:
        missing = [f"--set {name}.{setting}=PATH" for name in chain for setting in self._lacking(name)]
        if missing:
            raise UsageError(
                f"{self._owner} hears by models of stages, which are not given; give those that its training set was "
                f"processed with: {' '.join(sorted(missing))}"
            )

    def _lacking(self, name: str) -> Iterator[str]:
        """Yields the settings of an instance that say where a model is, and do not."""
        instance = self._graph[name]
        for setting in self._contract.get("artefacts", {}).get(name, {}):
            where = getattr(instance.stage, setting, None)
            if where == "" or (_is_artefact(instance.stage, setting) and not instance.shares_artefact):
                yield setting

    def _check_instance(self, name: str) -> None:
        stage = self._graph[name].stage
        if name not in self._stages:
            raise CheckpointError(
                f"{self._owner} was trained without {name}, which its columns need here; train it again"
            )
        paths = stage.models()
        now = {k: v for k, v in json.loads(json.dumps(stage.settings())).items() if k not in paths}
        told = {k: v for k, v in self._stages[name].items() if k not in paths}
        self._require_same(name, told, now, f"leave out --set {name}...")
        digests = self._graph.model_digests(name)
        for setting, digest in digests.items():
            if digest is None:
                raise UsageError(
                    f"--set {name}.{setting}: {paths[setting]} does not exist; give the path of its folder"
                )
        told = self._contract.get("artefacts", {}).get(name, {})
        self._require_same(name, told, digests, "give the model or package that its training set was processed with")

    def _require_same(self, name: str, told: Mapping[str, Any], now: Mapping[str, Any], way_out: str) -> None:
        for setting in {**told, **now}:
            if told.get(setting) != now.get(setting):
                raise CheckpointError(
                    f"{self._owner} was trained with {name}.{setting} = {told.get(setting)!r}, but it is "
                    f"{now.get(setting)!r} here; {way_out}"
                )

    def _definition(self, name: str) -> str:
        """Returns what an instance's columns mean, with the settings of the contract: a model's path may be another."""
        if name not in self._definitions:
            instance = self._graph[name]
            digests = {k: str(v) for k, v in self._graph.model_digests(name).items()}
            inputs = {i: self._definition(i) for i in self._graph.inputs(name)}
            told = self._stages[name]
            self._definitions[name] = definition_of(instance.stage_name, instance.stage.version, told, digests, inputs)
        return self._definitions[name]

    def _is_known(self, instance: str, song: Song) -> bool:
        return all(f"{instance}.{column.name}" in song.values for column in self._graph[instance].columns)

    def _apply(self, name: str, song: Song) -> None:
        song.values |= computed(self._graph, name, song, self._models.of(self._graph[name].stage, None))
        voice = f"{name}.audio"
        if name == DENOISE and song.is_on_tape:
            song.take_tape(voice, Tape.decoded(song.values[voice]).mono)
            song.values[voice] = None


class Heard:
    """One recording, with the columns that were computed of it so far."""

    def __init__(self, columns: ContractColumns, audio: Audio | Tape) -> None:
        self._columns, self._song = columns, columns.song(audio)

    def read(self, names: Sequence[str]) -> dict[str, Any]:
        """Returns columns by name.

        Raises:
            RowError: the recording has none.
        """
        return self._columns.compute(self._song, names)


def _is_artefact(stage: Stage, setting: str) -> bool:
    return isinstance(stage, FittedStage) and setting == stage.artefact_setting
