"""Language models whose layers say something, and random sources for them."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from autosing.models.language_blocks import NOTHING

Network = TypeVar("Network", bound=nn.Module)


def saying(model: Network, std: float) -> Network:
    """Returns a model in evaluation mode whose last layers, which begin silent, have random weights."""
    for name, parameter in model.named_parameters():
        if name.endswith(("out.weight", "readout.weight", "mixture")):
            nn.init.normal_(parameter, std=std)
    return model.eval()


def random_sources(
    sizes: Mapping[str, int], counts: Mapping[str, Sequence[int]], rates: Mapping[str, float], seed: int = 0
) -> dict[str, Tensor]:
    """Returns sources of samples with so many tokens each, besides `NOTHING`; padding is full of real tokens."""
    generator, found = torch.Generator().manual_seed(seed), dict[str, Tensor]()
    for name, of_samples in counts.items():
        n = 1 + max(of_samples)
        tokens = torch.randint(1, sizes[name], (len(of_samples), n), generator=generator)
        tokens[:, 0] = NOTHING
        found[name], found[f"{name}_counts"] = tokens, torch.tensor(of_samples) + 1
        found[f"{name}_s"] = (torch.arange(n) / rates[name]).expand(len(of_samples), n)
    return found
