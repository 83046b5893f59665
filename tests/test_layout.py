"""The shape of the source tree: one namespace, one file for each foreign thing, a wheel that holds what it must."""

import ast
import functools
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosing.pipeline.settings import load_project

ROOT = Path(__file__).parents[1]
SOURCE_ROOTS = [ROOT / name for name in ("pipeline", "training", "cli")]
FILES = sorted(
    p for root in SOURCE_ROOTS for p in (root / "autosing").rglob("*") if p.is_file() and "__pycache__" not in p.parts
)
SOURCES = [p for p in FILES if p.suffix == ".py"]
NAMELESS = {"utils.py", "util.py", "common.py", "helpers.py", "misc.py"}


def place(path: Path) -> str:
    """Returns where a source file is, without its source root: `autosing/signal/mel.py`."""
    return "/".join(path.relative_to(ROOT).parts[1:])


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """Returns all syntax nodes of a source file."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path: Path) -> Iterator[str]:
    """Yields the top-level package of every import statement, wherever it stands."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_autosing_is_a_namespace_package() -> None:
    assert [root for root in SOURCE_ROOTS if (root / "autosing" / "__init__.py").exists()] == []


def test_every_package_below_the_namespace_has_an_init_file() -> None:
    folders = {p.parent for p in SOURCES} - {root / "autosing" for root in SOURCE_ROOTS}
    assert [str(f) for f in folders if not (f / "__init__.py").exists()] == []


def test_no_file_is_named_after_nothing() -> None:
    assert [place(p) for p in SOURCES if p.name in NAMELESS] == []


@pytest.mark.parametrize(
    ("package", "files"),
    [
        (
            "ray",
            {f"autosing/cluster/{name}.py" for name in ("jobs", "meters", "session")}
            | {"autosing/pipeline/chaos/host.py", "autosing/pipeline/cluster.py", "autosing/training/on_ray.py"},
        ),
        ("torchaudio", {"autosing/signal/mfcc.py"}),
        ("webdataset", {"autosing/training/streaming.py"}),
    ],
)
def test_a_package_is_imported_by_the_files_that_are_for_it(package: str, files: set[str]) -> None:
    assert {place(p) for p in SOURCES if package in imports(p)} == files


def test_the_projects_own_settings_file_is_valid() -> None:
    project = load_project(str(ROOT / "datasets.yaml"))
    assert {"pjs", "jamendolyrics", "m4singer"} <= {*project.datasets}
    assert project.sample("acoustic").columns


def test_the_wheel_holds_all_packages_and_nothing_of_the_tests(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {place(p) for p in FILES} <= names
    packages = {place(p).split("/")[1] for p in SOURCES}
    assert {"signal", "pipeline", "models", "training", "evaluation", "cli"} <= packages
    assert {f"autosing/{package}/py.typed" for package in packages} <= names
    assert {f"autosing/{package}/report/page.html.jinja" for package in ("pipeline", "training", "evaluation")} <= names
    assert {n.split("/")[0].split("-")[0] for n in names} == {"autosing"}
    assert [n for n in names if any(part.startswith("test") for part in n.split("/"))] == []
