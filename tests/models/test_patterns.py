"""Patterns: exact inverses of any lengths, nothing learned where nothing is, and what is coarse comes first."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosing.models.patterns import EMPTY, Pattern, bricks
from autosing.signal.errors import UsageError
from autosing.signal.framing import tied_frames

SNAC = (8, 4, 2, 1)
SNAC_RATES = (Fraction(125, 12), Fraction(125, 6), Fraction(125, 3), Fraction(250, 3))


@st.composite
def patterns(draw: st.DrawFn) -> tuple[Pattern, list[int]]:
    """Returns a pattern of any strides and delays, and the stride of each level."""
    frames = draw(st.sampled_from([1, 2, 3, 4, 6, 8, 12]))
    fitting = [n for n in range(1, 4 * frames + 1) if not frames % n or not n % frames]
    strides = draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=5))
    delays = draw(st.none() | st.lists(st.integers(0, 9), min_size=len(strides), max_size=len(strides)))
    pattern = bricks(strides, frames, delays)
    return (pattern.unrolled() if draw(st.booleans()) else pattern), strides


@given(patterns(), st.data())
def test_any_number_of_tokens_of_each_level_comes_back(known: tuple[Pattern, list[int]], data: st.DataObject) -> None:
    pattern, strides = known
    counts = [data.draw(st.integers(0, 40)) for _ in strides]
    rng = np.random.default_rng(0)
    levels = [rng.integers(0, 1000, count).astype(np.uint16) for count in counts]
    cells, mask = pattern.laid_out(levels), pattern.mask(counts)
    assert cells.shape == mask.shape == (len(pattern.rows), pattern.n_columns(counts))
    assert ((cells != EMPTY) == mask).all() and mask.sum() == sum(counts), "every token is in one cell of its own"
    assert not mask.size or mask[:, -1].any(), "no column stands behind the last token"
    longer = np.concatenate([cells, np.full((len(cells), 3), 7)], axis=1)
    for found in (pattern.taken(cells, counts), pattern.taken(longer, counts)):
        assert [codes.tolist() for codes in found] == [codes.tolist() for codes in levels]


@given(patterns())
def test_tokens_stand_in_their_own_time_but_for_the_delay(known: tuple[Pattern, list[int]]) -> None:
    pattern, strides = known
    for row in pattern.rows:
        begins = row.tokens(60) * strides[row.level]
        columns = row.columns(60)
        late = columns - begins // pattern.column_frames
        assert (late == late[0]).all() and late[0] >= 0, "the delay is the same for all tokens of a row"


@pytest.mark.parametrize("is_unrolled", [False, True])
def test_what_covers_a_token_is_known_before_it(is_unrolled: bool) -> None:
    pattern = bricks(SNAC, 4)
    pattern = pattern.unrolled() if is_unrolled else pattern
    column_of = {
        (row.level, int(token)): int(column)
        for row in pattern.rows
        for token, column in zip(row.tokens(240 // SNAC[row.level]), row.columns(240 // SNAC[row.level]), strict=True)
    }
    for (level, token), column in column_of.items():
        for coarser in range(level):
            covering = token * SNAC[level] // SNAC[coarser]
            assert column_of[coarser, covering] < column


def test_bricks_are_those_of_autosing_and_unrolled_ones_too() -> None:
    pattern = bricks(SNAC, 4, (1, 2, 3, 4))
    assert [(row.level, row.column) for row in pattern.rows] == [
        (0, 1), (1, 2), (2, 3), (2, 3), (3, 4), (3, 4), (3, 4), (3, 4)
    ]  # fmt: skip
    levels = [np.arange(n) for n in (2, 4, 8, 16)]
    x = EMPTY
    assert bricks(SNAC, 4, (0, 0, 0, 0)).laid_out(levels).tolist() == [
        [0, x, 1, x],
        [0, 1, 2, 3],
        [0, 2, 4, 6],
        [1, 3, 5, 7],
        *([n, n + 4, n + 8, n + 12] for n in range(4)),
    ]
    # A column becomes four, of which rows 0 to 2 use the first, row 3 the third, and row 4 + i the i-th.
    unrolled = bricks(SNAC, 4, (0, 0, 0, 0)).unrolled().mask([2, 4, 8, 16])
    assert [sorted({int(n) % 4 for n in np.flatnonzero(row)}) for row in unrolled] == [
        [0], [0], [0], [2], [0], [1], [2], [3]
    ]  # fmt: skip
    assert np.flatnonzero(unrolled[0]).tolist() == [0, 8]


def test_padding_is_no_target() -> None:
    """AutoSing's loss counts its pads (4097), which anybody can predict, and ignores masked cells alone."""
    counts = tied_frames(15_000, 1000, SNAC_RATES)
    cells = bricks(SNAC, 4).laid_out([np.zeros(count, np.int64) for count in counts])
    assert (cells != EMPTY).sum() == sum(counts)
    assert cells.shape == (8, counts[1] + 3), "nothing but the delays is added, not eight columns on either side"


