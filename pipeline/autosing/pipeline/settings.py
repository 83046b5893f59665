"""`datasets.yaml`: data sets, stage instances, sample specs and limits, strictly validated."""

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autosing.pipeline.bounds import Bounds
from autosing.pipeline.graph import Graph, Instance, Voice
from autosing.pipeline.song import Separation
from autosing.pipeline.stage import FittedStage, Stage
from autosing.pipeline.stages import STAGES
from autosing.signal.errors import UsageError
from autosing.signal.typed import of_mapping

if TYPE_CHECKING:
    from autosing.pipeline.construct.sample import SampleSpec

DEFAULT_FILE = "datasets.yaml"
SECTIONS = ("datasets", "stages", "samples", "limits")
STEMS = "stems"
INSTANCE = re.compile(r"[\w-]+(\.[\w-]+)*")
"""Names of instances: they are names of files, too."""


@dataclass(frozen=True)
class DatasetEntry:
    """One data set by name.

    Args:
        path: where the partitioned data set lies (a path or URL).
        format: the layout of its original files, for `ingest`.
        language: of the lyrics, as BCP 47 tags separated by commas.
        licence: of the recordings.
        home_page: where to get it.
        voice: whether the index audio is the voice itself (`index`), or its separated stem (`stems`), or what the
            stage `denoise` makes of either (`denoised`).
        separate_to: which stems the set stores: `vocals`, `backing` or `both`. Where it is said, `stems` runs by
            default; where it is not, it stores vocals, and runs where something reads them (`voice: stems`).
        group: what must not straddle a split.
        weight: how often its samples are drawn in a mixture.
    """

    path: str
    format: str = "auto"
    language: str | None = None
    licence: str | None = None
    home_page: str | None = None
    voice: Voice = "index"
    separate_to: Separation | None = None
    group: Literal["song", "singer"] = "song"
    weight: float = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        if self.voice == "stems" and self.separate_to == "backing":
            raise UsageError(
                f"datasets.{self.name}: its voice is a stem, and separate_to: backing stores none; say vocals or both"
            )


@dataclass(frozen=True)
class Project:
    """What one `datasets.yaml` says."""

    datasets: Mapping[str, DatasetEntry] = field(default_factory=dict)
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    samples: Mapping[str, "SampleSpec"] = field(default_factory=dict)
    locate: Callable[[tuple[str, ...]], str] = lambda path: ""
    limits: Bounds = field(default_factory=Bounds)

    def dataset(self, name_or_path: str) -> DatasetEntry:
        """Returns the entry of a name, or one made for a path."""
        if name_or_path in self.datasets:
            return self.datasets[name_or_path]
        name = name_or_path.rstrip("/").rsplit("/", 1)[-1]
        return DatasetEntry(path=name_or_path, name=name)

    def sample(self, name: str) -> "SampleSpec":
        """Returns a sample spec by name, from the file or built in.

        Raises:
            UsageError: unknown; the message lists the known ones.
        """
        from autosing.pipeline.construct.sample import SAMPLES

        known = {**SAMPLES, **self.samples}
        if name not in known:
            raise UsageError(f"the sample spec {name!r} is unknown; known: {', '.join(sorted(known))}")
        return known[name]

    def graph(self, entry: DatasetEntry, overrides: Iterable[str] = ()) -> Graph:
        """Returns the stage instances of a data set: one of each stage, those of the file, changed by overrides.

        Args:
            entry: the data set.
            overrides: `INSTANCE.FIELD=VALUE`, VALUE as in YAML, or `INSTANCE.FIELD.PART=VALUE` of a field with parts.
        """
        settings = {name: dict(self.stages.get(name, {})) for name in {**STAGES, **self.stages}}
        for instance, key, value in map(parse_override, overrides):
            owner, _, field = instance.rpartition(".")
            if instance not in settings and owner in settings and field in _field_names(owner):
                settings[owner][field] = {**settings[owner].get(field, {}), key: value}
            else:
                settings.setdefault(instance, {})[key] = value
        if entry.separate_to:
            settings[STEMS].setdefault("separate_to", entry.separate_to)
        made = {name: self._instance(name, values, entry) for name, values in settings.items()}
        return Graph(made, entry.voice, frozenset([STEMS] if entry.separate_to else []))

    def _instance(self, name: str, values: dict[str, Any], entry: DatasetEntry) -> Instance:
        stage_name = name.split(".", 1)[0]
        place = self.locate(("stages", name))
        cls = stage_class(stage_name, place)
        if not INSTANCE.fullmatch(name):
            raise UsageError(f"{place}stages.{name}: a label is of letters, digits, '_', '-' and '.', as in f0.praat")
        keep = values.pop("keep", cls.keep)
        if not isinstance(keep, bool):
            raise UsageError(
                f"{self.locate(('stages', name, 'keep'))}stages.{name}.keep: {keep!r} is not true or false"
            )
        setting = cls.artefact_setting if issubclass(cls, FittedStage) else ""
        shares_artefact = bool(values.get(setting))
        if setting and not shares_artefact:
            values[setting] = f"{entry.path.rstrip('/')}/models/{name}"
        stage = of_mapping(cls, values, f"stages.{name}", _in(self.locate, "stages", name))
        return Instance(name, stage_name, stage, keep, shares_artefact)


