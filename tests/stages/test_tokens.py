"""The `tokens` stage: tied streams at any resolutions, each frame the mean of what it covers."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fit_toys import FitSourceInMemory, song_of_features, steps

from autosing.pipeline.song import Song
from autosing.pipeline.stages.tokens import Tokens
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import frames, tied_frames

Codes = npt.NDArray[np.uint16]


def _fitted(folder: Path, resolutions_ms: tuple[int, ...], k: int = 4) -> Tokens:
    stage = Tokens(resolutions_ms=resolutions_ms, k=k, codebook=str(folder))
    source = FitSourceInMemory([steps(400), np.zeros((0, 2), np.float16), steps(333, seed=1)])
    folder.mkdir()
    stage.fit(source, folder)
    assert len(source.asked) == 1, "the features are computed once for all resolutions"
    return stage


def _tokens(stage: Tokens, song: Song) -> dict[str, Codes]:
    (row,) = stage.process([song], stage.setup())
    assert not isinstance(row, RowError)
    return {c.name: c.canonical(row[c.name]) for c in stage.columns()}


@pytest.mark.parametrize("resolutions_ms", [(20, 40, 80), (20, 40, 120), (40, 60), (80,), (30, 50), (10, 20)])
def test_streams_are_tied_whatever_the_ratio_and_the_length(resolutions_ms: tuple[int, ...], tmp_path: Path) -> None:
    stage = _fitted(tmp_path / "tokens", resolutions_ms)
    rates = [Fraction(1000, ms) for ms in resolutions_ms]
    assert [(c.name, c.rate, c.tied) for c in stage.columns()] == [
        (f"tokens_{ms}", rate, tuple(rates)) for ms, rate in zip(resolutions_ms, rates, strict=True)
    ]
    for n_samples in (441, 1000, 3527, 3528, 3529, 44_100, 123_456):
        song = song_of_features(steps(frames(n_samples, 44_100, Fraction(50))), n_samples, 44_100)
        counts = [len(t) for t in _tokens(stage, song).values()]
        assert counts == tied_frames(n_samples, 44_100, rates)
        assert len({count * ms for count, ms in zip(counts, resolutions_ms, strict=True)}) == 1


def test_each_stream_finds_the_points_that_its_frames_cover(tmp_path: Path) -> None:
    stage = _fitted(tmp_path / "tokens", (20, 40, 80))
    tokens = _tokens(stage, song_of_features(steps(200, seed=2), 64_000))
    codebooks = stage.setup()
    expected = steps(200, seed=2).astype(np.float32).reshape(50, 4, 2)
    for ms in (20, 40, 80):
        heard = codebooks[f"tokens_{ms}"][tokens[f"tokens_{ms}"]].reshape(50, 80 // ms, 2)
        np.testing.assert_allclose(heard, np.broadcast_to(expected.mean(axis=1, keepdims=True), heard.shape), atol=0.4)


def test_a_clip_shorter_than_the_coarsest_frame_has_one_of_them(tmp_path: Path) -> None:
    stage = _fitted(tmp_path / "tokens", (20, 40, 80))
    tokens = _tokens(stage, song_of_features(steps(1), 300))
    assert {name: len(t) for name, t in tokens.items()} == {"tokens_20": 4, "tokens_40": 2, "tokens_80": 1}
    assert all(len(set(t.tolist())) == 1 for t in tokens.values())


def test_a_clip_without_a_single_feature_is_a_row_error_that_spares_its_neighbours(tmp_path: Path) -> None:
    stage = _fitted(tmp_path / "tokens", (20, 40))
    songs = [song_of_features(np.zeros((0, 2), np.float16), 1), song_of_features(steps(50), 16_000)]
    short, fine = stage.process(songs, stage.setup())
    assert isinstance(short, RowError) and "nothing to pool" in str(short)
    assert not isinstance(fine, RowError)


def test_resolutions_that_make_no_sense_are_told() -> None:
    for wrong in ((), (20, 0), (20, 20)):
        with pytest.raises(UsageError, match="resolutions_ms"):
            Tokens(resolutions_ms=wrong)


def test_too_little_audio_for_the_coarsest_stream_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="13 frames are too few for k=20"):
        Tokens(k=20, codebook=str(tmp_path)).fit(FitSourceInMemory([steps(50)]), tmp_path)


def test_the_place_of_the_codebook_is_not_part_of_the_definition() -> None:
    assert Tokens(codebook="a").settings() == Tokens(codebook="b").settings()
    assert Tokens(codebook="a").models() == {"codebook": "a"}
    assert Tokens(source="ssl.whisper").reads() == ("ssl.whisper.ssl",)
