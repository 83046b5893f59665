"""A crop is the same stretch of time of every series, at a place that depends on the sample alone."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from toy_shards import lay_side_by_side, toy_sample, write_set

from autosing.signal.framing import frames, tied_frames
from autosing.training.loader import Reading
from autosing.training.manifest import AUDIO, Column
from autosing.training.sample import Sample
from autosing.training.shards import ShardSet

SECONDS = 6.4
RATES = {"mel": Fraction(375, 4), "units": Fraction(50), "f0_hz": Fraction(100)}
TIED = (Fraction(50), Fraction(25), Fraction(25, 2))
COLUMNS = {
    **{name: Column(name, "float32", rate, None, "", "") for name, rate in RATES.items()},
    **{f"tokens{i}": Column(f"tokens{i}", "uint16", rate, None, "", "", TIED) for i, rate in enumerate(TIED)},
}


def clock(rate: Fraction, n_frames: int) -> np.ndarray:
    """Returns a series that says when each of its frames begins."""
    return np.arange(n_frames) / float(rate)


def sample(epoch: int = 0, key: str = "0123456789abcdef_0", names: tuple[str, ...] = tuple(COLUMNS)) -> Sample:
    length_ms = round(SECONDS * 1000)
    tied = dict(zip(TIED, tied_frames(length_ms, 1000, TIED), strict=True))
    series = {}
    for name in names:
        rate = COLUMNS[name].rate
        assert rate is not None
        series[name] = clock(rate, tied[rate] if COLUMNS[name].tied else frames(length_ms, 1000, rate))
    series[AUDIO] = clock(Fraction(22_050), round(SECONDS * 22_050))
    return Sample(key, series, {"seconds": SECONDS}, (0, epoch, 0), 22_050)


def test_all_series_are_cut_at_the_same_moment() -> None:
    for epoch in range(40):
        crop = sample(epoch).cropped(1.6, COLUMNS)
        start_s = crop.info["crop_s"]
        assert crop.info["seconds"] == 1.6 and 0 <= start_s <= SECONDS - 1.6
        for name, series in crop.series.items():
            rate = 22_050 if name == AUDIO else COLUMNS[name].rate
            assert rate is not None
            assert series[0] == pytest.approx(start_s, abs=0.5 / 22_050 if name == AUDIO else 1e-9)
            assert len(series) == pytest.approx(1.6 * float(rate), abs=0.51)


def test_words_of_a_crop_are_those_inside_it_and_its_text_is_not_told() -> None:
    words = [{"text": str(i), "start_s": i * 0.4, "end_s": i * 0.4 + 0.4} for i in range(16)]
    info = {"seconds": SECONDS, "start_s": 10.0, "end_s": 16.4, "text": "all of it", "words": words}
    whole = Sample(
        "0" * 16 + "_0", sample().series, {**info, "values": {"notes": words, "tempo": 90}}, (0, 3, 0), 22_050
    )
    told = whole.cropped(1.6, COLUMNS).info
    assert told["text"] is None and told["values"]["tempo"] == 90
    assert (told["start_s"], told["end_s"]) == (10 + told["crop_s"], 10 + told["crop_s"] + 1.6)
    middles = {str(i): i * 0.4 + 0.2 - told["crop_s"] for i in range(16)}
    assert [w["text"] for w in told["words"]] == [text for text, middle in middles.items() if 0 <= middle < 1.6]
    assert told["values"]["notes"] == told["words"]
    assert all(0 <= w["start_s"] < w["end_s"] <= 1.6 for w in told["words"])


def test_starts_are_spread_over_the_whole_sample_and_follow_epoch_and_key() -> None:
    starts = [sample(epoch).cropped(1.6, COLUMNS).info["crop_s"] for epoch in range(300)]
    assert starts == [sample(epoch).cropped(1.6, COLUMNS).info["crop_s"] for epoch in range(300)]
    assert min(starts) == 0 and max(starts) == pytest.approx(SECONDS - 1.6)
    assert len(set(starts)) == 1 + round((SECONDS - 1.6) / 0.16), "every point of the grid of 160 ms"
    others = [sample(epoch, key="0" * 16 + "_0").cropped(1.6, COLUMNS).info["crop_s"] for epoch in range(300)]
    assert others != starts


def test_without_a_common_grid_each_series_begins_at_its_nearest_frame() -> None:
    odd = {"mel": Column("mel", "float32", Fraction(44_100, 512), None, "", ""), "f0_hz": COLUMNS["f0_hz"]}
    n_frames = {name: frames(round(SECONDS * 1000), 1000, c.rate) for name, c in odd.items() if c.rate}
    series = {name: clock(c.rate, n_frames[name]) for name, c in odd.items() if c.rate}
    for epoch in range(40):
        crop = Sample("0" * 16 + "_0", series, {"seconds": SECONDS}, (0, epoch, 0)).cropped(1.0, odd)
        for name, column in odd.items():
            assert column.rate is not None
            assert abs(crop.series[name][0] - crop.info["crop_s"]) <= 0.5 / float(column.rate) + 1e-9
            assert len(crop.series[name]) == frames(1000, 1000, column.rate)


def test_a_sample_that_is_no_longer_than_the_crop_stays_whole() -> None:
    whole = sample()
    assert whole.cropped(SECONDS, COLUMNS) is whole
    assert whole.cropped(10.0, COLUMNS) is whole


def test_batches_of_crops_have_one_shape_and_keep_the_budget(tmp_path: Path) -> None:
    samples = [toy_sample(number, 2.0 + number % 3) for number in range(24)]
    shards = ShardSet.open(write_set(tmp_path / "set", {"train": [samples]}), "train")
    reading = Reading(shards, ("units",), lay_side_by_side, 0, 4.0, crop_s=0.8)
    batches = list(reading.epoch(0))
    assert {len(batch.keys) for batch in batches[:-1]} <= {5, 4}
    assert {length for batch in batches for length in batch.arrays["lengths"]} == {40}
