"""The aligner's nets: what is behind a sample changes nothing in it, whichever way the recurrent layers are run."""

import pytest
import torch

from autosing.models.aligner import Aligner, AlignerFields

FIELDS = AlignerFields(12, ("-", "a", "b"), conv_dim=8, recurrent_dim=16, members=2)
LENGTHS = torch.tensor([31, 40, 7])


def nets() -> Aligner:
    torch.manual_seed(0)
    return Aligner(FIELDS).eval()


def test_a_sample_alone_is_as_in_a_batch_of_longer_ones() -> None:
    model, bands = nets(), torch.randn(len(LENGTHS), 40, FIELDS.dim)
    together = model(bands, LENGTHS)
    for n, length in enumerate(LENGTHS.tolist()):
        assert torch.allclose(together[:, n, :length], model(bands[n : n + 1, :length])[:, 0], atol=1e-5)


def test_both_ways_to_run_the_recurrent_layers_give_the_same_values_and_gradients() -> None:
    net, hidden = nets().nets[0], torch.randn(3, 20, FIELDS.recurrent_dim)
    steps, found, gradients = torch.tensor([20, 13, 1]), [], []
    for way in (net._packed, net._turned):
        net.zero_grad()
        found.append(way(hidden, steps))
        found[-1].square().sum().backward()
        gradients.append([p.grad.clone() for p in net.recurrent.parameters()])
    assert torch.allclose(*found, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_log_probabilities_are_those_of_shares(lengths: torch.Tensor | None) -> None:
    log_probs = nets()(torch.randn(3, 40, FIELDS.dim), lengths)
    assert log_probs.shape == (2, 3, 40, 3)
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(2, 3, 40), atol=1e-5)
