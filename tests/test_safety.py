"""No file that autosing opens can run code: what the sources must not say, and what loaders do with hostile files."""

import ast
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from autosing.models.directory import load_model, read_safetensors
from autosing.signal.errors import CheckpointError
from autosing.training.state import Trained, load_state

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("pipeline/autosing", "training/autosing", "cli/autosing", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
# The one file that opens what torch.save wrote; see its docstring.
CONVERTER = "training/autosing/models/convert.py"

UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
TORCH_LOADS = {"torch.load", "torch.serialization.load"}
# Functions that run what a file, a repository or a line of text says.
RUNNERS = {
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("builtins.eval", "builtins.exec", "eval", "exec"),
    *("torch.hub.load", "torch.jit.load", "torch.package.PackageImporter", "pandas.read_pickle"),
    *("yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all"),
}
# Collectives that unpickle what other ranks send.
OBJECT_COLLECTIVES = {
    *("all_gather_object", "gather_object", "broadcast_object_list", "scatter_object_list"),
    *("send_object_list", "recv_object_list"),
}
# Arguments that must be absent or False, literally.
FALSE_ONLY = {"allow_pickle", "shell", "trust_remote_code"}


def violations(source: str, place: str = "some/file.py") -> list[str]:
    """Returns what a source says that it must not say, each with its line."""
    tree = ast.parse(source)
    names = origins(tree)
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = []
    for node in ast.walk(tree):
        for told in (*imported(node), *said(node, names, calls.get(id(node)), place)):
            found.append(f"{place}:{getattr(node, 'lineno', 0)} {told}")
    return found


def origins(tree: ast.Module) -> dict[str, str]:
    """Returns what the names that are imported in a source stand for: `np` for `numpy`, `load` for `torch.load`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def dotted(node: ast.AST, names: dict[str, str]) -> str:
    """Returns the full name that an expression `a.b.c` stands for; nothing for other expressions."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value, names)):
        return f"{owner}.{node.attr}"
    return ""


def imported(node: ast.AST) -> Iterator[str]:
    modules: list[str] = []
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        modules = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
        modules = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    yield from (f"imports {module}" for module in modules if UNPICKLERS & {*module.split(".")})


def said(node: ast.AST, names: dict[str, str], call: ast.Call | None, place: str) -> Iterator[str]:
    """Yields what is wrong with an expression; `call` is the call that it is the function of, where it is one."""
    if isinstance(node, ast.keyword) and node.arg in FALSE_ONLY and not is_literal(node.value, False):
        yield f"sets {node.arg}"
    if not isinstance(node, ast.Name | ast.Attribute):
        return
    name = dotted(node, names) or ast.unparse(node)
    if name in RUNNERS or name.split(".")[-1] in OBJECT_COLLECTIVES:
        yield f"uses {name}"
    elif name in TORCH_LOADS and not (place == CONVERTER and argument_is(call, "weights_only", True)):
        yield "uses torch.load"
    elif name == "numpy.load" and not argument_is(call, "allow_pickle", False):
        yield "uses numpy.load without allow_pickle=False"
    elif name in {"yaml.load", "yaml.load_all"} and not has_safe_loader(call, names):
        yield "uses yaml.load without SafeLoader"


def is_literal(node: ast.AST, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def argument_is(call: ast.Call | None, name: str, value: bool) -> bool:
    return call is not None and any(k.arg == name and is_literal(k.value, value) for k in call.keywords)


def has_safe_loader(call: ast.Call | None, names: dict[str, str]) -> bool:
    if call is None:
        return False
    given = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "Loader")]
    return any(dotted(node, names).split(".")[-1] in {"SafeLoader", "CSafeLoader"} for node in given)


def test_no_source_says_what_could_run_foreign_code() -> None:
    places = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in SOURCES}
    assert CONVERTER in places and "benchmarks/f0.py" in places
    assert [told for place, source in places.items() for told in violations(source, place)] == []


