"""Fine-tuning: a run that begins from a model is that model at step 0, and what does not fit is refused."""

from pathlib import Path

import pytest
import torch

from autosing.models.acoustic import UNKNOWN_SINGER
from autosing.models.directory import load_model
from autosing.signal.errors import CheckpointError
from autosing.training.loop import Loop
from autosing.training.ranks import joined
from autosing.training.recipes import acoustic, apply_settings
from autosing.training.run import train
from autosing.training.shards import Data

SETTINGS = ["size=tiny", "steps=4", "seconds_per_batch=1", "validate_every=4", "save_every=4", "warmup_steps=0"]


@pytest.fixture(scope="module")
def base(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that has learned a little."""
    result = train("acoustic", toy_set, tmp_path_factory.mktemp("tuning") / "base", SETTINGS)
    return str(result.model)


def test_step_0_is_the_base(base: str, toy_set: Path, tmp_path: Path) -> None:
    config = apply_settings(acoustic(), [*SETTINGS, f"begin_from={base}", "seed=5"])
    data = Data.open([str(toy_set)], ())
    with joined("cpu") as ranks:
        begun = Loop(config.task(data.manifest), data, tmp_path / "run", ranks, {}, ())._trained.model
    wanted = load_model(base).model.state_dict()
    assert wanted.keys() == begun.state_dict().keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in begun.state_dict().items())


def test_a_run_goes_on_learning_from_its_base_and_says_so(base: str, toy_set: Path, tmp_path: Path) -> None:
    result = train("acoustic", toy_set, tmp_path / "run", [*SETTINGS, f"begin_from={base}"])
    assert result.model is not None
    loaded = load_model(result.model)
    assert loaded.training is not None and loaded.training["config"]["begin_from"] == base
    moved, began = (model.state_dict() for model in (loaded.model, load_model(base).model))
    assert any(not torch.equal(tensor, began[name]) for name, tensor in moved.items())
    # The statistics are the base's; measured anew they would be those of other samples.
    assert torch.equal(moved["mel_mean"], began["mel_mean"])


@pytest.mark.parametrize(
    ("recipe", "settings", "told"),
    [
        ("acoustic", ["decoder=lstm"], "begin_from: .* in the model and .* here"),
        ("soft_vc", [], "begin_from: the model was trained with definitions.energy"),
    ],
)
def test_what_does_not_fit_is_refused(
    base: str, toy_set: Path, tmp_path: Path, recipe: str, settings: list[str], told: str
) -> None:
    with pytest.raises(CheckpointError, match=told):
        train(recipe, toy_set, tmp_path / "run", [*SETTINGS, *settings, f"begin_from={base}"])


def test_known_singers_keep_their_rows_and_new_ones_begin_as_nobody(base: str, toy_set: Path) -> None:
    known = load_model(base)
    known.model.singers.weight.data += torch.arange(len(known.model.singers.weight))[:, None]
    config = apply_settings(acoustic(), SETTINGS)
    task = config.task(Data.open([str(toy_set)], ()).manifest)
    names = list(reversed(known.contract["singers"]))
    task.singers = ("new", *names)
    task.singer_rows = {name: UNKNOWN_SINGER + 1 + i for i, name in enumerate(task.singers)}
    model = task.build()
    task.adopt(model, known, ())
    table = known.model.singers.weight
    assert torch.equal(model.singers.weight[task.singer_rows["new"]], table[UNKNOWN_SINGER])
    for n, name in enumerate(known.contract["singers"]):
        assert torch.equal(model.singers.weight[task.singer_rows[name]], table[UNKNOWN_SINGER + 1 + n])
