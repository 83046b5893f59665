"""Steps as graphs: few of them serve songs of all sizes, and what is sung does not change."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from test_language import inputs, language

from autosing.models.generation import TokenGenerator
from autosing.models.graphs import GRID
from autosing.models.sampling import Sampling
from compilers import compiles

DRAWN, GUIDED = Sampling(), Sampling(guidance=2.0)
BATCHES = {"one": ((6,), (4,)), "long": ((200,), (4,)), "two": ((12, 5), (30, 9)), "three": ((12, 5, 0), (30, 0, 17))}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The graphs that are made; they are run as they were traced, since a compiler takes a minute."""
    graphs: list[Any] = []

    def traced(graph: torch.fx.GraphModule, examples: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compile_ = torch.compile

    def compiled(step: Any, mode: str | None, options: Any, **settings: Any) -> Any:
        assert mode is None and options == {"cpp_wrapper": True}, "there is no GPU here"
        return compile_(step, backend=traced, **settings)

    monkeypatch.setattr(torch, "compile", compiled)
    torch._dynamo.reset()
    yield graphs
    torch._dynamo.reset()


def both(model: Any) -> tuple[Any, Any]:
    """Returns what sings by graphs, and what sings without."""
    return TokenGenerator(model, compile=True).generate, TokenGenerator(model).generate


def test_songs_of_many_sizes_share_graphs_and_are_what_they_are_without(made: list[Any]) -> None:
    by_graphs, without = both(language())

    def sung(name: str, n: int, sampling: Sampling = DRAWN, known: int = 0) -> int:
        batch, size = inputs(*BATCHES[name]), len(BATCHES[name][0])
        counts, seeds = [n] * size, list(range(size))
        begun = [np.arange(known) % 20] * size
        found, expected = (way(batch, counts, seeds, sampling, begun=begun) for way in (by_graphs, without))
        assert [row.tolist() for row in found] == [row.tolist() for row in expected]
        assert len({*expected[0].tolist()}) > 3
        return len(made)

    assert sung("one", 30) == 1
    assert sung("one", 50) == 1
    assert sung("one", 40, known=11) == 1, "after a beginning"
    assert sung("one", GRID + 2) == 2, "a longer one has a graph of its own"
    assert sung("one", 30) == 2, "in which shorter ones have room"
    assert sung("long", 30) == 3
    assert sung("one", GRID + 2) == 3
    assert sung("two", 30) == 4
    assert sung("one", 40, GUIDED) == 4, "each song is there twice"
    assert sung("three", 30) == 5
    assert sung("two", 30, GUIDED) == 5, "as many as three, of which one fills a place"


@compiles
def test_a_compiled_graph_sings_the_same() -> None:
    by_graphs, without = both(language())
    batch = inputs(*BATCHES["two"])
    for sampling in (Sampling(temperature=0), Sampling(temperature=0.8, top_p=0.95)):
        found, expected = (way(batch, [40, 30], [1, 2], sampling) for way in (by_graphs, without))
        assert [row.tolist() for row in found] == [row.tolist() for row in expected]
