"""Columns: what a value or a time series of a song is, and how it is laid down in Parquet.

A *value* is one Arrow value per song. A *series* is an array (F,) or (F, dim) at a declared rate, C-order and
little-endian. Series with a dim or with more than ten values a second are stored as `large_binary`, which reads four
times faster than nested lists; the field's metadata tells dtype, dim and rate.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from autosing.signal.errors import RowError, SchemaMismatch

LARGEST_LIST_RATE = 10
METADATA_KEY = b"autosing.column"

WORDS = pa.list_(
    pa.struct(
        [
            pa.field("text", pa.large_string()),
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("line", pa.int32()),
        ]
    )
)
ALIGNED_WORDS = pa.list_(pa.struct([*WORDS.value_type, pa.field("score", pa.float32())]))
LINES = pa.list_(
    pa.struct([pa.field("text", pa.large_string()), pa.field("start_s", pa.float64()), pa.field("end_s", pa.float64())])
)
ALIGNED_LINES = pa.list_(pa.struct([*LINES.value_type, pa.field("confidence", pa.float32())]))
CUTS = LINES
PHONES = LINES
NOTES = pa.list_(
    pa.struct(
        [
            pa.field("text", pa.large_string()),
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("midi", pa.float32()),
        ]
    )
)


@dataclass(frozen=True)
class Column:
    """One column of a column file.

    Args:
        name: name inside its file; `<instance>.<name>` is its address.
        dtype: Arrow type of the value, or of one element of the series.
        rate: frames per second of a series; None for a value.
        dim: width of a frame; None for a series of scalars and for values.
        unit: unit of the numbers, "" for none.
        meaning: one sentence.
        tied: rates of the group of streams whose frame counts are in exact ratio; () for none.
        nullable: whether "none by nature" (null without an error) is allowed.
        n_tokens: of a stream of tokens, how many different ones there may be, from 0 up; None of all else.
    """

    name: str
    dtype: pa.DataType
    rate: Fraction | None = None
    dim: int | None = None
    unit: str = ""
    meaning: str = ""
    tied: tuple[Fraction, ...] = ()
    nullable: bool = False
    n_tokens: int | None = None

    @property
    def is_series(self) -> bool:
        """Whether the column is a time series."""
        return self.rate is not None

    @property
    def is_tier(self) -> bool:
        """Whether a value is labelled intervals (words, phones, notes), which are cut like a series."""
        dtype = self.dtype
        if not (pa.types.is_list(dtype) or pa.types.is_large_list(dtype)) or not pa.types.is_struct(dtype.value_type):
            return False
        return {"start_s", "end_s"} <= {f.name for f in dtype.value_type}

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The little-endian numpy type of one element of the series."""
        native: np.dtype[Any] = np.dtype(self.dtype.to_pandas_dtype())
        return native.newbyteorder("<")

    @property
    def bytes_per_second(self) -> float:
        """Stored bytes per second of audio; 0 for values."""
        return float(self.rate) * (self.dim or 1) * self.numpy_dtype.itemsize if self.rate is not None else 0.0

    def field(self) -> pa.Field:
        """Returns the Arrow field with the description in its metadata."""
        described = {METADATA_KEY: json.dumps(self.describe(), sort_keys=True).encode()}
        return pa.field(self.name, self._storage_type(), metadata=described)

    def describe(self) -> dict[str, Any]:
        """Returns the JSON form: kind, dtype, rate, dim, unit, meaning, tied, nullable, n_tokens."""
        return {
            "kind": "series" if self.is_series else "value",
            "dtype": str(self.dtype),
            "rate": None if self.rate is None else f"{self.rate.numerator}/{self.rate.denominator}",
            "dim": self.dim,
            "unit": self.unit,
            "meaning": self.meaning,
            "tied": [f"{r.numerator}/{r.denominator}" for r in self.tied],
            "nullable": self.nullable,
            "n_tokens": self.n_tokens,
        }

    @classmethod
    def of_field(cls, field: pa.Field) -> "Column":
        """Returns the column that a stored field describes.

        Raises:
            SchemaMismatch: the field carries no description.
        """
        raw = (field.metadata or {}).get(METADATA_KEY)
        if raw is None:
            raise SchemaMismatch(f"column {field.name!r} has no description; it was not written by autosing")
        told: Mapping[str, Any] = json.loads(raw)
        rate = None if told["rate"] is None else Fraction(told["rate"])
        dtype = field.type if rate is None else pa.type_for_alias(told["dtype"])
        tied = tuple(Fraction(r) for r in told["tied"])
        rest = told["nullable"], told.get("n_tokens")
        return cls(field.name, dtype, rate, told["dim"], told["unit"], told["meaning"], tied, *rest)

    def canonical(self, value: Any) -> Any:
        """Returns `value` in exactly the form in which it will be read back.

        Raises:
            RowError: a wrong shape, a non-finite number, or a number the type can't hold.
        """
        if value is None:
            if not self.nullable:
                raise RowError(f"{self.name}: no value was computed")
            return None
        try:
            return self._canonical_series(np.asarray(value)) if self.is_series else self._canonical_value(value)
        except (ValueError, TypeError, OverflowError) as error:  # Arrow's own are of these kinds.
            raise RowError(f"{self.name}: the value can't be stored as {self.dtype}: {error}") from error

    def encode(self, value: Any) -> Any:
        """Returns the stored form of a canonical value: bytes for binary series, a list or a scalar otherwise."""
        if value is None or not self.is_series:
            return value
        return value.tobytes() if self._is_binary() else value.tolist()

    def decode(self, stored: Any) -> Any:
        """Returns the value from its stored form; a series as a read-only numpy view."""
        if stored is None or not self.is_series:
            return stored
        if not self._is_binary():
            return np.asarray(stored, self.numpy_dtype)
        flat = np.frombuffer(stored, self.numpy_dtype)
        return flat if self.dim is None else flat.reshape(-1, self.dim)

    def _is_binary(self) -> bool:
        return self.dim is not None or (self.rate is not None and self.rate > LARGEST_LIST_RATE)

    def _storage_type(self) -> pa.DataType:
        if not self.is_series:
            return self.dtype
        return pa.large_binary() if self._is_binary() else pa.list_(self.dtype)

    def _canonical_value(self, value: Any) -> Any:
        plain = pa.scalar(value, self.dtype).as_py()
        if not _is_finite(plain) or (pa.types.is_integer(self.dtype) and plain != value):
            raise RowError(f"{self.name}: a number is not finite, or {self.dtype} can't hold it")
        return plain

    def _canonical_series(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        expected = "(F,)" if self.dim is None else f"(F, {self.dim})"
        if array.ndim != (1 if self.dim is None else 2) or (self.dim is not None and array.shape[1] != self.dim):
            raise RowError(f"{self.name}: shape {array.shape}, expected {expected}")
        with np.errstate(over="ignore", invalid="ignore"):
            cast = np.ascontiguousarray(array, self.numpy_dtype)
        if cast.dtype.kind == "f":
            if not np.isfinite(cast).all():
                raise RowError(f"{self.name}: non-finite values, or values that {self.dtype} can't hold")
        elif cast.dtype != array.dtype and not np.array_equal(cast, array):
            raise RowError(f"{self.name}: values that {self.dtype} can't hold")
        return cast


def _is_finite(value: Any) -> bool:
    """Whether no number in a plain value, however deep, is infinite or NaN."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
