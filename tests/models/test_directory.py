"""Model directories give back what was saved, and refuse everything else by name."""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autosing.models.acoustic import AcousticModel, sized
from autosing.models.directory import (
    check_contract,
    directory_digest,
    load_model,
    load_tensors,
    register_model,
    save_model,
    save_tensors,
)
from autosing.models.folder import recover_folder, whole_folder
from autosing.signal.errors import CheckpointError, UsageError

CONTRACT = {"mel": {"hop": 256, "n_mels": 8}, "rates": {"mel": "375/4"}, "singers": ["ada"]}


def tiny_model() -> AcousticModel:
    torch.manual_seed(0)
    rates = {"mel": "375/4", "units": "50"}
    return AcousticModel(sized("tiny", "lstm", n_units=5, n_mels=8, rates=rates, n_singers=1))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", tiny_model(), CONTRACT)
    return tmp_path / "model"


def test_a_model_comes_back_with_its_weights_fields_and_contract(saved: Path) -> None:
    loaded = load_model(saved, {"mel": {"hop": 256}})
    assert loaded.contract == CONTRACT
    assert isinstance(loaded.model, AcousticModel)
    assert loaded.model.fields == tiny_model().fields
    assert not loaded.model.training
    torch.testing.assert_close(loaded.model.state_dict(), tiny_model().state_dict(), rtol=0, atol=0)


def test_whoever_may_read_the_folder_may_read_the_model(saved: Path) -> None:
    assert {file.stat().st_mode & 0o777 for file in saved.iterdir()} == {saved.stat().st_mode & 0o666}


def test_a_path_may_be_text(saved: Path) -> None:
    assert load_model(str(saved)).digest == load_model(saved).digest


def test_how_a_model_was_trained_comes_back_where_it_was_stored(saved: Path) -> None:
    assert load_model(saved).training is None
    training = {"recipe": "acoustic", "data": "0a1b", "metrics": {"mcd_db": 5.5}}
    save_model(saved, tiny_model(), CONTRACT, training)
    assert load_model(saved).training == training


@dataclass(frozen=True)
class DuetFields:
    in_features: int
    out_features: int = 2


class Nets:
    """A place that gives a class a dotted name."""

    class Duet(torch.nn.Linear):
        fields_type = DuetFields

        def __init__(self, fields: DuetFields) -> None:
            super().__init__(fields.in_features, fields.out_features)
            self.fields = fields


class Stranger(Nets.Duet):
    pass


def test_a_class_of_another_package_is_saved_and_loaded_once_it_is_registered(tmp_path: Path) -> None:
    duet = Nets.Duet(DuetFields(3))
    register_model("duet", __name__, "Nets.Duet")
    register_model("duet", __name__, "Nets.Duet")
    register_model("alias", __name__, "Nets.Duet")
    save_model(tmp_path / "model", duet, {})
    assert load_tensors(tmp_path / "model")[1]["class"] == "duet"
    loaded = load_model(tmp_path / "model").model
    assert type(loaded) is Nets.Duet
    torch.testing.assert_close(loaded.state_dict(), duet.state_dict(), rtol=0, atol=0)


def test_a_name_never_changes_what_it_stands_for() -> None:
    with pytest.raises(UsageError, match=r"'acoustic' stands for autosing\.models\.acoustic\.AcousticModel and can't"):
        register_model("acoustic", "elsewhere", "AcousticModel")


def test_a_class_that_is_not_registered_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Stranger is no registered model, .* call .*register_model\(NAME"):
        save_model(tmp_path / "model", Stranger(DuetFields(3)), {})
    assert not (tmp_path / "model").exists()


def test_a_registered_class_that_is_not_installed_is_told(saved: Path) -> None:
    register_model("lost", "autosing_no_such_package.nets", "Net")
    change_config(**{"class": "lost"})(saved)
    with pytest.raises(CheckpointError, match=r"registered as autosing_no_such_package.nets.Net, which can't be imp"):
        load_model(saved)


def test_arrays_come_back_with_type_shape_and_settings(tmp_path: Path) -> None:
    arrays = {"codebook": np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32), "one": np.array(2.0)}
    save_tensors(tmp_path / "book", {"codebook": arrays["codebook"].T, "one": arrays["one"]}, {"k": 4})
    tensors, config = load_tensors(tmp_path / "book")
    assert config == {"k": 4}
    np.testing.assert_array_equal(tensors["codebook"], arrays["codebook"].T)
    assert tensors["one"].shape == ()


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    book = {"codebook": np.eye(3, dtype=np.float32)}
    for name, arrays, config in (
        ("a", book, {"k": 3}),
        ("b", book, {"k": 3}),
        ("c", book, {"k": 4}),
        ("d", {}, {"k": 3}),
    ):
        save_tensors(tmp_path / name, arrays, config)
    digests = {name: directory_digest(tmp_path / name) for name in "abcd"}
    assert digests["a"] == digests["b"]
    assert len(set(digests.values())) == 3


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("this must never be printed",)


def put_pickle(path: Path) -> None:
    (path / "model.safetensors").write_bytes(pickle.dumps({"weights": Bomb()}))


