"""The `semantic` stage: tokens at their own rate, what it refuses, and where its tokens go from there."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fit_toys import song_of_features

from autosing.evaluation.tokenizers.compare import Request, compare_tokens
from autosing.pipeline.construct.inputs import NamedDataset
from autosing.pipeline.construct.sample import SampleSpec
from autosing.pipeline.construct.shards import construct_dataset
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.stages.semantic import SemanticStage
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import frames
from autosing.synthesis.resynthesize import Series, way_of
from autosing.training.run import train

Save = Callable[[Path, int, int], str]
DIM = 6


def heard(n_frames: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((n_frames, DIM)).astype(np.float16)


def test_a_song_has_as_many_tokens_as_it_is_long(tmp_path: Path, save_semantic: Save) -> None:
    stage = SemanticStage(model=save_semantic(tmp_path / "model", DIM, 0), source="ssl.whisper")
    (column,) = stage.columns()
    assert (column.name, column.rate, column.n_tokens) == ("semantic", Fraction(25), 16)
    assert stage.reads() == ("ssl.whisper.ssl",) and stage.models() == {"model": stage.model}
    # A sample, less than half a token, less than one, and what is no whole number of them.
    lengths = (1, 600, 1_500, 44_100, 123_456)
    songs = [song_of_features(heard(frames(n, 44_100, Fraction(50))), n, 44_100, source="ssl.whisper") for n in lengths]
    rows = stage.process(songs, stage.setup())
    found = [column.canonical(row["semantic"]) for row in rows if not isinstance(row, RowError)]
    assert [len(one) for one in found] == [frames(n, 44_100, Fraction(25)) for n in lengths] == [0, 0, 1, 25, 70]
    assert len(set(found[-1].tolist())) > 4


def test_features_of_another_width_are_an_error_of_the_song_alone(tmp_path: Path, save_semantic: Save) -> None:
    stage = SemanticStage(model=save_semantic(tmp_path / "model", DIM, 0))
    songs = [song_of_features(heard(50)[:, :4], 16_000), song_of_features(heard(50), 16_000)]
    wrong, fine = stage.process(songs, stage.setup())
    assert isinstance(wrong, RowError) and "shape (50, 4) do not fit a model of width 6" in str(wrong)
    assert not isinstance(fine, RowError)


def test_models_that_are_none_of_this_kind_are_refused(tmp_path: Path, save_semantic: Save, save_content: Save) -> None:
    with pytest.raises(UsageError, match=r"semantic: model is missing; give what `autosing train semantic` made"):
        SemanticStage().columns()
    with pytest.raises(UsageError, match=r"is no semantic bottleneck but a 'content'"):
        SemanticStage(model=save_content(tmp_path / "content", DIM, 0)).columns()
    other = Path(save_semantic(tmp_path / "other", DIM, 0), "config.json")
    told = json.loads(other.read_text())
    other.write_text(json.dumps({**told, "fields": {**told["fields"], "rate": "375/4"}}))
    with pytest.raises(UsageError, match=r"trained on features at 375/4 Hz, and those of `ssl` are at 50 Hz"):
        SemanticStage(model=str(other.parent)).columns()
    assert SemanticStage(model="a").settings() == SemanticStage(model="b").settings()


def test_its_tokens_are_compared_and_become_sound_like_any_others(tmp_path: Path, save_semantic: Save) -> None:
    url, model = str(tmp_path / "set"), save_semantic(tmp_path / "model", 39, 0)
    append_songs(url, SyntheticSource(5, 3.0, 0, 2).songs(), REFERENCE_COLUMNS)
    dataset, graph = Dataset(url), Project().graph(DatasetEntry(url), (f"semantic.model={model}",))
    report = process(dataset, graph, ["semantic", "f0"], RunOptions("local"), progress=Progress(0, quiet=True))
    assert report.exit_code == 0
    told = compare_tokens(dataset, Request(("semantic",), (), "f0", 99, 2.0, 1, 1, 2, 2)).figures["semantic"]
    assert told["bits"] == 25 * 4 and 0 < told["entropy"] <= 100 and 0 < told["purity"] <= 1
    columns = {"semantic": "semantic.semantic", "f0_hz": "f0.f0_hz", "voiced": "f0.voiced"}
    spec = SampleSpec("sound", columns, cuts=None, audio="voice")
    shards = tmp_path / "shards"
    construct_dataset([NamedDataset("set", dataset)], str(shards), replace(spec, valid_songs=1))
    settings = ["size=tiny", "generator=istft", "streams=semantic", "n_tokens=16", "crop_s=0.5", "steps=1"]
    run = train("unit_vocoder", shards, tmp_path / "run", [*settings, "seconds_per_batch=1", "adversarial_weight=0"])
    row = next(dataset.partition(0).rows(["semantic.semantic", "f0.f0_hz", "f0.voiced"]))
    rates = {"semantic": Fraction(25), "f0_hz": Fraction(100), "voiced": Fraction(100)}
    series = {name: Series(row.values[columns[name]], rate) for name, rate in rates.items()}
    way = way_of(str(run.model))
    assert {*way.columns} >= {"semantic", "f0_hz"}
    assert way.make(series).shape[0] == pytest.approx(len(series["semantic"].values) / 25 * way.sample_rate, rel=0.01)