def test_the_converter_is_the_one_file_that_opens_what_torch_saved() -> None:
    source = (ROOT / CONVERTER).read_text(encoding="utf-8")
    assert len(violations(source, "elsewhere.py")) == 1
    told = violations(source.replace("weights_only=True)", "weights_only=trusted)"), CONVERTER)
    assert [t.split(" ", 1)[1] for t in told] == ["uses torch.load"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import pickle", "imports pickle"),
        ("import os, dill as os2", "imports dill"),
        ("def f():\n    from joblib import load", "imports joblib.load"),
        ("from ray import cloudpickle", "imports ray.cloudpickle"),
        ("import marshal", "imports marshal"),
        ("import shelve", "imports shelve"),
        ("import importlib\nimportlib.import_module('pickle')", "imports pickle"),
        ("__import__('pickle')", "imports pickle"),
        ("import torch\ntorch.load(f)", "uses torch.load"),
        ("import torch\ntorch.load(f, weights_only=True)", "uses torch.load"),
        ("import torch as t\nt.serialization.load(f)", "uses torch.load"),
        ("from torch import load as read\nread(f)", "uses torch.load"),
        ("import torch\nreader = torch.load", "uses torch.load"),
        ("import torch\ntorch.hub.load('a/b', 'c')", "uses torch.hub.load"),
        ("import torch\ntorch.jit.load(f)", "uses torch.jit.load"),
        ("import numpy as np\nnp.load(f)", "uses numpy.load without allow_pickle=False"),
        ("import numpy\nnumpy.load(f, allow_pickle=flag)", "uses numpy.load without allow_pickle=False"),
        ("from numpy import load\nmap(load, files)", "uses numpy.load without allow_pickle=False"),
        ("import numpy as np\nnp.save(f, a, allow_pickle=True)", "sets allow_pickle"),
        ("import subprocess\nsubprocess.run(c, shell=True)", "sets shell"),
        ("import subprocess\nsubprocess.run(c, shell=bool(x))", "sets shell"),
        ("import subprocess\nsubprocess.getoutput(c)", "uses subprocess.getoutput"),
        ("import os\nos.system(c)", "uses os.system"),
        ("from os import popen\npopen(c)", "uses os.popen"),
        ("eval('1')", "uses eval"),
        ("exec('1')", "uses exec"),
        ("import builtins\nbuiltins.eval('1')", "uses builtins.eval"),
        ("import yaml\nyaml.load(f)", "uses yaml.load without SafeLoader"),
        ("import yaml\nyaml.load(f, Loader=yaml.Loader)", "uses yaml.load without SafeLoader"),
        ("import yaml\nyaml.unsafe_load(f)", "uses yaml.unsafe_load"),
        ("import torch.distributed as dist\ndist.all_gather_object(x, y)", "uses torch.distributed.all_gather_object"),
        ("group().broadcast_object_list(x)", "uses group().broadcast_object_list"),
        ("from torch.distributed import gather_object\ngather_object(x)", "uses torch.distributed.gather_object"),
        ("import torch\ntorch.distributed.send_object_list(x)", "uses torch.distributed.send_object_list"),
        ("AutoModel.from_pretrained(x, trust_remote_code=True)", "sets trust_remote_code"),
    ],
)
def test_each_rule_catches_what_it_is_for(source: str, told: str) -> None:
    assert told in [found.split(" ", 1)[1] for found in violations(source)]


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.load(f, allow_pickle=False)\nnp.loadtxt(f)",
        "import json, pickletools\njson.load(f)",
        "import yaml\nyaml.load(f, Loader=yaml.SafeLoader)\nyaml.load(f, yaml.CSafeLoader)\nyaml.safe_load(f)",
        "import subprocess\nsubprocess.run([c], shell=False)",
        "model.eval()\nmodel.load(f)\nimport re\nre.compile(x)",
        "AutoModel.from_pretrained(x, trust_remote_code=False)",
        "import torch.distributed as dist\ndist.all_gather(x, y)",
        "# pickle.load, torch.load\ntext = 'eval(1); import pickle'",
    ],
)
def test_no_rule_catches_what_is_harmless(source: str) -> None:
    assert violations(source) == []


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self._marker,)


def put_pickle(file: Path) -> None:
    file.write_bytes(pickle.dumps({"weights": Bomb(file.parents[1] / "ran")}))


def put_torch_file(file: Path) -> None:
    torch.save({"weights": Bomb(file.parents[1] / "ran")}, file)


def put_old_torch_file(file: Path) -> None:
    torch.save({"weights": Bomb(file.parents[1] / "ran")}, file, _use_new_zipfile_serialization=False)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def declare_huge_header(file: Path) -> None:
    file.write_bytes((2**62).to_bytes(8, "little") + file.read_bytes()[8:])


A_PICKLE = "is a pickle, which can run code when it is opened: it is refused"
TRUNCATED = "is truncated or no safetensors file"
DAMAGES = [
    (put_pickle, A_PICKLE),
    (put_torch_file, A_PICKLE),
    (put_old_torch_file, A_PICKLE),
    (truncate, TRUNCATED),
    (declare_huge_header, TRUNCATED),
]


def trained() -> Trained:
    return Trained(torch.nn.Linear(3, 2), (), None)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of a state whose files can be read."""
    folder = tmp_path / "step-00000001"
    folder.mkdir()
    model = trained().model.state_dict()
    save_file({f"model/{name}": tensor for name, tensor in model.items()}, folder / "state.safetensors")
    (folder / "state.json").write_text("{}")
    return folder


@pytest.mark.parametrize(("damage", "told"), DAMAGES)
def test_a_hostile_or_damaged_state_is_no_place_to_resume_from(
    damage: Callable[[Path], None], told: str, state: Path, tmp_path: Path
) -> None:
    damage(state / "state.safetensors")
    with pytest.raises(
        CheckpointError, match=rf"step-00000001/state\.safetensors {told}; remove .*step-00000001 to go on"
    ):
        load_state(state, trained())
    assert not (tmp_path / "ran").exists()


def test_a_torch_file_in_place_of_a_state_is_told_by_name(state: Path) -> None:
    shutil.rmtree(state)
    torch.save({}, state)
    with pytest.raises(CheckpointError, match=r"step-00000001/state\.safetensors does not exist; remove"):
        load_state(state, trained())


def test_a_state_without_its_facts_is_told_by_name(state: Path) -> None:
    (state / "state.json").write_bytes(pickle.dumps({}))
    with pytest.raises(CheckpointError, match=r"step-00000001 is no state of this run"):
        load_state(state, trained())


@pytest.mark.parametrize(("damage", "told"), DAMAGES)
def test_a_hostile_or_damaged_model_is_not_loaded(
    damage: Callable[[Path], None], told: str, state: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"format": 1, "class": "acoustic", "fields": {}, "contract": {}}')
    shutil.copy(state / "state.safetensors", model / "model.safetensors")
    damage(model / "model.safetensors")
    for read in (load_model, lambda folder: read_safetensors(folder / "model.safetensors")):
        with pytest.raises(CheckpointError, match=rf"model/model\.safetensors {told}; copy the directory again"):
            read(model)
    assert not (tmp_path / "ran").exists()
