"""Mean and spread of a mel's bands, between which and nats a network works."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

# Below this spread a band counts as constant, and its errors are not blown up.
LEAST_SPREAD = 1e-2


class MelScale(nn.Module):
    """Log-mels (..., M) to values of mean 0 and spread 1, and back."""

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((n_mels,), -5.0))
        self.register_buffer("std", torch.full((n_mels,), 3.0))
        self.mean: Tensor
        self.std: Tensor

    @torch.no_grad()
    def measure(self, mels: npt.NDArray[np.floating]) -> None:
        """Takes mean and spread of mel frames (F, M)."""
        self.mean.copy_(torch.from_numpy(mels.mean(0)))
        self.std.copy_(torch.from_numpy(np.maximum(mels.std(0), LEAST_SPREAD)))

    def normal(self, mel: Tensor) -> Tensor:
        """Returns nats as a network sees them."""
        return (mel.float() - self.mean) / self.std

    def nats(self, normal: Tensor) -> Tensor:
        """Returns what a network says in nats."""
        return normal * self.std + self.mean
