"""Recipes are described, and settings are checked against their types."""

from pathlib import Path

import pytest

from autosing.signal.errors import UsageError
from autosing.training.recipes import RECIPES, acoustic, apply_settings, describe_recipes
from autosing.training.run import train


def test_settings_are_read_by_their_type() -> None:
    config = apply_settings(acoustic(), ["steps=400", "lr=3e-4", "use_f0=false", "size=tiny", "schedule=wsd"])
    assert (config.steps, config.lr, config.use_f0, config.size, config.schedule) == (400, 3e-4, False, "tiny", "wsd")
    assert config.use_energy


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stepz=4", r"there is no setting 'stepz'; there are: .*steps, .*decoder"),
        ("steps", r"has no value; write field=value"),
        ("steps=many", r"steps=many: 'many' is not a whole number"),
        ("steps=1.5", r"'1.5' is not a whole number"),
        ("lr=fast", r"'fast' is not a number"),
        ("lr=nan", r"'nan' is not a number"),
        ("use_f0=0", r"'0' is not one of true, false"),
        ("size=huge", r"'huge' is not one of tiny, small, base"),
        ("steps=0", r"steps is 0; it must be above 0"),
        ("lr=-1", r"lr is -1.0; it must be above 0"),
        ("readers=-1", r"readers is -1; it must not be below 0"),
        ("ema_decay=1", r"ema_decay is 1.0; it must be below 1"),
        ("singer_dropout=2", r"singer_dropout is 2.0; it must be from 0 to 1"),
        ("n_units=0", r"n_units is 0; it must be above 0"),
    ],
)
def test_a_wrong_setting_says_what_is_right(setting: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        apply_settings(acoustic(), [setting])


def test_recipes_are_described_with_their_columns_and_settings() -> None:
    described = {info.name: info for info in describe_recipes()}
    assert described.keys() == RECIPES.keys()
    assert described["soft_vc"].columns == ("units", "mel")
    assert described["acoustic"].columns == ("units", "mel", "f0_hz", "voiced", "energy")
    assert described["acoustic"].settings["size"] == ("one of tiny, small, base", "small", "of the model.")
    assert all(meaning for info in described.values() for *_, meaning in info.settings.values())
    assert all(info.summary for info in described.values())


def test_a_recipe_of_ones_own_is_described_as_well() -> None:
    (info,) = describe_recipes(["toy_gan:recipe"])
    assert (info.summary, info.columns) == ("Units to mels, with a discriminator.", ("units", "mel"))
    assert info.settings["adversarial"][2] == "weight of what the discriminator says; 0 has none."


def test_an_unknown_recipe_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"no recipe 'acustic'; there are: acoustic, aligner, aligner_synthetic, codec, multires, .*, vocoder;",
    ):
        train("acustic", tmp_path, tmp_path)
