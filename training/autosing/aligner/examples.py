"""What an aligner learns from: bands of a line with the labels of its text, made harder; and the loss."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Floats = npt.NDArray[np.float32]

_TONE_POINTS = 6
_LONGEST_MASK = 14  # bands of 80


def augmented(bands: Floats, rng: np.random.Generator, strength: float) -> Floats:
    """Returns normalised bands (F, D), D the mix's and the centre's side by side, as another studio would give them.

    `strength` 1 is for a net that has only heard a synthesiser; half of it for recordings. Tone, level, dynamics and
    noise change, bands are missing, and mix or centre may stand for both.
    """
    if not strength:
        return bands
    n_mels = bands.shape[1] // 2
    points = rng.normal(0, 0.35 * strength, _TONE_POINTS)
    tone = np.interp(np.arange(n_mels), np.linspace(0, n_mels - 1, _TONE_POINTS), points)
    changed = bands * rng.uniform(1 - 0.25 * strength, 1 + 0.2 * strength)
    changed += np.tile(tone, 2) + rng.normal(0, 0.15 * strength)
    for half in (0, n_mels):
        for _ in range(2 if strength > 0.5 else 1):
            width = int(rng.integers(0, max(int(_LONGEST_MASK * min(strength + 0.25, 1)), 1)))
            first = half + int(rng.integers(0, n_mels - width))
            changed[:, first : first + width] = 0
    which = rng.random()
    if which < 0.3 * strength:
        changed[:, :n_mels] = changed[:, n_mels:]
    elif which < 0.5 * strength:
        changed[:, n_mels:] = changed[:, :n_mels]
    changed += rng.normal(0, rng.uniform(0.1, 0.4) * strength, changed.shape)
    return np.asarray(changed, np.float32)


def fits(labels: Sequence[int], n_frames: int) -> bool:
    """Returns whether CTC has a path for labels in so many frames, with a little room."""
    repeats = sum(a == b for a, b in itertools.pairwise(labels))
    return 0 < len(labels) + repeats <= 0.9 * n_frames


def ctc_loss(log_probs_NBFV: Tensor, frames_B: Tensor, labels: Tensor, lengths_B: Tensor) -> Tensor:
    """Returns the CTC loss in nats, summed over the samples that have labels and averaged over nets.

    Args:
        log_probs_NBFV: of N nets.
        frames_B: of each sample.
        labels: (B, L) padded, or one after the other (sum of L,).
        lengths_B: labels of each sample.
    """
    losses = [
        functional.ctc_loss(
            log_probs.transpose(0, 1), labels, frames_B, lengths_B, reduction="none", zero_infinity=True
        )
        for log_probs in log_probs_NBFV
    ]
    return (torch.stack(losses) * (lengths_B > 0)).sum(1).mean()
