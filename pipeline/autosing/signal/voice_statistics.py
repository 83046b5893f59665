"""Who sings, without weights: statistics of a voice's cepstra, which tell its timbre.

Two takes of a voice are nearer to each other than takes of two voices in 90 % of the cases where people read aloud, in
67 % where they sing in different techniques (equal error rates over 6 readers and 8 singers); a trained model does it
far better. Cepstra above the ninth, which begin to follow the pitch, and slopes added nothing.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.mfcc import RATE

N_CEPSTRA = 9
DIM = 2 * N_CEPSTRA
# Less of singing tells nothing of a voice.
LEAST_S = Fraction(1, 2)
LEAST_FRAMES = int(LEAST_S * RATE)
_SCALE = 0.1  # brings Kaldi's liftered cepstra, which spread over some 10 units, to about 1


def voice_statistics(
    features: npt.NDArray[np.floating[Any]], sung: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64] | None:
    """Returns the vector (18,) of a voice; None where less than half a second is sung.

    It holds means and deviations of the cepstra without the first, which is the level: the long-term spectrum, and how
    far vowels are apart in it. Voices are compared by Euclidean distance.

    Args:
        features: MFCC (F, 39) of `mfcc.mfcc`, at 50 Hz.
        sung: which frames count, (F,).
    """
    cepstra = features[sung, 1 : N_CEPSTRA + 1].astype(np.float64)
    if len(cepstra) < LEAST_FRAMES:
        return None
    return _SCALE * np.concatenate([cepstra.mean(axis=0), cepstra.std(axis=0)])
