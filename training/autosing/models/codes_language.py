"""A language model of a codec's codes: the levels' next ones, given what is sung, backing and singer (see `columns`).

Its columns are those of a pattern (see `patterns`): all levels at their own rates, what is coarse ahead of what is
fine. AutoSing's SM2A, whose idea this is, trains on pads that anybody can predict, masks the axis of the batch where it
means the vocabulary, and gives 13.82 s where 15 are asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from torch import Tensor

from autosing.models.columns import ColumnFields, ColumnLanguage, Tensors, Told
from autosing.models.patterns import Pattern, bricks
from autosing.signal.errors import UsageError
from autosing.signal.framing import tied_frames


@dataclass(frozen=True, kw_only=True)
class CodesFields(ColumnFields):
    """What a language model of codes is built from, beside what all are.

    Attributes:
        sizes: how many different codes each level has, coarse first.
        rates: codes per second of each level, as fractions; the highest is a multiple of all.
        column_frames: how many codes of the highest rate a column lasts.
        delays: of each level, in columns.
    """

    sizes: Sequence[int]
    rates: Sequence[str]
    column_frames: int
    delays: Sequence[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.sizes) != len(self.rates) or min(self.sizes, default=0) < 2:
            raise UsageError(
                f"levels of {', '.join(map(str, self.sizes)) or 'no'} codes have {len(self.rates)} rates; give each "
                "level a rate and at least 2 codes"
            )
        # Refuses what is none.
        _ = self.pattern

    @property
    def pattern(self) -> Pattern:
        """How codes lie in columns."""
        return bricks(strides_of([Fraction(rate) for rate in self.rates]), self.column_frames, self.delays)

    @property
    def finest_rate(self) -> Fraction:
        """The highest of the rates."""
        return max(Fraction(rate) for rate in self.rates)


class CodesLanguage(ColumnLanguage):
    """Predicts columns of codes (B, N, R), cells that hold none being `EMPTY`."""

    fields_type: ClassVar = CodesFields
    fields: CodesFields

    def __init__(self, fields: CodesFields) -> None:
        pattern = fields.pattern
        super().__init__(fields, [fields.sizes[row.level] for row in pattern.rows])
        self.pattern = pattern

    def forward(
        self, inputs: Tensors, cells_BNR: Tensor, times_s: Tensor, watched: Sequence[int] = (), source: str = "semantic"
    ) -> Told:
        """Returns what is predicted of each column from the true ones before it; see `columns`."""
        return self.columns(inputs, cells_BNR, times_s, watched, source)


def strides_of(rates: Sequence[Fraction]) -> list[int]:
    """Returns how many codes of the highest rate a code of each level lasts.

    Raises:
        UsageError: a rate does not divide the highest.
    """
    strides = [max(rates) / rate for rate in rates]
    for rate, stride in zip(rates, strides, strict=True):
        if stride.denominator != 1:
            raise UsageError(
                f"a level of {rate} codes a second does not fit one of {max(rates)}; leave one of them out"
            )
    return [int(stride) for stride in strides]


def code_counts(fields: CodesFields, seconds: float) -> list[int]:
    """Returns how many codes of each level last `seconds`, to the millisecond, in whole codes of the coarsest level.

    It is what a codec makes of a sound of this length, so that its wave has to be cut and never to be lengthened.
    """
    return tied_frames(round(seconds * 1000), 1000, [Fraction(rate) for rate in fields.rates])
