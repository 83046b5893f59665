"""Several samples in one row: which is whose, so that none hears another.

In a batch of rows each place of a stream has a segment, the number of its sample in the row, and conditions are told of
each sample of a row, (B, K) in place of (B,).
"""

import torch
from torch import Tensor

from autosing.models.patterns import NO_SAMPLE


def together(queries_BN: Tensor, keys_BS: Tensor) -> Tensor:
    """Returns which queries and keys are of one sample (B, 1, N, S); padding looks at all, so that it has numbers."""
    return ((queries_BN[..., None] == keys_BS[:, None]) | (queries_BN == NO_SAMPLE)[..., None])[:, None]


def together_before(segments_BN: Tensor) -> Tensor:
    """Returns which places are of one sample, and not later than the one that looks, (B, 1, N, N)."""
    n = segments_BN.shape[1]
    is_before = torch.ones(n, n, dtype=torch.bool, device=segments_BN.device).tril()
    return together(segments_BN, segments_BN) & is_before


def is_first(segments_BN: Tensor) -> Tensor:
    """Returns where samples begin (B, N)."""
    return segments_BN.diff(dim=1, prepend=torch.full_like(segments_BN[:, :1], NO_SAMPLE - 1)) != 0


def of_places(of_samples_BK: Tensor, segments_BN: Tensor) -> Tensor:
    """Returns for each place what is told of its sample, (B, N) or (B, N, D); padding has what the first has."""
    places = segments_BN.clamp(min=0)
    if of_samples_BK.ndim == 3:
        return of_samples_BK.gather(1, places[..., None].expand(-1, -1, of_samples_BK.shape[-1]))
    return of_samples_BK.gather(1, places)
