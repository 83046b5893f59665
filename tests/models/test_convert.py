"""Torch checkpoints become safetensors; what wants to run code, is damaged or too big is refused and does nothing."""

import json
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from autosing.cli.main import main
from autosing.models.convert import convert_checkpoint
from autosing.models.flatten import flatten
from autosing.signal.errors import CheckpointError, UsageError


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self._marker}",)


def checkpoint() -> dict[str, Any]:
    """Returns what a trainer of the old kind leaves."""
    weights = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    model = OrderedDict(out=weights, tied=weights, turned=weights.T, row=weights[1], half=weights.bfloat16())
    groups = [{"lr": 1e-3, "betas": (0.9, 0.99), "params": [0, 1]}]
    return {
        "model": model,
        "optimizer": {"state": {0: {"step": torch.tensor(7), "exp_avg": torch.zeros(3, 4)}}, "param_groups": groups},
        "config": {"name": "ada", "rates": [375, 4], "dropout": None, "extra": {}},
        "best": float("inf"),
        "sparse": torch.eye(3).to_sparse(),
        "device": torch.device("cpu"),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_and_settings_come_over_and_the_rest_is_told(zipped: bool, tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "old.pt", _use_new_zipfile_serialization=zipped)
    done = convert_checkpoint(tmp_path / "old.pt", tmp_path / "new")
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["model.safetensors", "settings.json"]

    tensors = load_file(tmp_path / "new/model.safetensors")
    old = checkpoint()
    wanted = {f"model/{name}": tensor for name, tensor in old["model"].items()}
    wanted |= {f"optimizer/state/0/{name}": tensor for name, tensor in old["optimizer"]["state"][0].items()}
    assert sorted(done.tensors) == sorted(tensors) == sorted(wanted)
    for name, tensor in wanted.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0)

    group = "optimizer/param_groups/0"
    assert json.loads((tmp_path / "new/settings.json").read_text()) == {
        f"{group}/lr": 1e-3, f"{group}/betas": [0.9, 0.99], f"{group}/params": [0, 1],
        "config/name": "ada", "config/rates": [375, 4], "config/dropout": None, "config/extra": {},
    }  # fmt: skip
    assert done.skipped == {
        "best": "inf is no JSON number",
        "sparse": "a sparse, nested or quantized tensor",
        "device": "a device is neither a tensor nor a plain value",
    }


def raw_pickle(file: Path, bomb: Bomb) -> None:
    file.write_bytes(pickle.dumps({"weights": bomb}, protocol=2))


def new_pickle(file: Path, bomb: Bomb) -> None:
    file.write_bytes(pickle.dumps({"weights": bomb}, protocol=4))


def torch_zip(file: Path, bomb: Bomb) -> None:
    torch.save({"weights": torch.zeros(2), "bomb": bomb}, file)


def torch_legacy(file: Path, bomb: Bomb) -> None:
    torch.save({"weights": torch.zeros(2), "bomb": bomb}, file, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [raw_pickle, new_pickle, torch_zip, torch_legacy])
def test_a_file_that_wants_to_run_something_is_refused_by_name_and_runs_nothing(
    write: Callable[[Path, Bomb], None], tmp_path: Path
) -> None:
    write(tmp_path / "evil.pt", Bomb(tmp_path / "ran"))
    with pytest.raises(CheckpointError, match=r"evil.pt is refused: it wants to call (posix|nt)\.system, and a"):
        convert_checkpoint(tmp_path / "evil.pt", tmp_path / "new")
    assert [file.name for file in tmp_path.iterdir()] == ["evil.pt"]


def test_the_bomb_of_these_tests_goes_off_where_it_is_unpickled(tmp_path: Path) -> None:
    raw_pickle(tmp_path / "evil.pt", Bomb(tmp_path / "ran"))
    pickle.loads((tmp_path / "evil.pt").read_bytes())
    assert (tmp_path / "ran").exists()


def truncated(file: Path) -> None:
    torch.save({"w": torch.zeros(1000)}, file)
    file.write_bytes(file.read_bytes()[:-500])


def truncated_legacy(file: Path) -> None:
    torch.save({"w": torch.zeros(1000)}, file, _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes()[:-500])


def declared_huge(file: Path) -> None:
    """Writes an old file whose pickle declares 2^40 numbers, and a few follow."""
    torch.save({"w": torch.zeros(7)}, file, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    assert content.count(b"K\x07") == 2
    file.write_bytes(content.replace(b"K\x07", b"\x8a\x06" + (2**40).to_bytes(6, "little")))


def repeated(file: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(2**40)}, file)


