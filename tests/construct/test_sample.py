"""Sample specs from plain mappings."""

from typing import Any

import pytest

from autosing.pipeline.construct.sample import SAMPLES, SampleSpec
from autosing.signal.errors import UsageError


def test_a_list_of_columns_keeps_their_short_names() -> None:
    spec = SampleSpec.of("tts", {"columns": ["mel.mel", "f0.praat.f0_hz"], "valid_songs": 3})
    assert spec.columns == {"mel": "mel.mel", "f0_hz": "f0.praat.f0_hz"}
    assert (spec.name, spec.valid_songs, spec.cuts) == ("tts", 3, "cuts")


def test_a_mapping_gives_names_and_null_cuts_mean_whole_songs() -> None:
    spec = SampleSpec.of("whole", {"columns": {"pitch": "f0.f0_hz"}, "cuts": None, "quality": {"quality.peak": [0, 1]}})
    assert (spec.columns, spec.cuts, spec.quality) == ({"pitch": "f0.f0_hz"}, None, {"quality.peak": (0.0, 1.0)})


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        ({"colums": ["mel.mel"]}, ["samples.x.colums", "unknown", "columns, "]),
        ({"columns": ["mel.mel"], "group": "artist"}, ["samples.x.group", "'song' or 'singer'"]),
        ({"columns": ["mel.mel"], "valid_songs": "many"}, ["samples.x.valid_songs", "'many'"]),
        ({"columns": ["f0.f0_hz", "f0.praat.f0_hz"]}, ["'f0_hz' is there twice", "NAME: address"]),
        ({"columns": {"a.b": "mel.mel"}}, ["'a.b' is not a name"]),
        ({"columns": []}, ["none are named"]),
        ({"columns": ["mel.mel"], "name": "y"}, ["samples.x.name: unknown"]),
        ({"columns": ["mel.mel"], "min_s": 2, "max_s": 1}, ["max_s: 1", "below min_s 2"]),
        ({"columns": ["mel.mel"], "valid_share": 0.6, "test_share": 0.4}, ["nothing is left for training"]),
        ({"columns": ["mel.mel"], "quality": {"quality.peak": [1, 0]}}, ["quality.quality.peak", "1.0 is above 0.0"]),
    ],
)
def test_a_wrong_spec_is_refused_by_name(mapping: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        SampleSpec.of("x", mapping)
    for part in told:
        assert part in str(error.value)


def test_the_acoustic_spec_names_its_columns() -> None:
    assert list(SAMPLES["acoustic"].columns) == ["units", "mel", "f0_hz", "voiced", "energy"]