def put_torch_file(path: Path) -> None:
    torch.save(tiny_model().state_dict(), path / "model.safetensors")


def truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])


def flip(path: Path) -> None:
    file = path / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def remove_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def put_folder(path: Path) -> None:
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").mkdir()


def remove_config(path: Path) -> None:
    (path / "config.json").unlink()


def cut_config(path: Path) -> None:
    (path / "config.json").write_text((path / "config.json").read_text()[:40])


def put_list(path: Path) -> None:
    (path / "config.json").write_text("[]")


def change_config(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, **changes}))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (put_pickle, r"model.safetensors is a pickle, which can run code when it is opened: it is refused"),
        (put_torch_file, r"model.safetensors is a pickle"),
        (truncate, r"model.safetensors is truncated or no safetensors file"),
        (flip, r"model.safetensors is not the file that config.json was written with"),
        (remove_weights, r"model.safetensors does not exist"),
        (remove_config, r"is not a model directory: it has no config.json; a model directory holds"),
        (cut_config, r"config.json is not JSON"),
        (put_list, r"config.json is of format None, and this version reads 1"),
        (change_config(format=2), r"config.json is of format 2, and this version reads 1"),
        (change_config(**{"class": "os.system"}), r"unknown class 'os.system'; known: acoustic"),
        (change_config(**{"class": ["acoustic"]}), r"unknown class \['acoustic'\]"),
        (change_config(fields={"n_units": 5}), r"fields of another version of acoustic"),
        (change_config(fields=[]), r"config.json: fields is \[\], and a model needs a mapping; copy the directory"),
        (change_config(contract=None), r"config.json: contract is None, and a model needs a mapping"),
        (change_config(training="by hand"), r"config.json: training is 'by hand', and a model needs a mapping"),
        (put_folder, r"model.safetensors is no file"),
        (
            change_config(fields={**vars(tiny_model().fields), "n_mels": 9}),
            r"does not fit its config.json: decoder.out.bias is \(8,\), expected \(9,\)",
        ),
        (  # More than any machine has: told without asking for it.
            change_config(fields={**vars(tiny_model().fields), "n_mels": 10**13}),
            r"does not fit its config.json: decoder.out.bias is \(8,\), expected \(10000000000000,\)",
        ),
    ],
)
def test_a_damaged_or_foreign_directory_is_refused_by_name(
    saved: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], message: str
) -> None:
    damage(saved)
    with pytest.raises(CheckpointError, match=message):
        load_model(saved)
    assert capsys.readouterr().out == ""


def test_a_file_is_no_model_directory(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model.pt is not a model directory"):
        load_model(tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model.pt is not a model directory"):
        directory_digest(tmp_path / "model.pt")


def test_arrays_are_not_taken_for_a_model(tmp_path: Path) -> None:
    save_tensors(tmp_path / "book", {}, {"k": 3})
    with pytest.raises(CheckpointError, match=r"has no 'class': it holds arrays, not a model"):
        load_model(tmp_path / "book")


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"mel": {"hop": 320}}, r"was trained with mel.hop = 256, but it is 320 here; use data built with"),
        ({"singers": ["ben"]}, r"singers = \['ada'\], but it is \['ben'\] here"),
        ({"rates": {"units": "50"}}, r"rates.units = None, but it is '50' here"),
    ],
)
def test_another_contract_is_refused_with_field_and_both_values(
    saved: Path, expected: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_model(saved, expected)


def test_a_mel_of_before_other_filters_came_has_those_there_were() -> None:
    check_contract("the model", {"mel": {"spec": {}}}, {"mel": {"spec": {"filters": "slaney"}}}, exact=True)
    check_contract("the model", {"mel": {"spec": {"filters": "slaney"}}}, {"mel": {"spec": {}}}, exact=True)
    for found, expected in (({}, {"filters": "htk"}), ({"filters": "htk"}, {})):
        with pytest.raises(CheckpointError, match=r"was trained with mel\.spec\.filters = '"):
            check_contract("the model", {"mel": {"spec": found}}, {"mel": {"spec": expected}})


def test_saving_again_replaces_the_whole_directory(saved: Path) -> None:
    (saved / "stray.txt").touch()
    save_model(saved, tiny_model(), CONTRACT)
    assert sorted(file.name for file in saved.iterdir()) == ["config.json", "model.safetensors"]
    assert [folder.name for folder in saved.parent.iterdir()] == ["model"]


def test_a_failed_save_leaves_what_was_there(saved: Path) -> None:
    before = directory_digest(saved)
    with pytest.raises(ValueError, match="JSON"):
        save_model(saved, tiny_model(), {"scale": float("nan")})
    assert directory_digest(saved) == before
    assert [folder.name for folder in saved.parent.iterdir()] == ["model"]


def test_a_folder_that_died_between_its_renames_comes_back(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "model") as draft:
        (draft / "weights").write_text("old")
    (tmp_path / "model").rename(tmp_path / ".model.former")
    recover_folder(tmp_path / "model")
    assert (tmp_path / "model/weights").read_text() == "old"
