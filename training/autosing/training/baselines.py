"""What an acoustic model must beat: the mean mel, and ridge regression from the units."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.framing import nearest_frames

Mel = npt.NDArray[np.floating[Any]]
Units = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]

# Unit frames on either side that the ridge regression sees, and the weight of its penalty.
CONTEXT = 3
RIDGE = 1.0


@dataclass(frozen=True)
class MeanBaseline:
    """Predicts the mean mel for every frame."""

    mean: Floats

    @classmethod
    def fit(cls, mels: Iterable[Mel]) -> "MeanBaseline":
        """Returns the baseline of some mels (F, M)."""
        sums = [(mel.sum(0, dtype=np.float64), len(mel)) for mel in mels]
        return cls(np.sum([total for total, _ in sums], axis=0) / sum(n for _, n in sums))

    def predict(self, n_frames: int) -> Floats:
        """Returns a mel (F, M)."""
        return np.tile(self.mean, (n_frames, 1))


@dataclass(frozen=True)
class RidgeBaseline:
    """Predicts each frame by ridge regression from the units around it as one-hot vectors.

    Attributes:
        weights: (7 * V + 1, M): a row per place in the context and unit, and one that is always on.
        n_units: V.
        unit_rate: unit frames per second.
        mel_rate: mel frames per second.
    """

    weights: Floats
    n_units: int
    unit_rate: Fraction
    mel_rate: Fraction

    @classmethod
    def fit(
        cls, samples: Iterable[tuple[Units, Mel]], n_units: int, unit_rate: Fraction, mel_rate: Fraction
    ) -> "RidgeBaseline":
        """Returns the regression from units (N,) to mels (F, M), fitted in one pass in memory of (7 * V)^2.

        Args:
            samples: pairs of units and mel.
            n_units: V, above every unit.
            unit_rate: unit frames per second.
            mel_rate: mel frames per second.
        """
        width = (2 * CONTEXT + 1) * n_units + 1
        gram, moment = np.zeros((width, width)), 0.0
        for units, mel in samples:
            rows = _one_hot(units, len(mel), n_units, unit_rate, mel_rate)
            product = (rows.T @ rows).tocoo()
            gram[product.row, product.col] += product.data
            moment = moment + rows.T @ mel.astype(np.float64)
        # The constant is not shrunk, so a heavy penalty ends at the mean mel.
        gram[np.arange(width - 1), np.arange(width - 1)] += RIDGE
        return cls(np.linalg.solve(gram, np.asarray(moment)), n_units, unit_rate, mel_rate)

    def predict(self, units: Units, n_frames: int) -> Floats:
        """Returns the mel (F, M) of units (N,)."""
        return np.asarray(_one_hot(units, n_frames, self.n_units, self.unit_rate, self.mel_rate) @ self.weights)


def _one_hot(units: Units, n_frames: int, n_units: int, unit_rate: Fraction, mel_rate: Fraction) -> Any:
    """Returns the sparse regressors (F, 7 * V + 1); places before the start and after the end are zeros."""
    from scipy.sparse import csr_array

    near = nearest_frames(n_frames, mel_rate, len(units), unit_rate)
    place = near[:, None] + np.arange(-CONTEXT, CONTEXT + 1)
    frame, context = np.nonzero((place >= 0) & (place < len(units)))
    column = context * n_units + units[place[frame, context]]
    constant = (2 * CONTEXT + 1) * n_units
    rows = np.concatenate([frame, np.arange(n_frames)])
    columns = np.concatenate([column, np.full(n_frames, constant)])
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(n_frames, constant + 1))
