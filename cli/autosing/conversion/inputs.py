"""What is converted: files, folders with all below them, or a manifest, each recording with a name for its output."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from autosing.pipeline.ingest.folder import FolderSource
from autosing.signal.errors import UsageError
from autosing.signal.typed import of_mapping
from autosing.synthesis.convert import Wanted

MANIFEST = ".json"
FORMS = (
    'a list of paths, of {"path": ..., "name": ..., "singer": ..., "key": ...}, or Amphion\'s list of '
    '{"Dataset": ..., "Singer": ..., "Uid": ..., "Path": ...}'
)
# In names of files these mean something to one system or another.
UNSAFE = '<>:"/\\|?*'


@dataclass(frozen=True)
class Input:
    """A recording to convert.

    Attributes:
        path: of its file.
        name: of its output, a relative path without suffix that leads nowhere but down.
        changes: what a manifest says of this one: fields of `Wanted`.
    """

    path: Path
    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    """An entry of a manifest in the own form."""

    path: str
    name: str = ""
    singer: str | None = None
    key: float | None = None
    formant: float | None = None
    loudness: float | str | None = None
    seed: int | None = None


def find_inputs(paths: Sequence[Path], out: Path) -> list[Input]:
    """Returns the recordings of files, folders and manifests, in order; names that would meet are numbered.

    Args:
        paths: of them.
        out: where outputs go: what lies there already is no recording of a folder around it.

    Raises:
        UsageError: a path does not exist or is `out`, a folder holds no sound, or a manifest is of no known form.
    """
    found: list[Input] = []
    for path in paths:
        if path.is_dir():
            found += _of_folder(path, out)
        elif not path.exists():
            raise UsageError(f"{path} does not exist; give sound files, folders of them, or a JSON manifest")
        elif path.suffix.lower() == MANIFEST:
            found += _of_manifest(path)
        else:
            found.append(Input(path, safe_name(Path(path.stem))))
    if not found:
        raise UsageError(f"{', '.join(map(str, paths))}: no sound files are there; give files of a known suffix")
    return _numbered(found)


def _of_folder(path: Path, out: Path) -> list[Input]:
    target = out.resolve()
    if path.resolve() == target:
        raise UsageError(f"{out} is among the recordings itself; give another OUT, so that both can be told apart")
    kept = [p for p in FolderSource(path).paths() if target not in (p.resolve(), *p.resolve().parents)]
    return [Input(p, safe_name(p.relative_to(path).with_suffix(""))) for p in kept]


def safe_name(path: Path | PurePosixPath) -> str:
    """Returns a relative path that stays below where it is put, on any system: parts of plain characters."""
    kept = [part for part in path.parts if part not in (path.anchor, "..", ".")]
    parts = ["".join("_" if c in UNSAFE or not c.isprintable() else c for c in part) for part in kept]
    # A leading dot hides a file, an ending one is lost on Windows.
    parts = [part.strip(". ") or "_" for part in parts]
    return "/".join(parts) or "_"


def _of_manifest(path: Path) -> list[Input]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is no JSON ({error}); give {FORMS}") from error
    if not isinstance(told, list) or not told:
        raise UsageError(f"{path} is no list of recordings; give {FORMS}")
    return [_input(entry, path, number) for number, entry in enumerate(told)]


def _input(entry: Any, manifest: Path, number: int) -> Input:
    where = f"{manifest}, entry {number}"
    if isinstance(entry, str):
        entry = {"path": entry}
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {entry!r}; give {FORMS}")
    if "Path" in entry:
        return _of_amphion(entry, manifest)
    made = of_mapping(_Entry, entry, where)
    changes = {f.name: v for f in fields(made) if f.name in _CHANGEABLE and (v := getattr(made, f.name)) is not None}
    return Input(manifest.parent / made.path, safe_name(Path(made.name or Path(made.path).stem)), changes)


def _of_amphion(entry: Mapping[str, Any], manifest: Path) -> Input:
    """Its `Singer` is who sings in the recording, not who is asked for."""
    parts = [str(entry[name]).replace("/", "_") for name in ("Dataset", "Singer", "Uid") if entry.get(name)]
    name = PurePosixPath(*parts) if parts else PurePosixPath(Path(str(entry["Path"])).stem)
    return Input(manifest.parent / str(entry["Path"]), safe_name(name))


_CHANGEABLE = {f.name for f in fields(Wanted)}


def _numbered(found: Sequence[Input]) -> list[Input]:
    """Returns inputs of names that do not meet: the first of a name keeps it, later ones get one that nobody has."""
    # Some file systems do not tell upper from lower case.
    taken, seen = {each.name.lower() for each in found}, Counter[str]()
    numbered = []
    for each in found:
        key = each.name.lower()
        seen[key] += 1
        while seen[key] > 1 and f"{key}-{seen[key]}" in taken:
            seen[key] += 1
        name = each.name if seen[key] == 1 else f"{each.name}-{seen[key]}"
        taken.add(name.lower())
        numbered.append(replace(each, name=name))
    return numbered
