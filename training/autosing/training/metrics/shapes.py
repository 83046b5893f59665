"""What two arrays must have in common before they are compared."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]


def require_equal_shapes(predicted: Array, target: Array) -> None:
    """Refuses two arrays that cannot be compared element by element.

    Raises:
        ValueError: their shapes differ, or they are empty.
    """
    if predicted.shape != target.shape:
        raise ValueError(
            f"a prediction of shape {predicted.shape} cannot be compared with a target of shape {target.shape}"
        )
    if not predicted.size:
        raise ValueError(f"prediction and target are empty (shape {target.shape}); there is nothing to compare")


def paired_waves(predicted: Array, target: Array) -> tuple[Doubles, Doubles]:
    """Returns two mono waves (T,) in double precision.

    Raises:
        ValueError: they have two lengths, no sample, or channels.
    """
    require_equal_shapes(predicted, target)
    if predicted.ndim != 1:
        raise ValueError(f"waves have shape {predicted.shape}; they must be mono, (T,)")
    return predicted.astype(np.float64), target.astype(np.float64)
