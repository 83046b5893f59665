"""The trainers of conversion models: what they ask, what they keep, and that nothing but a step moves an average."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from runs import assert_same_run
from toy_shards import SINGERS, ToySample, toy_samples, voiced_sample, write_set

from autosing.models.directory import load_model
from autosing.models.distillation import Distillation
from autosing.models.svc import SvcModel
from autosing.signal.errors import CheckpointError, MissingColumn, UsageError
from autosing.signal.mel import MelSpec, log_mel, shifted_log_mel
from autosing.training.manifest import Manifest
from autosing.training.metrics import mel_l1
from autosing.training.recipes import apply_settings, svc, svc_student
from autosing.training.run import train
from autosing.training.shards import ShardSet
from autosing.training.step import tensors
from autosing.training.tasks.svc_losses import ssim_errors

CPU = torch.device("cpu")
TINY = ["size=tiny", "content=units", "n_tokens=12", "seconds_per_batch=2", "warmup_steps=2", "lr=2e-3"]
OFTEN = ["log_every=4", "validate_every=4", "save_every=4", "valid_steps=2", "validate_samples=2"]
STUDENT = ["seconds_per_batch=2", "warmup_steps=2", "log_every=4", "validate_every=4", "save_every=4"]
STUDENT += ["validate_samples=2", "teacher_steps=2", "grid=8", "first_grid=4"]


@pytest.fixture(scope="module")
def teacher(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = train("svc", toy_set, tmp_path_factory.mktemp("teacher") / "run", [*TINY, *OFTEN, "steps=8"])
    assert result.model is not None
    return result.model


def test_the_directory_says_what_conversion_needs(teacher: Path, toy_set: Path) -> None:
    loaded = load_model(teacher)
    assert isinstance(loaded.model, SvcModel)
    assert loaded.contract["singers"] == list(SINGERS)
    assert loaded.contract["columns"]["units"] == "units.units"
    assert loaded.contract["instances"]["mel"]["spec"]["hop"] == 256
    data = ShardSet.open(toy_set, "train")
    read = [data.read(i, ["f0_hz", "voiced"]) for i in range(len(data))]
    of_ada = np.concatenate([r.series["f0_hz"][r.series["voiced"] > 0] for r in read if r.info["singer"] == "ada"])
    assert float(loaded.model.f0_medians_hz[1]) == pytest.approx(np.median(of_ada), rel=1e-3)
    low_hz, high_hz = loaded.model.f0_range_hz.tolist()
    assert 150 <= low_hz < high_hz <= 500


@pytest.mark.parametrize("objective", ["consistency", "easy", "trajectory"])
def test_a_student_learns_and_says_how_far_it_is_from_its_teacher(
    teacher: Path, toy_set: Path, tmp_path: Path, objective: str
) -> None:
    settings = [*STUDENT, "steps=4", f"objective={objective}", f"begin_from={teacher}"]
    result = train("svc_student", toy_set, tmp_path / "run", settings)
    assert result.model is not None
    model = load_model(result.model).model
    assert model.fields.distilled
    for calls in (1, 2, 4):
        gap = result.metrics[f"valid/fd_mel_{calls}"] - result.metrics["valid/fd_mel_teacher"]
        assert result.metrics[f"valid/fd_mel_{calls}_minus_teacher"] == pytest.approx(gap)
    own = load_model(teacher).model.state_dict()
    changed = {name.split(".")[0] for name, tensor in model.state_dict().items() if not torch.equal(tensor, own[name])}
    assert changed == {"denoiser"}


@pytest.mark.parametrize("recipe", ["svc", pytest.param("svc_student", marks=pytest.mark.slow)])
def test_stopping_and_resuming_changes_nothing(teacher: Path, toy_set: Path, tmp_path: Path, recipe: str) -> None:
    own = [*TINY, *OFTEN] if recipe == "svc" else [*STUDENT, f"begin_from={teacher}"]
    settings = [*own, "steps=12", "ema_decay=0.9"]
    train(recipe, toy_set, tmp_path / "straight", settings)

    def stop(now: int, line: Mapping[str, float]) -> None:
        if now == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    assert train(recipe, toy_set, tmp_path / "run", settings, on_step=stop).step == 7
    assert train(recipe, toy_set, tmp_path / "run", [], resume=True).step == 12
    assert_same_run(tmp_path / "straight", tmp_path / "run", 12)


def test_the_average_moves_at_steps_and_never_in_validations(teacher: Path, toy_set: Path) -> None:
    config = apply_settings(svc_student(), [*STUDENT, "steps=4", f"begin_from={teacher}"])
    task = config.task(Manifest.read(toy_set))
    model = task.build()
    task.adopt(model, load_model(teacher), ())
    before = [parameter.clone() for parameter in model.target.parameters()]
    shards = ShardSet.open(toy_set, "train")
    samples = [shards.read(i, config.columns) for i in range(3)]
    batch = tensors(task.collate(samples, training=True), CPU)
    with torch.no_grad():
        model.student.denoiser.out.weight += 1
    task.losses(model, batch, "model")
    with torch.no_grad():
        task.validate(model.eval(), [batch])
    assert all(torch.equal(a, b) for a, b in zip(before, model.target.parameters(), strict=True))
    task.after_step(model, 0)
    assert not torch.equal(before[-2], list(model.target.parameters())[-2])


def test_levels_double_and_the_average_slows_down_with_them() -> None:
    config = svc_student(steps=300, first_grid=10, grid=40, target_decay=0.9)
    assert [config.levels_at(done) for done in (0, 99, 100, 199, 200, 299)] == [10, 10, 20, 20, 40, 40]
    assert config.decay_at(0) == pytest.approx(0.9)
    assert config.decay_at(250) == pytest.approx(0.9**0.25)
    uneven = svc_student(steps=400, first_grid=10, grid=50)
    assert [uneven.levels_at(done) for done in (0, 100, 200, 299, 300, 399)] == [10, 20, 40, 40, 50, 50]


def test_a_student_of_no_teacher_is_refused(toy_set: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no teacher; give one .* --from MODEL"):
        train("svc_student", toy_set, tmp_path / "run", STUDENT)


def test_a_student_of_other_singers_is_refused(teacher: Path, tmp_path: Path) -> None:
    splits = {"train": [toy_samples(4)], "valid": [toy_samples(2, 4)]}
    data = write_set(tmp_path / "set", splits, singers=["ada", "ben", "eve"])
    with pytest.raises(CheckpointError, match=r"the teacher's singers are ada, ben, and the set's ada, ben, eve"):
        train("svc_student", data, tmp_path / "run", [*STUDENT, f"begin_from={teacher}"])


def test_fine_tuning_begins_as_the_base(teacher: Path, toy_set: Path) -> None:
    config = apply_settings(svc(), [*TINY, f"begin_from={teacher}"])
    task, base = config.task(Manifest.read(toy_set)), load_model(teacher)
    model = task.build().eval()
    task.adopt(model, base, ())
    shards = ShardSet.open(toy_set, "train")
    batch = tensors(task.collate([shards.read(0, config.columns)], training=False), CPU)
    with torch.no_grad():
        known, of_base = model.known(batch), base.model.known(batch)
        x, level = torch.randn_like(known.coarse), torch.tensor([2.0])
        assert torch.equal(known.coarse, of_base.coarse)
        assert torch.equal(model.denoise(known)(x, level), base.model.denoise(of_base)(x, level))


def test_padding_changes_no_loss(toy_set: Path) -> None:
    config = apply_settings(svc(), TINY)
    task = config.task(Manifest.read(toy_set))
    torch.manual_seed(0)
    model = task.build().eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    shards = ShardSet.open(toy_set, "train")
    samples = [shards.read(i, config.columns) for i in range(2)]
    samples.sort(key=lambda sample: len(sample.series["mel"]))
    alone = tensors(task.collate(samples[:1], training=False), CPU)
    both = tensors(task.collate(samples, training=False), CPU)
    padded = {name: tensor[:1] for name, tensor in both.items()}
    assert padded["mel"].shape[1] > alone["mel"].shape[1]
    losses = []
    for batch in (alone, padded):
        with torch.no_grad():
            known = model.known(batch)
            normal = model.scale.normal(batch["mel"]) * known.mask
            losses.append(
                (
                    float((known.coarse - normal).square().sum()),
                    float(ssim_errors(known.coarse, normal, known.mask).sum()),
                )
            )
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


class TestKeys:
    """Samples that are moved up and down."""

    SPEC = MelSpec()

    def tone(self, hz: float) -> npt.NDArray[np.float32]:
        times = np.arange(24_000) / 24_000
        return (0.1 * sum(np.sin(2 * np.pi * hz * k * times) for k in range(1, 8))).astype(np.float32)

    @pytest.mark.parametrize("octaves", [-0.5, 0.25, 1.0])
    def test_a_moved_tone_is_the_tone_at_the_other_pitch(self, octaves: float) -> None:
        moved = shifted_log_mel(self.tone(300.0), self.SPEC, 93, octaves)
        there = log_mel(self.tone(300.0 * 2**octaves), self.SPEC, 93)
        here = log_mel(self.tone(300.0), self.SPEC, 93)
        inner = slice(10, -10)
        assert np.abs(moved - there)[inner].mean() < 0.5 * np.abs(here - there)[inner].mean()
        loud = there[inner] > there.max() - 3
        assert np.abs(moved - there)[inner][loud].mean() < 0.35, "the level stays"

    def test_moved_by_nothing_it_is_the_mel(self) -> None:
        wave = self.tone(220.0)
        np.testing.assert_allclose(shifted_log_mel(wave, self.SPEC, 93, 0.0), log_mel(wave, self.SPEC, 93), atol=1e-5)

    @pytest.mark.parametrize("octaves", [-0.5, -0.25, 0.25])
    def test_steady_noise_stays_as_it_is_in_every_band(self, octaves: float) -> None:
        noise = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) * 0.003
        moved, there = (shifted_log_mel(noise, self.SPEC, 187, by).mean(0) for by in (octaves, 0.0))
        assert np.abs(moved - there).max() < 0.4

    def test_pitch_and_formants_of_training_samples_move_together(self, voiced_set: Path) -> None:
        config = apply_settings(svc(), [*TINY, "key_shift=6", "key_share=1"])
        task, shards = config.task(Manifest.read(voiced_set)), ShardSet.open(voiced_set, "train")
        sample = shards.read(0, config.columns)
        moved, plain = (task.collate([sample], training=training).arrays for training in (True, False))
        voiced = plain["period_s"] > 0
        octaves = np.log2(plain["period_s"][voiced] / moved["period_s"][voiced])
        np.testing.assert_allclose(octaves, moved["formant"][0, 0], atol=1e-4)
        assert 0.01 < abs(moved["formant"][0, 0]) <= 0.5
        assert mel_l1(list(moved["mel"]), list(plain["mel"])) > 0.05
        assert (plain["formant"] == 0).all()

    def test_audio_is_asked_for(self, toy_set: Path, tmp_path: Path) -> None:
        with pytest.raises(MissingColumn, match="holds no audio"):
            train("svc", toy_set, tmp_path / "run", [*TINY, "key_shift=2"])


@pytest.fixture(scope="module")
def voiced_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples: list[ToySample] = [voiced_sample(number, 0.5) for number in range(4)]
    return write_set(tmp_path_factory.mktemp("voiced") / "set", {"train": [samples[:3]], "valid": [samples[3:]]})


class TestSsim:
    """Likeness in structure."""

    def test_equal_mels_have_no_error_and_unequal_ones_have(self) -> None:
        mel, mask = torch.randn(2, 30, 20), torch.ones(2, 30, 1)
        torch.testing.assert_close(ssim_errors(mel, mel, mask), torch.zeros_like(mel), atol=1e-4, rtol=0)
        assert float(ssim_errors(mel, -mel, mask).mean()) > 1

    def test_blur_is_an_error_where_the_mean_is_right(self) -> None:
        mel, mask = torch.randn(1, 60, 40), torch.ones(1, 60, 1)
        assert float(ssim_errors(torch.zeros_like(mel), mel, mask).mean()) > 0.5
        assert float(ssim_errors(0.9 * mel, mel, mask).mean()) < 0.1

    def test_what_stands_in_padding_is_not_looked_at(self) -> None:
        one, other, mask = torch.randn(1, 30, 20), torch.randn(1, 30, 20), torch.ones(1, 30, 1)
        mask[:, 20:] = 0
        alone = ssim_errors(one[:, :20], other[:, :20], mask[:, :20])
        torch.testing.assert_close(ssim_errors(one, other, mask)[:, :20], alone, atol=1e-5, rtol=1e-4)


def test_a_distillation_is_what_the_loop_trains(teacher: Path, toy_set: Path) -> None:
    task = apply_settings(svc_student(), [f"begin_from={teacher}"]).task(Manifest.read(toy_set))
    model = task.build()
    assert isinstance(model, Distillation)
    assert task.kept(model) is model.student
