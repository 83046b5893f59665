"""What a run keeps, when it ends by itself, and what it says of itself."""

import gc
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import toy_gan
from toy_judged import Judged
from toy_shards import ToySample, sung_sample, toy_samples, voiced_sample, write_set

from autosing.models.directory import load_model
from autosing.signal.errors import DataError, UsageError
from autosing.training.manifest import Manifest
from autosing.training.provenance import provenance
from autosing.training.recipes import RECIPES, apply_settings, default_config
from autosing.training.run import train

SETTINGS = ["seconds_per_batch=2", "log_every=2", "validate_every=2", "save_every=4"]


@pytest.mark.parametrize(("recipe", "best"), [("low", 6), ("high", 4)])
def test_the_best_model_is_kept_by_the_metric(toy_set: Path, tmp_path: Path, recipe: str, best: int) -> None:
    Judged.told = [5.0, 7.0, 3.0, float("nan"), 4.0]
    result = train(f"toy_judged:{recipe}", toy_set, tmp_path / "run", [*SETTINGS, "steps=10"])
    assert result.model is not None
    training = load_model(result.model).training
    assert (training["step"], training["recipe"]) == (best, f"toy_judged:{recipe}")
    assert result.metrics == {"valid/mel_l1": 4.0}


def test_a_metric_that_is_no_number_neither_is_best_nor_ends_the_run(toy_set: Path, tmp_path: Path) -> None:
    Judged.told = [float("inf"), 3.0]
    Judged.beside = float("nan")
    result = train("toy_judged:low", toy_set, tmp_path / "run", [*SETTINGS, "steps=4"])
    Judged.beside = None
    assert result.model is not None
    assert load_model(result.model).training["metrics"] == {"valid/mel_l1": 3.0, "valid/beside": None}


def test_the_last_weights_are_kept_where_no_metric_is_a_number(toy_set: Path, tmp_path: Path) -> None:
    Judged.told = [float("nan"), float("nan")]
    result = train("toy_judged:low", toy_set, tmp_path / "run", [*SETTINGS, "steps=4"])
    assert result.model is not None
    assert load_model(result.model).training["step"] == 4


def test_frozen_parts_stay_as_they_are_through_a_validation(toy_set: Path, tmp_path: Path) -> None:
    Judged.told = [5.0, 4.0]
    Judged.modes.clear()
    train("toy_judged:frozen", toy_set, tmp_path / "run", [*SETTINGS, "steps=4"])
    assert Judged.modes == [(True, False)] * 4, "the generator trains, its dropout is frozen"


def test_a_folder_is_of_one_run_at_a_time(toy_set: Path, tmp_path: Path) -> None:
    def another(step: int, line: object) -> None:
        if step == 1:
            with pytest.raises(UsageError, match=r"another process trains in .*run; wait for it"):
                train("toy_gan:recipe", toy_set, tmp_path / "run", [], resume=True)

    train("toy_gan:recipe", toy_set, tmp_path / "run", [*SETTINGS, "steps=2"], on_step=another)


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot take denormals as 0")
def test_numbers_that_fade_away_are_0_while_a_run_lasts(toy_set: Path, tmp_path: Path) -> None:
    halves, faint = [], torch.tensor(2e-39)
    train(
        "toy_gan:recipe", toy_set, tmp_path / "run", [*SETTINGS, "steps=2"], on_step=lambda *_: halves.append(faint / 2)
    )
    assert [float(half) for half in halves] == [0, 0]
    assert float(faint / 2) > 0


def test_a_file_in_place_of_the_folder_is_named(toy_set: Path, tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UsageError, match=r"run is a file; give a folder"):
        train("toy_gan:recipe", toy_set, tmp_path / "run")


def test_a_scheduler_that_says_stop_twice_does_not_lose_the_state(toy_set: Path, tmp_path: Path) -> None:
    def twice(step: int, line: object) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

    result = train("toy_gan:recipe", toy_set, tmp_path / "run", [*SETTINGS, "steps=10"], on_step=twice)
    assert (result.step, result.finished) == (3, False)
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000003"]


def test_patience_ends_a_run_and_resuming_it_does_nothing(toy_set: Path, tmp_path: Path) -> None:
    Judged.told = [5.0, 3.0, 4.0, 4.0, 2.0, 1.0]
    settings = [*SETTINGS, "steps=12", "patience=2"]
    result = train("toy_judged:low", toy_set, tmp_path / "run", settings)
    assert (result.step, result.finished) == (8, True)
    again = train("toy_judged:low", toy_set, tmp_path / "run", [], resume=True)
    assert (again.step, again.finished) == (8, True)
    longer = train("toy_judged:low", toy_set, tmp_path / "run", ["patience=3"], resume=True)
    assert (longer.step, longer.finished) == (12, True)


