"""Stopping and going on changes nothing: parameters, optimiser, average and log are the same bit for bit."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import runs
from runs import assert_same_run, logged
from toy_shards import voiced_sample, write_set

from autosing.signal.errors import CheckpointError, UsageError
from autosing.training.loop import OnStep, RunResult
from autosing.training.run import train

STEPS = 40
COMMON = [
    "steps=40",
    "seconds_per_batch=1",
    "microbatches=2",
    "warmup_steps=5",
    "ema_decay=0.9",
    "log_every=5",
    "validate_every=20",
    "save_every=10",
]
SETTINGS = ["size=tiny", *COMMON]
RECIPES = {"acoustic": SETTINGS, "toy_gan:recipe": [*COMMON, "optimiser=muon", "crop_s=0.7"]}


def run(toy_set: Path, out: Path, on_step: OnStep | None = None, resume: bool = False, **changes: int) -> RunResult:
    settings = [f"{name}={value}" for name, value in changes.items()]
    return train("acoustic", toy_set, out, settings if resume else SETTINGS + settings, resume, on_step)


def stop_at(step: int) -> OnStep:
    def on_step(now: int, line: Mapping[str, float]) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return on_step


class PowerCut(BaseException):
    """Ends a run with no chance to save."""


def die_at(step: int) -> OnStep:
    def on_step(now: int, line: Mapping[str, float]) -> None:
        if now == step:
            raise PowerCut

    return on_step


@pytest.fixture(scope="module")
def straight(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "straight"
    assert run(toy_set, folder).finished
    return folder


@pytest.mark.parametrize("readers", [0, 1])
def test_stopping_at_17_and_resuming_to_40_is_as_40_straight(
    toy_set: Path, straight: Path, tmp_path: Path, readers: int
) -> None:
    stopped = run(toy_set, tmp_path / "run", stop_at(17))
    assert (stopped.step, stopped.finished) == (17, False)
    resumed = run(toy_set, tmp_path / "run", resume=True, readers=readers)
    assert (resumed.step, resumed.finished) == (40, True)
    assert_same_run(straight, tmp_path / "run", STEPS)


def test_dying_without_warning_loses_only_what_came_after_the_last_state(
    toy_set: Path, straight: Path, tmp_path: Path
) -> None:
    with pytest.raises(PowerCut):
        run(toy_set, tmp_path / "run", die_at(27))
    assert logged(tmp_path / "run")[-1]["step"] == 25
    assert run(toy_set, tmp_path / "run", resume=True).finished
    assert_same_run(straight, tmp_path / "run", STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_that_is_killed_and_resumed_is_as_one_that_was_not(toy_set: Path, tmp_path: Path, recipe: str) -> None:
    settings = RECIPES[recipe]
    assert runs.run(recipe, toy_set, tmp_path / "straight", settings) == 0
    assert runs.run(recipe, toy_set, tmp_path / "killed", settings, die_at=17) == -9
    assert logged(tmp_path / "killed")[-1]["step"] == 15
    assert runs.run(recipe, toy_set, tmp_path / "killed", ["readers=1"], resume=True) == 0
    assert_same_run(tmp_path / "straight", tmp_path / "killed", STEPS)


OF_SOUND = {
    "codec": ["n_codes=16", "code_dim=4", "crop_s=0.4"],
    "multires": ["n_tokens=16", "code_dim=4", "resynthesis=mel", "adversarial_weight=0"],
    "vocoder": ["crop_s=0.4", "adversarial_from=2"],
    "unit_vocoder": ["crop_s=0.4"],
    "semantic": ["n_tokens=16", "code_dim=4"],
    "soft_units": ["n_units=12"],
    "pitdyn": [],
    "t2s": ["text_times=even", "target=units", "n_tokens=12", "guided_weight=1"],
    "sm2a": ["semantic=units", "n_semantic_tokens=12", "codes=codes_1,codes_2", "n_codes=10", "unrolled_share=0.5"],
    "soft_hubert": ["n_units=12", "pitch_bins=40", "dynamic_bins=8", "unmasked_weight=0.5", "masked_span=3"],
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", OF_SOUND)
def test_codebooks_judges_and_averages_go_on_as_they_were(tmp_path: Path, hubert: str, recipe: str) -> None:
    samples = [voiced_sample(number, 0.5) for number in range(6)]
    data = write_set(tmp_path / "set", {"train": [samples[:4]], "valid": [samples[4:]]})
    often = [
        "steps=6",
        "seconds_per_batch=1",
        "warmup_steps=2",
        "log_every=1",
        "validate_every=3",
        "save_every=2",
        "ema_decay=0.9",
    ]
    settings = [f"encoder={hubert}" if recipe == "soft_hubert" else "size=tiny", *often, *OF_SOUND[recipe]]
    train(recipe, data, tmp_path / "straight", settings)
    with pytest.raises(PowerCut):
        train(recipe, data, tmp_path / "cut", settings, on_step=die_at(3))
    assert train(recipe, data, tmp_path / "cut", [], resume=True).step == 6
    assert_same_run(tmp_path / "cut", tmp_path / "straight", 6)


def test_the_last_states_are_kept_and_a_finished_run_is_done_at_once(toy_set: Path, straight: Path) -> None:
    assert sorted(folder.name for folder in (straight / "checkpoints").iterdir()) == ["step-00000030", "step-00000040"]
    again = run(toy_set, straight, resume=True)
    assert (again.step, again.finished, again.model) == (40, True, straight / "model")


def test_tensorboard_shows_curves_and_mels(straight: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    board = EventAccumulator(str(straight / "tensorboard"))
    board.Reload()
    assert {"train/mel_l1", "train/grad_norm", "train/lr", "valid/mel_l1"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Images("look/mel")] == [20, 40]
    assert [event.step for event in board.Scalars("train/mel_l1")] == list(range(5, 45, 5))


def test_resuming_a_folder_without_a_state_starts_from_the_beginning(toy_set: Path, tmp_path: Path) -> None:
    result = train("acoustic", toy_set, tmp_path / "new", [*SETTINGS, "steps=1"], resume=True)
    assert (result.step, result.finished) == (1, True)


def test_a_run_is_not_overwritten(toy_set: Path, straight: Path) -> None:
    with pytest.raises(UsageError, match=r"straight is not empty; resume the run in it, or give a new folder"):
        run(toy_set, straight)


def test_a_folder_of_something_else_is_not_resumed(toy_set: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UsageError, match=r"holds files but no run"):
        run(toy_set, tmp_path, resume=True)


def test_another_recipe_does_not_resume_a_run(toy_set: Path, straight: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is of the recipe acoustic, not soft_vc; resume acoustic"):
        train("soft_vc", toy_set, straight, [], resume=True)


def test_another_set_does_not_resume_a_run(tmp_path: Path, toy_set: Path, straight: Path) -> None:
    other = tmp_path / "set"
    other.mkdir()
    for file in toy_set.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "digest": "f00"}))
    with pytest.raises(CheckpointError, match=rf"was trained on the set {manifest['digest']}, but .* is f00"):
        run(other, straight, resume=True)


def test_what_makes_a_run_what_it_is_cannot_change_on_the_way(toy_set: Path, straight: Path) -> None:
    with pytest.raises(UsageError, match=r"was started with seed=0, which cannot become 1 .* change only: steps"):
        run(toy_set, straight, resume=True, seed=1)


def test_a_damaged_state_is_named_with_the_way_out(toy_set: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train("acoustic", toy_set, folder, [*SETTINGS, "steps=2"])
    state = folder / "checkpoints/step-00000002/state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(
        CheckpointError, match=r"state.safetensors is truncated .* remove .*step-00000002 to go on from"
    ):
        run(toy_set, folder, resume=True)
