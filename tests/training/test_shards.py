"""A built set is read exactly, and what is wrong with it is said with its place."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_shards import toy_samples, write_set

from autosing.signal.decode import encode
from autosing.signal.errors import AutosingError, DataError, MissingColumn, SchemaMismatch
from autosing.training.manifest import AUDIO, Manifest
from autosing.training.sample import of_members
from autosing.training.shards import ShardSet


@pytest.fixture
def fresh_set(tmp_path: Path) -> Path:
    samples = toy_samples(6)
    return write_set(tmp_path / "set", {"train": [samples[:3], samples[3:]]})


def test_every_sample_comes_back_as_it_was_written(fresh_set: Path) -> None:
    shards = ShardSet.open(fresh_set, "train")
    for i, written in enumerate(toy_samples(6)):
        read = shards.read(i, ["units", "mel", "voiced"])
        assert read.key == written.key
        assert read.info["singer"] == written.singer
        assert set(read.series) == {"units", "mel", "voiced"}
        for name, series in read.series.items():
            np.testing.assert_array_equal(series, written.series[name])
            assert series.dtype == written.series[name].dtype


def test_a_samples_randomness_depends_on_seed_epoch_and_key_alone(fresh_set: Path) -> None:
    shards = ShardSet.open(fresh_set, "train")

    def draw(index: int, seed: int, epoch: int) -> float:
        return float(shards.read(index, [], (seed, epoch, 0)).rng("draw").random())

    assert draw(0, 1, 2) == draw(0, 1, 2)
    assert len({draw(0, 1, 2), draw(1, 1, 2), draw(0, 2, 2), draw(0, 1, 3)}) == 4


def test_a_flipped_byte_names_shard_and_key(fresh_set: Path) -> None:
    shards = ShardSet.open(fresh_set, "train")
    tar = fresh_set / "train-00001.tar"
    content = bytearray(tar.read_bytes())
    content[int(shards.offset[4]) + 2000] ^= 1
    tar.write_bytes(content)
    shards.read(3, ["mel"])
    with pytest.raises(DataError, match=f"train-00001.tar has changed bytes .* at sample {toy_samples(6)[4].key}"):
        shards.read(4, ["mel"])


def test_a_tar_cut_short_while_training_names_shard_and_key(fresh_set: Path) -> None:
    shards = ShardSet.open(fresh_set, "train")
    tar = fresh_set / "train-00001.tar"
    tar.write_bytes(tar.read_bytes()[: int(shards.offset[5]) + 100])
    with pytest.raises(DataError, match=f"train-00001.tar is cut short at sample {toy_samples(6)[5].key}"):
        shards.read(5, ["mel"])


def cut_tar(folder: Path) -> None:
    tar = folder / "train-00001.tar"
    tar.write_bytes(tar.read_bytes()[:-1])


def remove_tar(folder: Path) -> None:
    (folder / "train-00000.tar").unlink()


def remove_index(folder: Path) -> None:
    (folder / "train-00000.idx.npz").unlink()


def swap_index(folder: Path) -> None:
    (folder / "train-00000.idx.npz").write_bytes(b"something else")


def remove_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def cut_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text()[:50])


def change_manifest(key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "manifest.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))

    return change


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (cut_tar, DataError, r"train-00001.tar has \d+ bytes, the manifest says \d+"),
        (remove_tar, DataError, r"train-00000.tar is gone, but the manifest names it"),
        (remove_index, DataError, r"train-00000.idx.npz is gone"),
        (swap_index, SchemaMismatch, r"train-00000.idx.npz is no index of a tar"),
        (remove_manifest, DataError, r"has no manifest.json; give a folder that `autosing build` wrote"),
        (cut_manifest, SchemaMismatch, r"manifest.json is not JSON"),
        (change_manifest("format", 9), SchemaMismatch, r"is of format 9, not 1"),
        (change_manifest("columns", {"mel": {}}), SchemaMismatch, r"is incomplete .*build the set again"),
        (change_manifest("splits", {}), DataError, r"no sample in the split 'train'; it has no split: build again"),
    ],
)
def test_a_damaged_set_is_an_error_that_says_which_and_what(
    fresh_set: Path, damage: Callable[[Path], None], error: type[AutosingError], message: str
) -> None:
    damage(fresh_set)
    with pytest.raises(error, match=message):
        ShardSet.open(fresh_set, "train")


def test_a_split_that_is_not_there_is_named_with_those_that_are(fresh_set: Path) -> None:
    with pytest.raises(DataError, match=r"no sample in the split 'valid'; it has train \(6 samples\).*--valid-songs"):
        ShardSet.open(fresh_set, "valid")


def test_a_missing_column_is_named_with_those_that_are_there(fresh_set: Path) -> None:
    with pytest.raises(MissingColumn, match=r"has no column pitch; it has energy, f0_hz, mel, units, voiced"):
        Manifest.read(fresh_set).require(["mel", "pitch"])


def test_the_audio_of_a_sample_is_read_by_its_name() -> None:
    wave = np.sin(2 * np.pi * 440 * np.arange(8_000) / 16_000).astype(np.float32) / 2
    files = {"k_0.json": b'{"seconds": 0.5}', "k_0.flac": encode(wave[:, None], 16_000, "FLAC")}
    sample = of_members("k_0", files, [AUDIO])
    assert sample.sample_rate_hz == 16_000
    np.testing.assert_allclose(sample.series[AUDIO], wave, atol=1e-4)
    crop = sample.cropped(0.1, {})
    start = round(crop.info["crop_s"] * 16_000)
    np.testing.assert_array_equal(crop.series[AUDIO], sample.series[AUDIO][start : start + 1_600])