def test_a_model_directory_holds_the_part_that_is_used_and_what_made_it(toy_set: Path, tmp_path: Path) -> None:
    result = train("toy_gan:recipe", toy_set, tmp_path / "run", [*SETTINGS, "steps=2", "ema_decay=0.5"])
    assert result.model is not None
    loaded = load_model(result.model)
    assert isinstance(loaded.model, toy_gan.ToyGenerator)
    assert loaded.training["config"]["ema_decay"] == 0.5
    assert loaded.training["data_digest"] == Manifest.read(toy_set).digest
    assert loaded.training["versions"].keys() >= {"autosing", "torch", "numpy"}
    assert loaded.training["metrics"] == pytest.approx(dict(result.metrics))


def test_a_run_says_what_it_is_of(toy_set: Path, tmp_path: Path) -> None:
    train("toy_gan:recipe", toy_set, tmp_path / "run", [*SETTINGS, "steps=4"])
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert (facts["recipe"], facts["metric"], facts["ranks"]) == ("toy_gan:recipe", "mel_l1", 1)
    state = json.loads((tmp_path / "run/checkpoints/step-00000004/state.json").read_text())
    assert state["origin"]["data_digest"] == facts["data_digest"] == Manifest.read(toy_set).digest
    assert (tmp_path / "run/report.html").stat().st_size > 10_000
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    rates = {"samples", "audio_s", "tokens"}
    assert {f"train/{name}_per_s" for name in rates} | {"train/lr", "train/data_wait"} <= lines[0].keys()


def test_the_use_of_the_device_follows_the_stated_formula(toy_set: Path, tmp_path: Path) -> None:
    train("toy_gan:recipe", toy_set, tmp_path / "run", [*SETTINGS, "steps=2", "peak_tflops=0.001"])
    line = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[0])
    n_parameters = 16 * 32 + 32 + 32 * 100 + 100
    assert line["train/mfu"] == pytest.approx(6 * n_parameters * line["train/tokens_per_s"] / 1e9)


def test_the_commit_is_that_of_the_checkout() -> None:
    here = Path(__file__).parent
    done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no checkout")
    assert (provenance()["git"] or "").rstrip("+") == done.stdout.strip()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("nowhere:recipe", r"the recipe nowhere:recipe cannot be imported: No module named 'nowhere'"),
        ("toy_gan:nothing", r"the recipe toy_gan:nothing cannot be imported: .*no attribute 'nothing'"),
        ("toy_gan:N_MELS", r"the recipe toy_gan:N_MELS is no function"),
    ],
)
def test_a_recipe_of_ones_own_that_is_not_there_is_named(tmp_path: Path, recipe: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(recipe, tmp_path, tmp_path / "run")


BY_MEL = ("size=tiny", "resynthesis=mel", "adversarial_weight=0", "ema_decay=0", "quieter_db=0")
BY_UNITS = ("size=tiny", "semantic=units", "n_semantic_tokens=12", "codes=codes_1,codes_2", "n_codes=10")
OVERFIT = {
    "aligner": ["steps=500", "strength=0", "members=1", "conv_dim=16", "recurrent_dim=32"],
    "aligner_synthetic": ["steps=300", "strength=0", "members=2", "conv_dim=16", "recurrent_dim=32", "trim_s=0"],
    "codec": [*BY_MEL, "n_codes=16", "code_dim=4", "steps=120"],
    "multires": [*BY_MEL, "n_tokens=16", "code_dim=4", "steps=120"],
    # What units do not tell is the pitch, which is given.
    "unit_vocoder": ["size=tiny", "adversarial_weight=0", "ema_decay=0", "generator=istft", "steps=60"],
    "vocoder": ["size=tiny", "adversarial_weight=0", "ema_decay=0", "quieter_db=0", "steps=40"],
    "pitdyn": ["size=tiny", "dropout=0", "steps=120"],
    "semantic": ["size=tiny", "n_tokens=64", "code_dim=16", "text_weight=0", "steps=100"],
    "singer": ["size=tiny", "dropout=0", "margin_steps=20", "sung_only=false", "steps=40"],
    "sm2a": [*BY_UNITS, "condition_dropout=0", "dropout=0", "steps=40"],
    "soft_units": ["size=tiny", "dropout=0", "masked_share=0", "n_units=12", "soft_dim=32", "steps=60"],
    "soft_hubert": ["dropout=0", "masked_share=0", "n_units=12", "soft_dim=32", "steps=120", "schedule=cosine"],
    "acoustic": ["size=tiny", "steps=130", "singer_dropout=0"],
    "svc": ["size=tiny", "content=units", "n_tokens=12", "singer_dropout=0", "dropout=0", "ema_decay=0", "steps=200"],
    # Of a teacher that has learned the same samples.
    "svc_student": ["objective=trajectory", "grid=10", "solver=euler", "singer_dropout=0", "ema_decay=0", "steps=60"],
    "t2s": [
        "size=tiny",
        "text_times=even",
        "target=units",
        "n_tokens=12",
        "condition_dropout=0",
        "dropout=0",
        "steps=80",
    ],
    # With what the toy's mels depend on, which the recipe itself goes without.
    "soft_vc": ["size=tiny", "steps=130", "schedule=cosine", "use_f0=true", "use_singer=true", "singer_dropout=0"],
    "toy_gan:recipe": ["steps=300", "adversarial=0"],
}

LONG = ("aligner", "aligner_synthetic", "svc", "svc_student")


def test_every_recipe_is_among_those_that_learn_by_heart() -> None:
    assert OVERFIT.keys() >= RECIPES.keys()


@pytest.mark.parametrize("recipe", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in OVERFIT])
def test_four_samples_are_learned_by_heart(tmp_path: Path, hubert: str, recipe: str) -> None:
    make = voiced_sample if {"audio", "ssl", "voice_activity"} & {*default_config(recipe).columns} else sung_sample
    samples = [make(number, 0.3) for number in range(4)]
    data = write_set(tmp_path / "set", {"train": [samples], "valid": [aliases(samples)]})
    steps = next(setting for setting in OVERFIT[recipe] if setting.startswith("steps"))
    often = [steps.replace("steps", name) for name in ("validate_every", "log_every", "save_every")]
    usual = ["seconds_per_batch=2", "warmup_steps=10", "lr=6e-3"]
    settings = [*OVERFIT[recipe], *often, *usual]
    settings += [f"encoder={hubert}"] if recipe == "soft_hubert" else []
    if recipe == "svc_student":
        teacher = train("svc", data, tmp_path / "teacher", [*OVERFIT["svc"], *usual])
        settings.append(f"begin_from={teacher.model}")
    result = train(recipe, data, tmp_path / "run", settings)
    task = apply_settings(default_config(recipe), settings).task(Manifest.read(data))
    assert result.metrics[f"valid/{task.metric}"] <= task.overfit_bound


