"""Models go to a hub and come back, through the real client; what is cached needs no network."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_hub import TOKEN, FakeHub, fake_hub

from autosing.models.acoustic import AcousticModel, sized
from autosing.models.arrays import directory_digest, save_tensors
from autosing.models.directory import load_model, save_model
from autosing.models.hub import model_card, model_folder, push_model
from autosing.signal.errors import CheckpointError, UsageError

CONTRACT = {"mel": {"hop": 256}, "singers": ["ada"]}
TRAINING = {"recipe": "acoustic", "versions": {"autosing": "0.1.0"}, "metrics": {"mcd_db": 5.5}}

LOAD = """
import json, sys
from autosing.models.directory import load_model
loaded = load_model(sys.argv[1], {"mel": {"hop": 256}})
print(json.dumps({"digest": loaded.digest, "training": loaded.training}))
"""
FETCH = """
import sys
from autosing.models.hub import model_folder
from autosing.signal.errors import AutosingError
try:
    print(model_folder(sys.argv[1]))
except AutosingError as error:
    sys.exit(str(error))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    rates = {"mel": "375/4", "units": "50"}
    model = AcousticModel(sized("tiny", "lstm", n_units=5, n_mels=8, rates=rates, n_singers=1))
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(folder, model, CONTRACT, TRAINING)
    return folder


