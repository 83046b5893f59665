"""What the frequencies of codes alone tell of the next one: the baseline that a language model of codes has to beat."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


class Unigrams(nn.Module):
    """Counts of the codes of levels, as a part of what is trained: states of a run keep it, models do not."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.register_buffer("counts", torch.zeros(len(sizes), max(sizes), dtype=torch.int64))
        self.counts: Tensor

    def count(self, songs: Iterable[Sequence[npt.NDArray[np.integer]]]) -> None:
        """Counts the codes (N,) of each level of songs."""
        total = np.zeros(self.counts.shape, np.int64)
        for levels in songs:
            for row, codes in zip(total, levels, strict=True):
                row += np.bincount(codes.astype(np.int64), minlength=len(row))
        self.counts.copy_(torch.from_numpy(total))

    def n_correct(self, level: int, codes_M: Tensor) -> int:
        """Returns how many codes (M,) of a level are its most frequent one."""
        return int((codes_M == self.counts[level].argmax()).sum())
