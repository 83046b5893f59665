"""Columns: what goes in comes out again exactly, and what can't is an error of its row alone."""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from autosing.pipeline.record import ColumnDigest
from autosing.pipeline.schema import CUTS, NOTES, WORDS, Column
from autosing.signal.errors import RowError, SchemaMismatch

ARROW_TYPES = [
    pa.float16(),
    pa.float32(),
    pa.float64(),
    pa.uint8(),
    pa.uint16(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.bool_(),
]
RATES = [Fraction(10), Fraction(1, 3), Fraction(100), Fraction(375, 4), Fraction(125, 12)]


def digest(value: Any) -> str:
    running = ColumnDigest()
    running.add("id", value, False)
    return running.hex()


def through_arrow(column: Column, value: Any) -> Any:
    """Returns a canonical value after a trip through an Arrow table."""
    schema = pa.schema([column.field()])
    table = pa.Table.from_pylist([{column.name: column.encode(value)}], schema)
    described = Column.of_field(table.schema.field(0))
    return described.decode(table.column(0)[0].as_py())


@st.composite
def series(draw: st.DrawFn) -> tuple[Column, npt.NDArray[Any]]:
    dtype, rate = draw(st.sampled_from(ARROW_TYPES)), draw(st.sampled_from(RATES))
    dim = draw(st.none() | st.integers(1, 4))
    n_frames = draw(st.integers(0, 6))
    shape = n_frames if dim is None else (n_frames, dim)
    column = Column("x", dtype, rate, dim)
    elements = {"allow_nan": False, "allow_infinity": False} if pa.types.is_floating(dtype) else {}
    return column, draw(arrays.arrays(column.numpy_dtype, shape, elements=elements or None))


@settings(deadline=None)
@given(series())
def test_a_series_comes_out_of_the_file_as_it_went_in(drawn: tuple[Column, npt.NDArray[Any]]) -> None:
    column, array = drawn
    canonical = column.canonical(array)
    read = through_arrow(column, canonical)
    np.testing.assert_array_equal(read, array, strict=True)
    assert digest(read) == digest(canonical)


@settings(deadline=None)
@given(series())
def test_a_column_is_described_whole_by_its_field(drawn: tuple[Column, npt.NDArray[Any]]) -> None:
    column, _ = drawn
    assert Column.of_field(column.field()) == column


@settings(deadline=None)
@given(st.floats(-1e30, 1e30, width=64), st.integers(-(2**31), 2**31 - 1), st.text())
def test_a_value_is_what_will_be_read_back(real: float, whole: int, text: str) -> None:
    for dtype, value in ((pa.float32(), real), (pa.float64(), real), (pa.int32(), whole), (pa.large_string(), text)):
        column = Column("x", dtype)
        canonical = column.canonical(value)
        assert through_arrow(column, canonical) == canonical
        assert column.canonical(canonical) == canonical


def test_numbers_inside_lists_are_rounded_as_they_are_stored() -> None:
    column = Column("notes", NOTES)
    canonical = column.canonical([{"text": "a", "start_s": np.float32(0.5), "end_s": 1, "midi": 60.1}])
    assert canonical == [{"text": "a", "start_s": 0.5, "end_s": 1.0, "midi": float(np.float32(60.1))}]
    assert through_arrow(column, canonical) == canonical


@pytest.mark.parametrize("number", [1, np.int64(1), np.float32(1), 1.0])
def test_plain_and_numpy_numbers_are_the_same_value(number: Any) -> None:
    assert digest(Column("x", pa.float64()).canonical(number)) == digest(1.0)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (Column("x", pa.float16(), Fraction(50), 2), [[0.0, 70_000.0]]),
        (Column("x", pa.float16(), Fraction(50)), [-1e30]),
        (Column("x", pa.float32(), Fraction(50)), [float("nan")]),
        (Column("x", pa.float32(), Fraction(50)), [float("inf")]),
        (Column("x", pa.float32(), Fraction(50)), [1e300]),
        (Column("x", pa.uint16(), Fraction(50)), [65_536]),
        (Column("x", pa.uint16(), Fraction(50)), [-1]),
        (Column("x", pa.uint8(), Fraction(50)), [0.5]),
        (Column("x", pa.uint8(), Fraction(50)), [float("nan")]),
        (Column("x", pa.int64(), Fraction(50)), np.array([2**64 - 1], np.uint64)),
        (Column("x", pa.float32(), Fraction(50)), [[1.0]]),
        (Column("x", pa.float32(), Fraction(50), 2), [1.0, 2.0]),
        (Column("x", pa.float32(), Fraction(50), 2), [[1.0]]),
        (Column("x", pa.float32(), Fraction(50)), [[1.0], [1.0, 2.0]]),
        (Column("x", pa.float32(), Fraction(50)), ["loud"]),
        (Column("x", pa.float32(), Fraction(50)), 1.0),
        (Column("x", pa.float32(), Fraction(50)), None),
        (Column("x", pa.float32()), float("nan")),
        (Column("x", pa.float32()), np.float64("inf")),
        (Column("x", pa.float32()), 1e300),
        (Column("x", pa.float32()), None),
        (Column("x", pa.int32()), 2**31),
        (Column("x", pa.int64()), 2**70),
        (Column("x", pa.int32()), 1.5),
        (Column("x", pa.int32()), "three"),
        (Column("x", pa.large_string()), 3),
        (Column("x", pa.large_string()), "half a \ud83c"),
        (Column("x", WORDS), [{"text": "a", "start_s": float("nan"), "end_s": 1.0, "line": 0}]),
        (Column("x", WORDS), [{"text": "a", "start_s": 0.0, "end_s": 1.0, "line": 2**40}]),
        (Column("x", CUTS), "no list"),
    ],
)
def test_what_a_column_cannot_hold_is_an_error_of_its_row_that_names_the_column(column: Column, value: Any) -> None:
    with pytest.raises(RowError, match=r"^x: "):
        column.canonical(value)


