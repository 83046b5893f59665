"""Widths of one family of networks: how weights begin and how fast they move, so that one learning rate serves all.

With the usual rules the best learning rate falls as networks get wider, since a step of AdamW moves every weight by
about the learning rate and a layer adds up more of them. Maximal update parametrisation (Yang et al., 2022, table 3)
moves the matrices between wide layers by 1/width of it; what is read from a table, norms and gates keep it. So a rate
that was found at `tiny` in minutes is the one of `large`.
"""

from typing import cast

from torch import nn

BASE_DIM = 128
"""The width whose matrices move by the learning rate itself."""
EMBEDDING_STD = 0.1


def begin(model: nn.Module) -> None:
    """Gives weights their random values: matrices by what they add up, tables alike at every width."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=EMBEDDING_STD)


def begin_silent(*layers: nn.Linear) -> None:
    """Makes layers say nothing until they are trained, as the last one of a block and of a network does."""
    for layer in layers:
        nn.init.zeros_(layer.weight)


def lr_scales(model: nn.Module, dim: int) -> dict[nn.Parameter, float]:
    """Returns what the learning rate of each matrix between layers of width `dim`, or a multiple, is scaled by.

    Every `Linear` of the model has to be of this kind; parameters that are not told move by the rate itself.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return {cast(nn.Parameter, layer.weight): BASE_DIM / dim for layer in layers}
