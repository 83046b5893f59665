"""How far what was read of a text is from the text."""

from collections.abc import Sequence

import numpy as np


def edit_distance(found: Sequence[int], true: Sequence[int]) -> int:
    """Returns how many symbols have to be put in, left out or replaced to make one sequence the other.

    By Levenshtein (1966); over the true sequence's length it is the phone, letter or word error rate.
    """
    target = np.asarray(true, np.int64)
    places = np.arange(len(target) + 1)
    costs = places
    for number, symbol in enumerate(found, 1):
        others = np.append(number, np.minimum(costs[1:] + 1, costs[:-1] + (target != symbol)))
        # What is put in one after the other costs 1 each.
        costs = np.minimum.accumulate(others - places) + places
    return int(costs[-1])
