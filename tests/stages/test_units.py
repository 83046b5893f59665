"""The `units` stage: fitted on features in memory, applied to songs whose units are known."""

from pathlib import Path

import numpy as np
import pytest
from fit_toys import FitSourceInMemory, song_of_features, steps

from autosing.models.directory import load_tensors
from autosing.pipeline.stages.units import Units
from autosing.signal.errors import RowError, UsageError


def _fitted(folder: Path, **settings: object) -> Units:
    stage = Units(k=4, codebook=str(folder), **settings)  # type: ignore[arg-type]
    source = FitSourceInMemory([steps(400), np.zeros((0, 2), np.float16), steps(333, seed=1)])
    folder.mkdir()
    stage.fit(source, folder)
    assert source.asked == [f"{stage.source}.ssl"]
    return stage


def test_units_name_the_points_that_the_features_jump_between(tmp_path: Path) -> None:
    stage = _fitted(tmp_path / "units")
    features = steps(100, seed=2)
    (row,) = stage.process([song_of_features(features, 32_000)], stage.setup())
    assert not isinstance(row, RowError)
    units = stage.columns()[0].canonical(row["units"])
    quadrants = (features[:, 0] > 0) * 2 + (features[:, 1] > 0)
    assert units.dtype == np.uint16
    assert len(set(zip(units.tolist(), quadrants.tolist(), strict=True))) == len(set(quadrants.tolist()))


def test_the_artefact_tells_how_it_fits_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    stage = _fitted(tmp_path / "units", seed=5, standardise="none")
    tensors, config = load_tensors(tmp_path / "units")
    assert tensors["codebook"].shape == (4, 2)
    assert config["settings"] == stage.settings()
    statistics = config["statistics"]
    assert (statistics["frames"], statistics["dead"], statistics["used"]) == (733, 0, 1.0)
    assert statistics["inertia"] == pytest.approx(2 * 0.1**2, rel=0.2)
    assert 0 < statistics["change_rate"] < 0.3
    assert sorted(f.name for f in (tmp_path / "units").iterdir()) == ["config.json", "model.safetensors"]


def test_the_same_seed_fits_the_same_codebook(tmp_path: Path) -> None:
    first, again = _fitted(tmp_path / "first").setup(), _fitted(tmp_path / "again").setup()
    assert np.array_equal(first, again)


def test_a_cosine_codebook_does_not_hear_loudness(tmp_path: Path) -> None:
    stage = _fitted(tmp_path / "units", cosine=True, standardise="none")
    features = steps(60, seed=3)
    songs = [song_of_features(features, 19_200), song_of_features(features * np.float16(0.1), 19_200)]
    loud, quiet = stage.process(songs, stage.setup())
    assert not isinstance(loud, RowError) and not isinstance(quiet, RowError)
    assert np.array_equal(loud["units"], quiet["units"])


def test_units_do_not_hear_who_sings_unless_they_are_told_to(tmp_path: Path) -> None:
    features = steps(60, seed=3)
    offset = np.array([3, -20], np.float16)
    for standardise, gain, hears in (("full", 0.5, False), ("mean", 1.0, False), ("none", 1.0, True)):
        other = features * np.float16(gain) + offset
        songs = [song_of_features(features, 19_200), song_of_features(other, 19_200)]
        stage = _fitted(tmp_path / standardise, standardise=standardise)
        one, two = stage.process(songs, stage.setup())
        assert not isinstance(one, RowError) and not isinstance(two, RowError)
        assert np.array_equal(one["units"], two["units"]) != hears


def test_a_song_without_frames_has_no_units_and_one_of_another_width_is_an_error(tmp_path: Path) -> None:
    stage = _fitted(tmp_path / "units")
    songs = [song_of_features(np.zeros((0, 2), np.float16), 1), song_of_features(np.zeros((9, 3), np.float16), 2880)]
    none, wrong = stage.process(songs, stage.setup())
    assert not isinstance(none, RowError) and len(none["units"]) == 0
    assert isinstance(wrong, RowError) and "width 2" in str(wrong)


def test_too_little_audio_for_k_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 frames are too few for k=100; lower k or fit on more audio"):
        Units(codebook=str(tmp_path)).fit(FitSourceInMemory([steps(3)]), tmp_path)


def test_the_place_of_the_codebook_is_not_part_of_the_definition() -> None:
    assert Units(codebook="a").settings() == Units(codebook="b").settings()
    assert Units(source="ssl.whisper").reads() == ("ssl.whisper.ssl",)
    assert Units(codebook="a").models() == {"codebook": "a"}
    assert {"k", "seed", "hours", "cosine", "source", "standardise"} == set(Units().fit_settings())


def test_a_published_codebook_is_applied_as_it_is(tmp_path: Path) -> None:
    corners = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
    np.save(tmp_path / "km.npy", corners)
    stage = Units(model=str(tmp_path / "km.npy"), standardise="none")
    assert stage.columns()[0].n_tokens == 4 and stage.artefact == "" and stage.models() == {"model": stage.model}
    features = steps(100, seed=2)
    (row,) = stage.process([song_of_features(features, 32_000)], stage.setup())
    assert not isinstance(row, RowError)
    assert row["units"].tolist() == ((features[:, 0] > 0) * 2 + (features[:, 1] > 0)).tolist()


def test_a_codebook_of_another_width_is_an_error_of_the_song(tmp_path: Path) -> None:
    np.save(tmp_path / "km.npy", np.zeros((3, 5), np.float32))
    stage = Units(model=str(tmp_path / "km.npy"), standardise="none")
    (row,) = stage.process([song_of_features(steps(10), 3200)], stage.setup())
    assert isinstance(row, RowError) and "do not fit a codebook of width 5" in str(row)
