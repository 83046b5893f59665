"""Cuts of series."""

from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosing.pipeline.schema import Column
from autosing.signal.errors import RowError
from autosing.signal.framing import frames, tied_frames
from autosing.signal.span import Cut, floor_ms, restrict, sample_span, snap_period, snapped_ms, span

MEL = Column("mel", pa.float16(), Fraction(375, 4), 100)
F0 = Column("f0_hz", pa.float32(), Fraction(100))
UNITS = Column("units", pa.uint16(), Fraction(50))
SNAC_RATES = (Fraction(125, 12), Fraction(125, 6), Fraction(125, 3), Fraction(250, 3))
SNAC = [Column(f"codes{i}", pa.uint16(), rate, tied=SNAC_RATES) for i, rate in enumerate(SNAC_RATES)]


@given(st.integers(1, 2_000_000), st.integers(0, 40_000), st.integers(1, 40_000))
def test_every_series_of_every_cut_has_its_exact_count_within_a_frame_of_the_cut(
    n_samples: int, start_ms: int, length_ms: int
) -> None:
    song_ms = n_samples * 1000 // 44_100
    cut = Cut(min(start_ms, song_ms), min(start_ms + length_ms, song_ms))
    for column in (MEL, F0, UNITS):
        assert column.rate is not None
        part = span(cut, column, frames(n_samples, 44_100, column.rate))
        assert part.length == frames(cut.length_ms, 1000, column.rate)
        assert abs(part.residual_s) <= 1 / column.rate


@given(st.integers(1, 2_000_000), st.integers(0, 40_000), st.integers(1, 40_000))
def test_tied_streams_stay_in_exact_ratio(n_samples: int, start_ms: int, length_ms: int) -> None:
    song_ms = n_samples * 1000 // 44_100
    cut = Cut(min(start_ms, song_ms), min(start_ms + length_ms, song_ms))
    totals = tied_frames(n_samples, 44_100, SNAC_RATES)
    parts = [span(cut, column, total) for column, total in zip(SNAC, totals, strict=True)]
    assert [p.length for p in parts] == [parts[0].length * 2**i for i in range(4)]
    assert [p.first for p in parts] == [parts[0].first * 2**i for i in range(4)]
    assert [p.length for p in parts] == tied_frames(cut.length_ms, 1000, SNAC_RATES)
    assert len({p.residual_s for p in parts}) == 1
    assert abs(parts[0].residual_s) <= 1 / SNAC_RATES[0]


def test_a_series_shorter_than_its_song_is_an_error() -> None:
    with pytest.raises(RowError, match="90 frames, but the cut"):
        span(Cut(0, 1000), F0, 90)


def test_the_snap_grid_is_160_ms_for_mel_and_480_ms_with_snac() -> None:
    assert snap_period([MEL, F0, UNITS]) == Fraction(16, 100)
    assert snap_period([MEL, F0, UNITS, *SNAC]) == Fraction(48, 100)


def test_nothing_snaps_to_a_grid_above_half_a_second_or_without_series() -> None:
    assert snap_period([MEL, Column("odd", pa.float32(), Fraction(44_100, 512))]) is None
    assert snap_period([Column("peak", pa.float32())]) is None


@given(st.integers(0, 10_000_000))
def test_a_snapped_start_is_earlier_by_less_than_the_grid_and_leaves_no_residual(start_ms: int) -> None:
    snapped = snapped_ms(start_ms, Fraction(16, 100))
    assert 0 <= start_ms - snapped < 160
    assert span(Cut(snapped, snapped + 1000), MEL, 10**9).residual_s == 0


def test_milliseconds_are_floored_but_not_for_the_last_bit_of_a_float() -> None:
    assert [floor_ms(s) for s in (1.001, 0.29, 1.0019, 1.0011, 0.0009)] == [1001, 290, 1001, 1001, 0]


def test_audio_is_cut_to_the_sample() -> None:
    assert sample_span(Cut(1500, 4001), 44_100, 10**6) == (66_150, 110_294)
    assert sample_span(Cut(0, 1000), 8000, 7999) == (0, 7999)


def test_an_interval_belongs_to_the_cut_that_holds_its_middle() -> None:
    words = [{"text": t, "start_s": s, "end_s": e} for t, s, e in (("a", 0.0, 1.1), ("b", 1.1, 2.0), ("c", 1.8, 3.0))]
    assert restrict(words, Cut(1000, 2500)) == [
        {"text": "b", "start_s": 0.1, "end_s": 1.0},
        {"text": "c", "start_s": 0.8, "end_s": 1.5},
    ]