def stretched(file: Path) -> None:
    """Writes a file whose pickle declares more numbers than its member has, though not more than the file."""
    torch.save({"w": torch.zeros(7), "z": torch.ones(1000)}, file.with_name("before"))
    with zipfile.ZipFile(file.with_name("before")) as before, zipfile.ZipFile(file, "w") as after:
        for name in before.namelist():
            after.writestr(name, before.read(name).replace(b"K\x07", b"K\x64"))
    file.with_name("before").unlink()


def no_tensor(file: Path) -> None:
    torch.save({"lr": 0.1}, file)


def plain_pickle(file: Path) -> None:
    file.write_bytes(pickle.dumps({"lr": 0.1}, protocol=2))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (truncated, r"old.pt is refused: it is truncated, or holds something else .*; copy it again"),
        (truncated_legacy, r"old.pt is refused: it is truncated, or holds something else"),
        (declared_huge, r"old.pt is refused: it takes more memory than allowed .*; allow more bytes, or copy it"),
        (repeated, r"old.pt is refused: it takes more memory than allowed \(its tensors have 4398046511104 bytes\)"),
        (stretched, r"old.pt is refused: .*record size \(28 bytes\) does not match expected size"),
        (no_tensor, r"old.pt is refused: .*\(it holds no tensor\)"),
        (plain_pickle, r"old.pt is refused: .*\(Invalid magic number; corrupt file\?\)"),
    ],
)
def test_a_damaged_or_lying_file_is_refused(write: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    write(tmp_path / "old.pt")
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(tmp_path / "old.pt", tmp_path / "new", max_bytes=2**20)
    assert [file.name for file in tmp_path.iterdir()] == ["old.pt"]


def test_what_is_no_checkpoint_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "notes.pt").write_text("la la la")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "folder.pt").mkdir()
    for name, message in {
        "notes.pt": r"notes.pt is no torch checkpoint \(it begins with b'la l'\); copy it again",
        "empty.pt": r"empty.pt is no torch checkpoint",
        "folder.pt": r"folder.pt is a folder; give a torch checkpoint",
        "absent.pt": r"absent.pt does not exist; give a torch checkpoint",
    }.items():
        with pytest.raises(CheckpointError, match=message):
            convert_checkpoint(tmp_path / name, tmp_path / "new")
    torch.save({}, tmp_path / "big.pt")
    with pytest.raises(CheckpointError, match=r"big.pt has \d+ bytes, more than 10; allow more"):
        convert_checkpoint(tmp_path / "big.pt", tmp_path / "new", max_bytes=10)


def test_a_target_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(UsageError, match=r"new exists; give a folder that does not, or remove it"):
        convert_checkpoint(tmp_path / "old.pt", tmp_path / "new")


def test_a_conversion_ends_in_time(tmp_path: Path) -> None:
    no_tensor(tmp_path / "old.pt")
    with pytest.raises(CheckpointError, match=r"old.pt took more than 0.05 s; allow more"):
        convert_checkpoint(tmp_path / "old.pt", tmp_path / "new", timeout_s=0.05)
    assert not (tmp_path / "new").exists()


def test_the_command_lists_what_it_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"w": torch.zeros(2), "lr": 0.1, "rng": b"\0\1"}, tmp_path / "old.pt")
    with pytest.raises(SystemExit) as end:
        main(["convert-checkpoint", str(tmp_path / "old.pt"), str(tmp_path / "new")])
    assert end.value.code == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/new: 1 tensors in model.safetensors, 1 settings in settings.json",
        "skipped rng: a bytes is neither a tensor nor a plain value",
    ]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (torch.zeros(1), ["value"]),
        ([torch.zeros(1), 3], ["0", "1"]),
        ({1: torch.zeros(1), "a": {"b.c": [torch.zeros(1), {"d": 1}]}}, ["1", "a/b.c/0", "a/b.c/1/d"]),
        ({"sizes": [[1, 2], [3]], "mixed": [1.0, float("nan")]}, ["sizes", "mixed/0", "mixed/1"]),
    ],
)
def test_values_are_named_by_the_keys_on_the_way(value: Any, names: list[str]) -> None:
    found = flatten(value)
    assert sorted([*found.tensors, *found.settings, *found.skipped]) == sorted(names)


def test_two_values_of_one_name_are_never_mixed_up() -> None:
    with pytest.raises(ValueError, match="two values are called a/b"):
        flatten({"a/b": 1, "a": {"b": 2}})
