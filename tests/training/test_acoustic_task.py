"""The acoustic trainer learns, beats its baselines, and says what is wrong with its data."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_shards import SINGERS, toy_sample, toy_samples, write_set

from autosing.models.directory import load_model
from autosing.signal.errors import DataError, MissingColumn
from autosing.signal.framing import nearest_frames
from autosing.training.baselines import MeanBaseline, RidgeBaseline
from autosing.training.loop import TrainingDiverged
from autosing.training.manifest import Manifest
from autosing.training.metrics import mel_l1
from autosing.training.recipes import acoustic
from autosing.training.run import train
from autosing.training.sample import Sample
from autosing.training.shards import ShardSet

TINY = ["size=tiny", "warmup_steps=10", "lr=3e-3", "singer_dropout=0", "log_every=1000", "save_every=1000"]


@pytest.mark.slow
def test_held_out_samples_are_predicted_better_than_by_the_baselines(tmp_path: Path) -> None:
    samples = [toy_sample(number, 1.2) for number in range(56)]
    data = write_set(tmp_path / "set", {"train": [samples[:48]], "valid": [samples[48:]]})
    settings = ["steps=120", "seconds_per_batch=8", "validate_every=120"]
    found = train("acoustic", data, tmp_path / "run", [*TINY, *settings]).metrics["valid/mel_l1"]
    trained, held_out = (list(_pairs(ShardSet.open(data, split))) for split in ("train", "valid"))
    columns = Manifest.read(data).columns
    rates = columns["units"].rate, columns["mel"].rate
    assert rates[0] and rates[1]
    ridge = RidgeBaseline.fit(trained, 12, rates[0], rates[1])
    mean = MeanBaseline.fit(mel for _, mel in trained)
    true = [mel for _, mel in held_out]
    by_ridge = mel_l1([ridge.predict(units, len(mel)) for units, mel in held_out], true)
    by_mean = mel_l1([mean.predict(len(mel)) for mel in true], true)
    print(f"mel-L1: model {found:.3f}, ridge {by_ridge:.3f}, mean {by_mean:.3f}")
    assert found <= 0.7 * min(by_ridge, by_mean)


def _pairs(shards: ShardSet) -> Any:
    for i in range(len(shards)):
        series = shards.read(i, ["units", "mel"]).series
        yield series["units"].astype(np.int64), series["mel"].astype(np.float64)


def test_the_model_directory_says_what_the_model_relies_on(toy_set: Path, tmp_path: Path) -> None:
    result = train("acoustic", toy_set, tmp_path / "run", [*TINY, "steps=1", "validate_samples=1"])
    assert result.model is not None
    loaded = load_model(result.model, acoustic().task(Manifest.read(toy_set)).contract())
    assert loaded.contract["singers"] == list(SINGERS)
    assert loaded.contract["mel"]["spec"]["hop"] == 256
    assert loaded.contract["rates"]["mel"] == "375/4"
    assert loaded.contract["definitions"].keys() == {"units", "mel", "f0_hz", "voiced", "energy"}


def test_a_set_without_a_validation_split_keeps_the_last_weights(tmp_path: Path) -> None:
    data = write_set(tmp_path / "set", {"train": [toy_samples(4)]})
    result = train("acoustic", data, tmp_path / "run", [*TINY, "steps=2"])
    assert result.model == tmp_path / "run/model"
    assert result.metrics == {}


def test_a_loss_that_is_no_number_names_its_samples(tmp_path: Path) -> None:
    samples = toy_samples(6)
    broken = dict(samples[3].series) | {"energy": np.full(80, np.nan, np.float32)}
    samples[3] = replace(samples[3], series=broken)
    data = write_set(tmp_path / "set", {"train": [samples]})
    with pytest.raises(
        TrainingDiverged,
        match=rf"mel_l1 is nan, which arose in this process; the samples of this process are .*{samples[3].key}",
    ):
        train("acoustic", data, tmp_path / "run", [*TINY, "steps=12", "seconds_per_batch=2"])
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_model_knows_each_units_mean_mel_before_its_first_step(toy_set: Path) -> None:
    shards, config = ShardSet.open(toy_set, "train"), acoustic(size="tiny")
    task = config.task(shards.manifest)
    model = task.build()
    task.initialise(model, (shards.read(i, config.columns) for i in range(len(shards))))
    read = [shards.read(i, ["units", "mel"]).series for i in range(len(shards))]
    near = [nearest_frames(len(s["mel"]), Fraction(375, 4), len(s["units"]), Fraction(50)) for s in read]
    units = np.concatenate([s["units"][n] for s, n in zip(read, near, strict=True)])
    mels = np.concatenate([s["mel"].astype(np.float64) for s in read])
    known = model.unit_mels.weight[3].detach() * model.mel_std + model.mel_mean
    np.testing.assert_allclose(known.numpy(), mels[units == 3].mean(0), atol=1e-4)
    one_unit = {name: tensor for name, tensor in collated(toy_set, [0], False).items() if name != "mel"}
    one_unit["units"] = torch.full_like(one_unit["units"], 3)
    torch.testing.assert_close(model.generate(one_unit)[0, 5], known, atol=1e-4, rtol=0)


def collated(data: Path, samples: list[int], training: bool, **settings: Any) -> dict[str, torch.Tensor]:
    shards, config = ShardSet.open(data, "train"), acoustic(**settings)
    read = [shards.read(i, config.columns, (0, 1, 0)) for i in samples]
    batch = config.task(shards.manifest).collate(read, training=training)
    assert batch.counts["mel_l1"] == sum(s.series["mel"].size for s in read)
    return {name: torch.from_numpy(array) for name, array in batch.arrays.items()}


def test_padding_counts_for_nothing(toy_set: Path) -> None:
    torch.manual_seed(0)
    task = acoustic(size="tiny", singer_dropout=0.0).task(Manifest.read(toy_set))
    model = task.build().eval()
    together = task.losses(model, collated(toy_set, [0, 4, 7], False), "model")["mel_l1"]
    alone = [task.losses(model, collated(toy_set, [i], False), "model")["mel_l1"] for i in (0, 4, 7)]
    torch.testing.assert_close(together, torch.stack(alone).sum(), rtol=1e-5, atol=0)


def test_a_singer_is_withheld_in_training_only_and_by_the_samples_own_randomness(toy_set: Path) -> None:
    everyone = list(range(20))
    assert collated(toy_set, everyone, False, singer_dropout=1.0)["singer"].tolist() == [1, 2] * 10
    assert collated(toy_set, everyone, True, singer_dropout=1.0)["singer"].tolist() == [0] * 20
    half = collated(toy_set, everyone, True, singer_dropout=0.5)["singer"]
    assert 4 <= (half == 0).sum() <= 16
    assert collated(toy_set, [3], True, singer_dropout=0.5)["singer"][0] == half[3]


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    data = write_set(tmp_path / "set", {"train": [toy_samples(2)]}, columns={})
    with pytest.raises(MissingColumn, match=r"has no column units, mel, f0_hz, voiced, energy"):
        train("acoustic", data, tmp_path / "run", TINY)
    assert not (tmp_path / "run").exists()


def test_a_set_without_singers_says_how_to_do_without(tmp_path: Path) -> None:
    nobody = [replace(sample, singer=None) for sample in toy_samples(2)]
    data = write_set(tmp_path / "set", {"train": [nobody]})
    with pytest.raises(MissingColumn, match=r"names no singer; .* set use_singer=false"):
        train("acoustic", data, tmp_path / "run", TINY)
    assert train("acoustic", data, tmp_path / "run", [*TINY, "use_singer=false", "steps=1"]).finished


def test_a_unit_beyond_the_codebook_is_named(toy_set: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has the unit \d+, but n_units is 3; set n_units"):
        collated(toy_set, [0], True, n_units=3)
    with pytest.raises(DataError, match=r"has the unit \d+, but n_units is 3; set n_units"):
        train("acoustic", toy_set, tmp_path / "run", [*TINY, "n_units=3"])


def test_an_empty_sample_is_named(toy_set: Path) -> None:
    series = {name: array[:0] for name, array in toy_sample(0, 1.0).series.items()}
    empty = Sample("0" * 16 + "_0", series, {"singer": None, "seconds": 0.0})
    with pytest.raises(DataError, match=r"sample 0{16}_0 has 0 units and 0 mel frames"):
        acoustic().task(Manifest.read(toy_set)).collate([empty], training=True)
