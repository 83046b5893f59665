"""The same recipe under Ray Train, under torchrun and in a plain process."""

import math
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import runs
from toy_shards import toy_samples, write_set

from autosing.signal.errors import AutosingError, UsageError
from autosing.training.on_ray import _noted, _work, run_on_ray
from autosing.training.run import Job, train

# Ray warns of its own settings when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SETTINGS = ("size=tiny", "steps=4", "seconds_per_batch=1", "microbatches=2", "log_every=1", "warmup_steps=2")
STEPS = 4


@pytest.mark.ray
@pytest.mark.slow
def test_one_recipe_trains_the_same_by_every_launcher(toy_set: Path, tmp_path: Path) -> None:
    told: list[int] = []
    job = Job("acoustic", (str(toy_set),), tmp_path / "ray", SETTINGS)
    result = run_on_ray(job, lambda step, line: told.append(step), workers=2, cpus_per_worker=0.5)
    assert told == [1, 2, 3, 4, 4]
    assert (result.step, result.finished, result.model) == (STEPS, True, tmp_path / "ray/model")
    assert result.report is not None and result.report.is_file()
    assert result.metrics.keys() == {"valid/mel_l1", "valid/mel_l1_forced"}
    runs.run("acoustic", toy_set, tmp_path / "torchrun", SETTINGS, processes=2)
    runs.run("acoustic", toy_set, tmp_path / "plain", SETTINGS)
    logs = [runs.logged(tmp_path / name) for name in ("plain", "torchrun", "ray")]
    assert [line["step"] for line in logs[0]] == [1, 2, 3, 4, 4]
    for plain, other in zip(logs[0] * 2, logs[1] + logs[2], strict=True):
        assert plain.keys() == other.keys()
        assert all(math.isclose(plain[name], other[name], rel_tol=1e-4) for name in plain)
    assert not list(tmp_path.glob(".*.ray-*"))


def test_a_worker_finds_what_settings_name_from_where_the_driver_is(
    sung_model: Path, toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*SETTINGS, "steps=1", f"begin_from={sung_model.name}")
    job = Job("acoustic", (str(toy_set),), tmp_path / "run", settings)
    monkeypatch.chdir(tmp_path)  # as Ray does
    told = _work({"job": asdict(job), "notes": str(tmp_path), "cwd": str(sung_model.parent)})
    assert (told["step"], told["finished"]) == (1, True)


@pytest.fixture
def sung_model(toy_set: Path, tmp_path: Path) -> Path:
    model = train("acoustic", toy_set, tmp_path / "base", [*SETTINGS, "steps=1"]).model
    assert model is not None
    return model


@pytest.mark.ray
@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_the_run_goes_on(
    toy_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(runs.HERE))
    monkeypatch.setenv("PYTHONPATH", str(runs.HERE))
    monkeypatch.setenv("TOY_DIES_ONCE", str(tmp_path / "died"))
    settings = ("steps=6", "seconds_per_batch=1", "microbatches=2", "log_every=1", "save_every=2")
    job = Job("toy_gan:recipe", (str(toy_set),), tmp_path / "run", settings)
    result = run_on_ray(job, workers=2, cpus_per_worker=0.5)
    assert (tmp_path / "died").exists()
    assert (result.step, result.finished) == (6, True)
    assert [line["step"] for line in runs.logged(tmp_path / "run")] == [1, 2, 3, 4, 5, 6, 6]


@pytest.mark.ray
@pytest.mark.slow
def test_what_ends_a_run_in_a_worker_is_told_here(tmp_path: Path) -> None:
    data = write_set(tmp_path / "set", {"train": [toy_samples(6)]})
    tar = data / "train-00000.tar"
    tar.write_bytes(bytes(tar.stat().st_size))
    with pytest.raises(
        AutosingError, match=r"^.*train-00000.tar has changed bytes .* at sample \S+; copy the set again"
    ):
        run_on_ray(Job("acoustic", (str(data),), tmp_path / "run", ("size=tiny",)), cpus_per_worker=0.5)


def test_a_second_driver_leaves_the_notes_of_the_first(tmp_path: Path) -> None:
    with _noted(tmp_path / "run") as first:
        (first / "stop").touch()
        with _noted(tmp_path / "run") as second:
            assert second != first
        assert (first / "stop").exists() and not second.exists()
    assert not list(tmp_path.iterdir())


def test_what_cannot_work_is_refused_before_ray_starts(toy_set: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1 microbatches cannot be divided among 2 processes"):
        run_on_ray(Job("acoustic", (str(toy_set),), tmp_path / "run", ("size=tiny",)), workers=2)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UsageError, match=r"is not empty"):
        run_on_ray(Job("acoustic", (str(toy_set),), tmp_path, SETTINGS), workers=2)
    with pytest.raises(UsageError, match=r"a stream is read by processes on this machine"):
        run_on_ray(Job("acoustic", (str(toy_set),), tmp_path / "run", SETTINGS, stream=("pipe:true",)), workers=2)


@pytest.mark.ray
@pytest.mark.slow
def test_more_workers_than_the_cluster_has_room_for_are_refused(toy_set: Path, tmp_path: Path) -> None:
    job = Job("acoustic", (str(toy_set),), tmp_path / "run", (*SETTINGS, "microbatches=64"))
    with pytest.raises(UsageError, match=r"64 workers want 128 CPUs and 0 GPUs; the cluster has"):
        run_on_ray(job, workers=64, cpus_per_worker=2)


@pytest.mark.ray
@pytest.mark.slow
def test_ctrl_c_stops_the_workers_after_the_step_in_hand_and_saves(toy_set: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "autosing.cli.main", "train", "acoustic", "--data", str(toy_set)]
    options = ["--out", str(tmp_path / "run"), "--workers", "1", "--cpus-per-worker", "0.5"]
    settings = [part for setting in (*SETTINGS, "steps=100000") for part in ("--set", setting)]
    process = subprocess.Popen(
        [*command, *options, *settings],
        env=runs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith("step 3 "):
        assert line or process.poll() is None
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert "stopped; go on with --resume at step" in told
    (state,) = list((tmp_path / "run/checkpoints").iterdir())
    assert int(state.name.removeprefix("step-")) == runs.logged(tmp_path / "run")[-1]["step"]


@pytest.mark.slow
def test_the_command_runs_under_torchrun(toy_set: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = ["-m", "autosing.cli.main", "train", "acoustic", "--data", str(toy_set), "--out", str(tmp_path / "run")]
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    done = subprocess.run(
        [*launcher, *command, *settings], env=runs.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("finished at step 4") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
