"""How far what was read of a text is from the text."""

from collections.abc import Sequence

import numpy as np


def edit_distance(found: Sequence[int], true: Sequence[int], anything: int | None = None) -> int:
    """Returns how many symbols have to be put in, left out or replaced to make one sequence the other.

    By Levenshtein (1966); over the true sequence's length it is the phone, letter or word error rate.

    Args:
        found: symbols.
        true: symbols.
        anything: that of the true ones which stands for any others, one or more; None where none does.
    """
    target = np.asarray(true, np.int64)
    is_open = target == anything
    places = np.arange(len(target) + 1)
    costs = places
    for number, symbol in enumerate(found, 1):
        others = np.append(number, np.minimum(costs[1:] + ~is_open, costs[:-1] + ((target != symbol) & ~is_open)))
        # What is put in one after the other costs 1 each.
        costs = np.minimum.accumulate(others - places) + places
    return int(costs[-1])
