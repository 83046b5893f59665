"""Principal components, which networks that compress begin with."""

from typing import Any

import numpy as np
import numpy.typing as npt


def principal_components(vectors: npt.NDArray[np.floating[Any]], n: int) -> npt.NDArray[np.float32]:
    """Returns the first `n` principal components of vectors (F, D), (n, D); zeros where there are no more."""
    _, _, components = np.linalg.svd(np.cov(vectors.astype(np.float64), rowvar=False), hermitian=True)
    kept = np.zeros((n, vectors.shape[1]), np.float32)
    kept[: len(components)] = components[:n]
    return kept