def aliases(samples: list[ToySample]) -> list[ToySample]:
    """Returns the same samples under other names: learning by heart is what a leak would allow."""
    return [replace(sample, key=f"{number:016x}_0") for number, sample in enumerate(samples)]


@pytest.fixture
def unclosed() -> Iterator[None]:
    """Ends what webdataset leaves to the interpreter, its open files, before another test is blamed for them."""
    yield
    gc.collect()


@pytest.mark.usefixtures("unclosed")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_stream_from_a_pipe_trains_like_a_set(tmp_path: Path) -> None:
    samples = toy_samples(12)
    data = write_set(tmp_path / "set", {"train": [samples[:6], samples[6:10]], "valid": [samples[10:]]})
    (data / "train-00000.tar").rename(tmp_path / "one.tar")
    (data / "train-00001.tar").rename(tmp_path / "two.tar")
    pipes = [f"pipe:cat {tmp_path}/one.tar", f"{tmp_path}/{{two,two}}.tar"]
    settings = [*SETTINGS, "steps=6", "crop_s=0.4"]
    result = train("toy_gan:recipe", data, tmp_path / "run", settings, stream=pipes)
    assert (result.step, result.finished) == (6, True)
    facts = (tmp_path / "run/run.json").read_text() + (
        tmp_path / "run/checkpoints/step-00000004/state.json"
    ).read_text()
    assert "pipe:" not in facts, "a command is never taken from a file"
    longer = train("toy_gan:recipe", data, tmp_path / "run", ["steps=8"], resume=True, stream=pipes)
    assert (longer.step, longer.finished) == (8, True)
    with pytest.raises(UsageError, match=r"was started with a stream, and goes on so; give it one"):
        train("toy_gan:recipe", data, tmp_path / "run", ["steps=9"], resume=True)


@pytest.mark.usefixtures("unclosed")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    "source", ["{folder}/set/train-00000.tar", "pipe:cat {folder}/set/train-00000.tar", "pipe:false"]
)
def test_a_stream_that_breaks_off_says_where(tmp_path: Path, source: str) -> None:
    samples = toy_samples(6)
    data = write_set(tmp_path / "set", {"train": [samples]})
    tar = data / "train-00000.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    told = "the first sample" if "false" in source else r"sample [0-9a-f]{16}_[0-9]+"
    with pytest.raises(DataError, match=rf"the stream .* broke off after ({told}).*: .*look at its source"):
        train("toy_gan:recipe", data, tmp_path / "run", SETTINGS, stream=[source.format(folder=tmp_path)])
