"""A decoder's steps as graphs: CUDA graphs on a GPU, C++ on a CPU, so that a step is not a hundred calls.

A graph serves one size of batch, sources and length, in memory of its own, and takes a minute to make. So that few are
made, a song takes its place in a graph for larger ones where there is one; what it does not fill is not seen.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from autosing.models.attention import Turns
from autosing.models.compiling import compiled
from autosing.models.stepping import Cache, Source, State, Stepper

GRID = 128
"""Lengths of sources and songs that have a graph are multiples of this."""
MOST_GRAPHS = 64
"""More are not made in a process."""


class Graphs:
    """The steps of a decoder, a graph for each power of two of samples.

    Args:
        stepper: on the device where it stays.
    """

    def __init__(self, stepper: Stepper) -> None:
        on_gpu = stepper.readout.device.type == "cuda"
        # PyTorch counts the graphs of all steppers together, and its own limit is 8.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_GRAPHS)
        self._step = compiled(
            stepper.step,
            "leave out --compile",
            fullgraph=True,
            dynamic=False,
            mode="reduce-overhead" if on_gpu else None,
            options=None if on_gpu else {"cpp_wrapper": True},
        )
        self._places: dict[int, State] = {}

    def placed(self, state: State) -> State:
        """Returns a state in the memory of a graph that it fits into; what was there is gone."""
        size = 1 << (len(state.told) - 1).bit_length()
        place, lengths = self._places.get(size), _lengths(state)
        room = _lengths(place) if place else [0] * len(lengths)
        if any(n > most for n, most in zip(lengths, room, strict=True)):
            room = [max(-(-n // GRID) * GRID, most) for n, most in zip(lengths, room, strict=True)]
            place = None
        laid = _laid_out(state, size, room)
        if place is None:
            self._places[size] = laid
            for tensor in laid.tensors:
                torch._dynamo.mark_static_address(tensor)
            return laid
        for old, new in zip(place.tensors, laid.tensors, strict=True):
            old.copy_(new)
        return place

    def step(self, last_BR: Tensor, place: Tensor, turns: Turns, state: State) -> Tensor:
        """Returns what `Stepper.step` does, for a state that is `placed`.

        Raises:
            UsageError: PyTorch's compiler finds none of C++.
        """
        return self._step(last_BR[_rows(last_BR, len(state.told))], place, turns, *state)[: len(last_BR)]


def _lengths(state: State) -> list[int]:
    """Returns how long the sources are, and the song."""
    return [*(source.keys.shape[2] for source in state.heard[0]), state.caches[0].keys.shape[2]]


def _laid_out(state: State, size: int, lengths: Sequence[int]) -> State:
    """Returns a copy of a state with so many samples, the last one again, and room for so much of each source."""
    rows, (*of_sources, n) = _rows(state.told, size), lengths
    heard = [
        [
            Source(
                _longer(source.keys[rows], length),
                _longer(source.values[rows], length),
                functional.pad(source.unseen[rows], (0, length - source.unseen.shape[-1]), value=-torch.inf),
            )
            for source, length in zip(sources, of_sources, strict=True)
        ]
        for sources in state.heard
    ]
    caches = [Cache(_longer(cache.keys[rows], n), _longer(cache.values[rows], n)) for cache in state.caches]
    return State(state.told[rows], heard, caches)


def _longer(x_BHND: Tensor, n: int) -> Tensor:
    return functional.pad(x_BHND, (0, 0, 0, n - x_BHND.shape[2]))


def _rows(x_B: Tensor, size: int) -> Tensor:
    return torch.arange(size, device=x_B.device).clamp(max=len(x_B) - 1)
