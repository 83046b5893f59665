"""The baseline of pairs: counted by hand, and never better than what can be known."""

import itertools

import numpy as np
import pytest
import torch

from autosing.training.bigrams import PRIORS, Bigrams


def test_pairs_are_counted_with_the_beginnings_of_sequences() -> None:
    bigrams = Bigrams(3)
    bigrams.count([np.array([0, 1, 1, 2], np.uint16), np.array([2], np.uint16)])
    assert bigrams.counts.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 1]]


def test_the_loss_is_that_of_smoothed_frequencies_without_padding() -> None:
    bigrams = Bigrams(3)
    bigrams.count([np.array([0, 1, 1, 2], np.uint16), np.array([2], np.uint16)])
    tokens, mask = torch.tensor([[1, 2, 0]]), torch.tensor([[True, True, False]])
    single = np.array([2, 3, 3]) / 8
    for loss, prior in zip(bigrams.losses(tokens, mask).tolist(), PRIORS, strict=True):
        first, second = (0 + prior * single[1]) / (2 + prior), (1 + prior * single[2]) / (2 + prior)
        assert loss == pytest.approx(-np.log(first) - np.log(second))


def test_what_a_chain_is_made_of_is_found() -> None:
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.full(8, 0.5), 8)
    chain = [0]
    for _ in range(20_000):
        chain.append(int(rng.choice(8, p=chances[chain[-1]])))
    known, fresh = np.array(chain[:15_000]), torch.tensor(chain[15_000:])[None]
    bigrams = Bigrams(8)
    bigrams.count([known])
    found = float(bigrams.losses(fresh, torch.ones_like(fresh, dtype=torch.bool)).min()) / fresh.shape[1]
    pairs = itertools.pairwise(chain[15_000:])
    assert found == pytest.approx(-np.mean([np.log(chances[a, b]) for a, b in pairs]), abs=0.02)
