"""Cross-entropy of large vocabularies: logits are made, used and forgotten a stretch of columns at a time.

4096 columns of a vocabulary of 8192 are 134 MB of logits, which the usual way holds three times: themselves, their
logarithms and their gradients. Here the gradients of states and weights are added up while the logits of a stretch are
at hand, so that nothing is computed twice for it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from autosing.models.columns import ColumnLanguage
from autosing.models.patterns import EMPTY

MOST_LOGITS, MOST_ON_GPU = 1 << 22, 1 << 26
"""Logits of one row that are held at once: 17 MB of float32, and 268 MB where few large products are wanted."""


def cross_entropy(language: ColumnLanguage, states_BND: Tensor, cells_BNR: Tensor) -> Tensor:
    """Returns the cross-entropy of true tokens in nats, summed; `EMPTY` cells are none.

    It is that of `language.read(states_BND)` in float32, and so are its gradients, of the first order alone.

    Args:
        language: whose states they are.
        states_BND: of columns.
        cells_BNR: what each column holds.
    """
    states_MD, cells_RM = states_BND.flatten(0, 1), cells_BNR.flatten(0, 1).T
    wants = torch.is_grad_enabled() and (states_MD.requires_grad or language.readout.weight.requires_grad)
    loss: Tensor = _Summed.apply(states_MD, language.readout.weight, cells_RM, language.sizes, wants)  # type: ignore[no-untyped-call]
    return loss


def stretches(states_MD: Tensor, width: int) -> Iterator[slice]:
    """Yields stretches of states, of as many as there may be logits of a vocabulary of `width` at once."""
    n, most = len(states_MD), MOST_LOGITS if states_MD.device.type == "cpu" else MOST_ON_GPU
    size = max(most // width, 1)
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


class _Summed(torch.autograd.Function):
    """The sum, with gradients that are known before anybody asks for them."""

    @staticmethod
    def forward(
        ctx: Any, states_MD: Tensor, weights: Tensor, cells_RM: Tensor, sizes: Sequence[int], wants: bool
    ) -> Tensor:
        own, dtype = states_MD.new_zeros((), dtype=torch.float32), _computed_in(states_MD)
        states = states_MD.to(dtype)
        to_states = torch.zeros_like(states_MD, dtype=torch.float32) if wants else None
        to_weights = torch.zeros_like(weights, dtype=torch.float32) if wants else None
        for row, (size, cells_M) in enumerate(zip(sizes, cells_RM, strict=True)):
            first = row * max(sizes)
            weights_VD = weights[first : first + size].to(dtype)
            for some in stretches(states, size):
                logits_MV = functional.linear(states[some], weights_VD).float()
                is_one_M1 = (cells_M[some] != EMPTY)[:, None]
                true_M1 = cells_M[some].clamp(min=0)[:, None]
                total_M1 = logits_MV.logsumexp(-1, keepdim=True)
                own = own + ((total_M1 - logits_MV.gather(1, true_M1)) * is_one_M1).sum()
                if to_states is None or to_weights is None:
                    continue
                gradient_MV = logits_MV.sub_(total_M1).exp_().mul_(is_one_M1)
                gradient = gradient_MV.scatter_add_(1, true_M1, -is_one_M1.float()).to(dtype)
                to_states[some] += gradient @ weights_VD
                to_weights[first : first + size] += gradient.T @ states[some]
        if to_states is not None and to_weights is not None:
            ctx.save_for_backward(to_states.to(states_MD.dtype), to_weights.to(weights.dtype))
        return own

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        to_states, to_weights = ctx.saved_tensors
        return gradient * to_states, gradient * to_weights, None, None, None


def _computed_in(tensor: Tensor) -> torch.dtype:
    """Returns the type that matrices are multiplied in here, as autocast has it."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype
