"""Importing does nothing: no heavy library before it is needed, no file, no thread, no output."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "ray", "torchaudio", "transformers", "faiss", "swift_f0", "parselmouth", "pyworld", "matplotlib")
STORES = ("ray", "polars", "pyarrow", "webdataset", "soundfile")
"""What a machine that only trains need not have."""
STAGES = ("probe", "energy", "align", "cuts")

RUN_COMMAND = """
import json, sys
from autosing.cli.main import main
sys.argv[0] = "autosing"
try:
    main()
except SystemExit as end:
    code = end.code or 0
print(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""

IMPORT_ALL = """
import importlib, json, pathlib, sys, threading
for name in sys.argv[1:]:
    importlib.import_module(name)
files = sorted(str(p) for p in pathlib.Path.cwd().rglob("*"))
print(json.dumps({"files": files, "threads": [t.name for t in threading.enumerate()], "modules": sorted(sys.modules)}))
"""


def run_python(code: str, arguments: Sequence[str], folder: Path) -> Any:
    """Returns what a fresh interpreter prints last, as JSON, after running `code` with `folder` for its home."""
    homes = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / ".cache"), "TMPDIR": str(folder)}
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, env=os.environ | homes, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set with nothing left to do."""
    url = str(tmp_path_factory.mktemp("imports") / "set")
    append_songs(url, SyntheticSource(1, 3.0).songs())
    graph = Project().graph(DatasetEntry(url))
    process(Dataset(url), graph, STAGES, RunOptions(executor="local"), progress=Progress(1, quiet=True))
    return url


@pytest.mark.parametrize("command", ["--help", "status SET", "explain SET 0 f0", "process SET STAGES"])
def test_a_command_that_computes_nothing_loads_no_heavy_library(command: str, finished: str, tmp_path: Path) -> None:
    arguments = command.replace("SET", finished).replace("STAGES", " ".join(STAGES)).split()
    told = run_python(RUN_COMMAND, arguments, tmp_path)
    assert told["code"] == 0
    assert not {*HEAVY} & {*told["modules"]}


def module_names() -> list[str]:
    """Returns the name of every module below the three source roots."""
    paths = [p.relative_to(ROOT / root) for root in ("pipeline", "training", "cli") for p in sources(ROOT / root)]
    return sorted(".".join(p.with_suffix("").parts).removesuffix(".__init__") for p in paths)


def sources(root: Path) -> list[Path]:
    return list((root / "autosing").rglob("*.py"))


def test_importing_every_module_makes_no_file_and_starts_no_thread(tmp_path: Path) -> None:
    names = module_names()
    assert "autosing.signal.mel" in names and "autosing.cli.main" in names
    told = run_python(IMPORT_ALL, names, tmp_path)
    assert told["threads"] == ["MainThread"]
    assert told["files"] == []
    assert "ray" not in told["modules"]


@pytest.mark.parametrize(
    ("packages", "absent"),
    [
        (("signal", "pipeline", "evaluation", "conversion", "singing", "sounds", "cli"), HEAVY),
        (("models", "page", "training", "synthesis"), STORES),
    ],
)
def test_importing_a_package_loads_nothing_that_it_does_without(
    packages: tuple[str, ...], absent: tuple[str, ...], tmp_path: Path
) -> None:
    names = [n for n in module_names() if n.split(".")[1] in packages]
    assert not {*absent} & {*run_python(IMPORT_ALL, names, tmp_path)["modules"]}