@pytest.mark.parametrize("seconds", [15.0, 30.0, 0.1, 2.379])
@pytest.mark.parametrize("is_unrolled", [False, True])
def test_as_much_comes_out_as_goes_in(seconds: float, is_unrolled: bool) -> None:
    """AutoSing lost the frames of its delay pads, and 96 more: 13.82 s of 15."""
    counts = tied_frames(round(seconds * 1000), 1000, SNAC_RATES)
    pattern = bricks(SNAC, 4).unrolled() if is_unrolled else bricks(SNAC, 4)
    cells = pattern.laid_out([np.zeros(count, np.int64) for count in counts])
    assert [len(codes) for codes in pattern.taken(cells, counts)] == counts
    assert counts[-1] / float(SNAC_RATES[-1]) >= seconds


def test_masks_lie_on_the_axis_of_the_vocabulary() -> None:
    """AutoSing's `probs[codes:]` sliced the batch."""
    allowed = bricks((2, 1), 2).allowed((3, 5), 8)
    assert allowed.tolist() == [[n < 3 for n in range(8)]] + [[n < 5 for n in range(8)]] * 2


def test_columns_know_their_time_at_any_rate() -> None:
    """AutoSing counted columns of 20.83 and of 83.33 a second alike."""
    pattern = bricks(SNAC, 4)
    coarse, fine = pattern.times_s(10, SNAC_RATES[-1]), pattern.unrolled().times_s(40, SNAC_RATES[-1])
    np.testing.assert_allclose(coarse, fine.reshape(10, 4).mean(1))
    assert coarse[0] == pytest.approx(0.024)


def test_what_does_not_fit_is_refused() -> None:
    for strides, frames, delays, message in (
        ((3, 1), 2, None, "tokens of 3 frames do not fit columns of 2"),
        ((0,), 2, None, "tokens of 0 frames"),
        ((), 2, None, "a pattern of 0 levels"),
        ((2, 1), 2, (1,), r"2 levels with the delays \[1\]"),
        ((2, 1), 2, (0, -1), "a delay from 0"),
        ((2, 1), 0, None, "columns of 0 frames"),
    ):
        with pytest.raises(UsageError, match=message):
            bricks(strides, frames, delays)
    pattern = bricks((2, 1), 2)
    with pytest.raises(UsageError, match="there are 1 levels, but the pattern is of 2"):
        pattern.laid_out([np.arange(3)])
    with pytest.raises(UsageError, match=r"cells of shape \(3, 2\) hold no 2, 4 tokens of the levels; \(3, 3\) would"):
        pattern.taken(np.zeros((3, 2), np.int64), [2, 4])
    with pytest.raises(UsageError, match="1 cells of level 1 are empty"):
        cells = pattern.laid_out([np.arange(2), np.arange(4)])
        cells[1, 1] = EMPTY
        pattern.taken(cells, [2, 4])
    with pytest.raises(UsageError, match="a vocabulary of 4 is to hold levels of 3, 5 codes"):
        pattern.allowed((3, 5), 4)