def stage_class(name: str, place: str = "") -> type[Stage]:
    """Returns the class of a stage by name.

    Raises:
        UsageError: unknown; the message lists the known ones.
    """
    if name not in STAGES:
        raise UsageError(f"{place}the stage {name!r} is unknown; known: {', '.join(sorted(STAGES))}")
    module, _, attribute = STAGES[name].partition(":")
    found: type[Stage] = getattr(importlib.import_module(module), attribute)
    return found


def _field_names(instance: str) -> list[str]:
    """Returns the names of an instance's settings."""
    return [f.name for f in fields(stage_class(instance.split(".", 1)[0]))]


def parse_override(text: str) -> tuple[str, str, Any]:
    """Returns instance, field and value of `INSTANCE.FIELD=VALUE`.

    Raises:
        UsageError: it is not of that form.
    """
    import yaml

    address, equals, value = text.partition("=")
    instance, _, key = address.rpartition(".")
    if not equals or not instance:
        raise UsageError(f"--set {text}: expected INSTANCE.FIELD=VALUE, e.g. f0.method=praat")
    try:
        # Nothing behind the sign is the empty text, as `cuts.activity=` means; null is said by its name.
        return instance, key, yaml.safe_load(value) if value.strip() else ""
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text}: the value is no valid YAML: {error}") from error


def load_project(file: str | None = None) -> Project:
    """Returns what a `datasets.yaml` says; the one in the current folder where none is named, else nothing.

    Raises:
        UsageError: the file does not exist, or something in it is unknown or of a wrong type; the message names line,
            key and the allowed set.
    """
    path = Path(file or DEFAULT_FILE)
    if not path.is_file():
        if file is None:
            return Project()
        raise UsageError(f"{file} does not exist; give an existing settings file with --config")
    try:
        return parse_project(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 text: {error}; save it as UTF-8") from error


def parse_project(text: str, name: str = DEFAULT_FILE) -> Project:
    """Returns what the text of a `datasets.yaml` says; `name` is for messages."""
    from autosing.pipeline.construct.sample import SampleSpec

    plain, locate = _parse_yaml(text, name)
    sections = _mapping(plain, (), locate, SECTIONS)
    datasets, stages, samples, limits = (_mapping(sections.get(s), (s,), locate) for s in SECTIONS)
    entries = {
        k: _entry(k, _mapping(v, ("datasets", k), locate), _in(locate, "datasets", k)) for k, v in datasets.items()
    }
    for key in stages:
        stage_class(key.split(".", 1)[0], locate(("stages", key)))
    project = Project(
        entries,
        {k: _mapping(v, ("stages", k), locate) for k, v in stages.items()},
        {
            k: SampleSpec.of(k, _mapping(v, ("samples", k), locate), _in(locate, "samples", k))
            for k, v in samples.items()
        },
        locate,
        of_mapping(Bounds, limits, "limits", _in(locate, "limits")),
    )
    project.graph(DatasetEntry("", name="check"))
    return project


def _in(locate: Callable[[tuple[str, ...]], str], *path: str) -> Callable[[str], str]:
    """Returns a function that says where a field of the mapping at `path` stands."""
    return lambda field: locate((*path, field))


def _entry(name: str, values: dict[str, Any], locate: Callable[[str], str]) -> DatasetEntry:
    if "name" in values:
        raise UsageError(f"{locate('name')}datasets.{name}.name: unknown; a data set is named by its key, {name}")
    return of_mapping(DatasetEntry, {"name": name, **values}, f"datasets.{name}", locate)


def _mapping(
    value: Any, path: tuple[str, ...], locate: Callable[[tuple[str, ...]], str], known: Iterable[str] = ()
) -> dict[str, Any]:
    """Returns `value` as a mapping with string keys, None as an empty one."""
    where = ".".join(path) or "the file"
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{locate(path)}{where}: expected names with settings, found {value!r}")
    for key in value:
        if not isinstance(key, str) or (known and key not in known):
            allowed = f"; known: {', '.join(known)}" if known else ""
            raise UsageError(f"{locate((*path, str(key)))}{where}: {key!r} is unknown{allowed}")
    return value


def _parse_yaml(text: str, name: str) -> tuple[Any, Callable[[tuple[str, ...]], str]]:
    """Returns the plain content and a function that says on which line a path of keys stands."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{name} is no valid YAML: {error}") from error
    lines: dict[tuple[str, ...], int] = {}
    _collect_lines(node, (), lines, name)

    def locate(path: tuple[str, ...]) -> str:
        while path and path not in lines:
            path = path[:-1]
        return f"{name}:{lines.get(path, 1)}: "

    return plain, locate


def _collect_lines(node: Any, path: tuple[str, ...], lines: dict[tuple[str, ...], int], name: str) -> None:
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        inner = (*path, str(key.value))
        if inner in lines:
            raise UsageError(f"{name}:{key.start_mark.line + 1}: {'.'.join(inner)} is there twice")
        lines[inner] = key.start_mark.line + 1
        _collect_lines(value, inner, lines, name)
