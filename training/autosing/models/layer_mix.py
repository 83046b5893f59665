"""Several layers of a speech encoder as one: a learned weighting."""

import torch
from torch import Tensor, nn

from autosing.signal.errors import RowError, UsageError


def layer_width(feature_dim: int, n_layers: int) -> int:
    """Returns the width of a layer, of features that are several side by side.

    Raises:
        UsageError: they are not.
    """
    if n_layers < 1 or feature_dim % n_layers:
        raise UsageError(f"features of width {feature_dim} are not {n_layers} layers side by side")
    return feature_dim // n_layers


def check_features(shape: tuple[int, ...], feature_dim: int) -> None:
    """Raises RowError unless an array's shape is that of features (N, feature_dim)."""
    if len(shape) != 2 or shape[1] != feature_dim:
        raise RowError(f"features of shape {shape} do not fit a model of width {feature_dim}")


class LayerMix(nn.Module):
    """Layers side by side (B, N, L D), each brought to mean 0 and spread 1, weighted and added up, (B, N, D)."""

    def __init__(self, feature_dim: int, n_layers: int) -> None:
        super().__init__()
        self.width = layer_width(feature_dim, n_layers)
        self.weights = nn.Parameter(torch.zeros(n_layers))
        self.norm = nn.LayerNorm(self.width)

    def forward(self, features_BND: Tensor) -> Tensor:
        layers = features_BND.float().reshape(*features_BND.shape[:2], len(self.weights), -1)
        mixed_BND: Tensor = (self.norm(layers) * self.weights.softmax(0)[:, None]).sum(2)
        return mixed_BND