def test_none_by_nature_is_allowed_where_the_column_says_so() -> None:
    assert Column("x", pa.float32(), nullable=True).canonical(None) is None
    assert Column("x", pa.float32(), Fraction(50), nullable=True).canonical(None) is None


def test_a_field_of_a_stranger_is_no_column() -> None:
    with pytest.raises(SchemaMismatch, match="'x' has no description; it was not written by autosing"):
        Column.of_field(pa.field("x", pa.float32()))


@pytest.mark.parametrize(
    ("column", "bytes_per_second"),
    [
        (Column("x", pa.float16(), Fraction(375, 4), 100), 18_750),
        (Column("x", pa.uint8(), Fraction(100)), 100),
        (Column("x", pa.float64()), 0),
    ],
)
def test_the_bytes_of_a_second_follow_from_rate_dim_and_type(column: Column, bytes_per_second: float) -> None:
    assert column.bytes_per_second == bytes_per_second


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), unique=True, min_size=2, max_size=4))
def test_digests_tell_apart_ids_order_values_and_errors(ids: list[str]) -> None:
    def of(names: list[str], values: list[Any], errors: list[bool]) -> str:
        running = ColumnDigest()
        for row in zip(names, values, errors, strict=True):
            running.add(*row)
        return running.hex()

    n = len(ids)
    first = of(ids, [1] * n, [False] * n)
    assert first == of(list(ids), [1] * n, [False] * n)
    others = [
        of(ids[::-1], [1] * n, [False] * n),
        of([*ids[:-1], ids[-1] + "x"], [1] * n, [False] * n),
        of(ids, [1] * (n - 1) + [2], [False] * n),
        of(ids, [1] * (n - 1) + [None], [False] * n),
        of(ids, [1] * (n - 1) + [None], [False] * (n - 1) + [True]),
        of(ids[:-1], [1] * (n - 1), [False] * (n - 1)),
    ]
    assert len({first, *others}) == len(others) + 1
