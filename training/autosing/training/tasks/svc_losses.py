"""How like two mels are in structure: SSIM (Wang et al., 2004) over frames and bands, padding aside."""

import torch
from torch import Tensor
from torch.nn import functional

WINDOW, SPREAD = 11, 1.5
# Of a range of about six spreads, to either side of the mean.
RANGE = 6.0
_FIRST, _SECOND = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2


def ssim_errors(predicted_BFM: Tensor, target_BFM: Tensor, mask_BF1: Tensor) -> Tensor:
    """Returns 1 - SSIM at each frame and band (B, F, M) of mels of spread 1; 0 in padding.

    What lies in padding takes no part in any window: means are of the frames that are there.
    """
    weights = _window(predicted_BFM)
    there = _smoothed(mask_BF1.expand_as(predicted_BFM), weights).clamp(min=1e-6)

    def mean(values: Tensor) -> Tensor:
        return _smoothed(values * mask_BF1, weights) / there

    one, other = mean(predicted_BFM), mean(target_BFM)
    spread_one, spread_other = mean(predicted_BFM.square()) - one**2, mean(target_BFM.square()) - other**2
    both = mean(predicted_BFM * target_BFM) - one * other
    # Levels are compared by their ratio, so they have to be above 0.
    one, other = one + RANGE, other + RANGE
    level = (2 * one * other + _FIRST) / (one**2 + other**2 + _FIRST)
    structure = (2 * both + _SECOND) / (spread_one.clamp(min=0) + spread_other.clamp(min=0) + _SECOND)
    return (1 - level * structure) * mask_BF1


def _window(like: Tensor) -> Tensor:
    places = torch.arange(WINDOW, device=like.device, dtype=like.dtype) - WINDOW // 2
    weights = (-0.5 * (places / SPREAD) ** 2).exp()
    return weights / weights.sum()


def _smoothed(values_BFM: Tensor, weights: Tensor) -> Tensor:
    """Returns weighted means over frames and bands; what lies beyond the edges counts 0."""
    pad = WINDOW // 2
    x = functional.conv2d(values_BFM[:, None], weights.reshape(1, 1, -1, 1), padding=(pad, 0))
    smooth: Tensor = functional.conv2d(x, weights.reshape(1, 1, 1, -1), padding=(0, pad))[:, 0]
    return smooth
