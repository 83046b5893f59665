"""How far predicted mels are from true ones."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Mel = npt.NDArray[np.floating[Any]]
Lengths = npt.NDArray[np.integer[Any]]


def mel_l1(predicted: Iterable[Mel], target: Iterable[Mel]) -> float:
    """Returns the mean absolute difference in nats over all frames and bins of pairs of mels (F, M).

    Raises:
        ValueError: a pair has two shapes, or there is no frame.
    """
    total, count = 0.0, 0
    for p, t in zip(predicted, target, strict=True):
        if p.shape != t.shape:
            raise ValueError(f"a prediction of shape {p.shape} cannot be compared with a target of shape {t.shape}")
        total += float(np.abs(p.astype(np.float64) - t).sum())
        count += p.size
    if not count:
        raise ValueError("mel_l1 needs at least one frame")
    return total / count


def unpadded(mel_BFM: Mel, lengths_B: Lengths) -> list[Mel]:
    """Returns the mels of a batch without their padding, (F, M) each."""
    return [mel[:length] for mel, length in zip(mel_BFM, lengths_B, strict=True)]