@dataclass(frozen=True)
class Machine:
    """Fresh interpreters with one Hugging Face home, which know one hub."""

    hub: FakeHub
    home: Path

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        known = {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.home), "HF_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1"}
        quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-W", "error", *arguments]
        environment = {**os.environ, **known, **quiet, **environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def push(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "autosing.cli.main", "push", *arguments, **environment)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with fake_hub() as hub:
        yield Machine(hub, tmp_path / "home")


def test_a_model_is_pushed_fetched_and_then_loaded_without_the_hub(machine: Machine, saved: Path) -> None:
    (saved / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    done = machine.push(str(saved), "choir/ada")
    assert done.stdout.strip() == f"{machine.hub.url}/choir/ada", done.stderr
    repository = machine.hub.repositories["choir/ada"]
    assert repository.private
    assert sorted(repository.commits[-1][1]) == ["README.md", "config.json", "model.safetensors"]
    assert len(repository.commits) == 2, "one commit on top of the empty one"

    first = machine.run("-c", LOAD, "choir/ada")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout) == {"digest": directory_digest(saved), "training": TRAINING}

    asked = len(machine.hub.requests)
    assert machine.run("-c", LOAD, "choir/ada").stdout == first.stdout
    assert len(machine.hub.requests) == asked, "what is cached needs no question"
    gone = machine.run("-c", LOAD, "choir/ada", HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="")
    assert gone.stdout == first.stdout, gone.stderr


def test_only_three_files_of_a_repository_are_fetched(machine: Machine, saved: Path) -> None:
    assert machine.push(str(saved), "choir/ada").returncode == 0
    machine.hub.repositories["choir/ada"].commit({"pytorch_model.bin": b"\x80\x02", "modeling.py": b"exit()"})
    done = machine.run("-c", FETCH, "choir/ada")
    names = sorted(file.name for file in Path(done.stdout.strip()).iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"], done.stderr


def test_a_revision_gives_the_model_of_that_commit(machine: Machine, saved: Path) -> None:
    assert machine.push(str(saved), "choir/ada").returncode == 0
    repository = machine.hub.repositories["choir/ada"]
    commit = repository.commits[-1][0]
    repository.commit({"config.json": b"{}"})
    old = machine.run("-c", FETCH, f"choir/ada@{commit}")
    assert directory_digest(Path(old.stdout.strip())) == directory_digest(saved), old.stderr
    new = machine.run("-c", FETCH, "choir/ada")
    assert (Path(new.stdout.strip()) / "config.json").read_text() == "{}"
    missing = machine.run("-c", FETCH, "choir/ada@v9")
    assert "choir/ada@v9 is no local folder and can't be fetched: the hub has the model, but not this" in missing.stderr


def test_a_model_that_is_not_there_is_told_with_both_ways_out(machine: Machine) -> None:
    done = machine.run("-c", FETCH, "choir/nobody")
    assert done.returncode == 1
    assert "choir/nobody is no local folder and can't be fetched: the hub has no such model, or it is" in done.stderr
    assert "give the path of a model directory, or fetch it where there is a network (`hf download" in done.stderr
    away = machine.run("-c", FETCH, "choir/nobody", HF_ENDPOINT="http://127.0.0.1:9")
    assert "it is not in the local Hugging Face cache, and the hub can't be reached" in away.stderr


def test_a_repository_without_safetensors_is_refused(machine: Machine, saved: Path) -> None:
    assert machine.push(str(saved), "choir/ada").returncode == 0
    del machine.hub.repositories["choir/ada"].commits[-1][1]["model.safetensors"]
    done = machine.run("-c", FETCH, "choir/ada")
    assert "the model choir/ada can't be used: its repository has no model.safetensors" in done.stderr


def test_a_push_needs_a_login(machine: Machine, saved: Path) -> None:
    done = machine.push(str(saved), "choir/ada", HF_TOKEN="")
    assert done.returncode == 1
    assert "can't be pushed to choir/ada" in done.stderr and "log in with `hf auth login`" in done.stderr
    assert machine.hub.repositories == {}


def test_a_private_push_never_lands_in_a_public_repository(machine: Machine, saved: Path) -> None:
    assert machine.push(str(saved), "choir/ada", "--public").returncode == 0
    repository = machine.hub.repositories["choir/ada"]
    assert not repository.private
    before = list(repository.commits)
    done = machine.push(str(saved), "choir/ada")
    assert done.returncode == 1
    assert "choir/ada exists and is public, but it was to be private; nothing was uploaded" in done.stderr
    assert repository.commits == before


def test_a_damaged_or_foreign_directory_is_never_uploaded(tmp_path: Path) -> None:
    save_tensors(tmp_path / "book", {}, {"k": 3})
    (tmp_path / "book/model.safetensors").write_bytes(pickle.dumps({}))
    torch.save({}, tmp_path / "model.pt")
    with fake_hub() as hub:
        for name, told in (("book", "is a pickle"), ("model.pt", "is not a model directory")):
            with pytest.raises(CheckpointError, match=told):
                push_model(tmp_path / name, "choir/ada", endpoint=hub.url)
        assert hub.requests == []


WRONG = (
    "ada",
    "choir/ada/1",
    "../ada",
    "choir/..",
    "choir/a..b",
    "choir/ada.git",
    "/etc",
    "choir/ada b",
    "choir/ä",
    "-c/ada",
    "c/" + "a" * 99,
)


@pytest.mark.parametrize("name", [*WRONG, "choir/ada@", "choir/ada@../../x", "choir/ada@a//b", "choir/ada@-f", "a@b/c"])
def test_what_is_no_path_and_no_id_is_told_without_a_network(name: str) -> None:
    with pytest.raises(CheckpointError, match="is neither a folder nor a Hugging Face id; give the path of"):
        model_folder("/nowhere" if name == "/etc" else name)


@pytest.mark.parametrize("name", [*WRONG, "choir/ada@main"])
def test_nothing_is_pushed_to_what_is_no_id(name: str, saved: Path) -> None:
    with pytest.raises(UsageError, match="is no Hugging Face id; give ORG/NAME, of letters"):
        push_model(saved, name)


def test_a_local_folder_wins_over_an_id(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parents[1])
    assert load_model(f"{saved.parent.name}/{saved.name}").training == TRAINING
    assert model_folder(saved) == saved


def test_the_card_tells_class_fields_contract_and_training() -> None:
    config: dict[str, Any] = {"class": "acoustic", "fields": {"n_mels": 8}, "contract": CONTRACT, "training": TRAINING}
    card = model_card("choir/ada", config)
    assert card.startswith("---\nlibrary_name: autosing\n")
    for told in ('load_model("choir/ada")', '"acoustic"', '"n_mels": 8', '"hop": 256', '"mcd_db": 5.5'):
        assert told in card
    del config["training"]
    assert "## Training" not in model_card("choir/ada", config)


def test_text_in_a_config_cannot_leave_its_place_in_the_card() -> None:
    card = model_card("choir/ada", {"class": "acoustic", "fields": {}, "contract": {"singers": ["\n```\n# Fooled"]}})
    assert "\n# Fooled" not in card


def test_arrays_have_a_card_too() -> None:
    card = model_card("choir/book", {"k": 3})
    assert "load_tensors" in card and '"k": 3' in card
