"""The decoder column by column: its logits are those of whole streams, whether columns come one by one or not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_language import FIELDS, inputs, language
from torch import Tensor

from autosing.models.attention import Turns
from autosing.models.generation import TokenGenerator
from autosing.models.language import TokenLanguage
from autosing.models.patterns import EMPTY
from autosing.models.sampling import Sampling
from autosing.models.stepping import Stepper, normal

N = 12


@torch.inference_mode()
def stepped(model: TokenLanguage, batch: dict[str, Tensor], tokens: Tensor, n_known: int) -> Tensor:
    """Returns the logits (B, N, V) of all tokens behind the first `n_known`, which are heard at once."""
    stepper = Stepper(model)
    state, turns = stepper.begin(batch, tokens.shape[1]), stepper.turns(model.times_s(torch.arange(tokens.shape[1])))
    before = torch.nn.functional.pad(tokens[..., None], (0, 0, 1, -1), value=EMPTY)
    if n_known:
        stepper.fill(before[:, :n_known], Turns(*(one[:n_known] for one in turns)), state)
    found = [
        stepper.step(before[:, n], torch.tensor([n]), Turns(*(one[n : n + 1] for one in turns)), *state)[:, 0]
        for n in range(n_known, tokens.shape[1])
    ]
    return torch.stack(found, 1)


@pytest.mark.parametrize(
    "changed",
    [{}, {"mlp": "gelu"}, {"near_first": False}, {"sources": {"text": 30}}, {"dim": 64, "layers": 1}],
    ids=str,
)
@pytest.mark.parametrize("n_known", [0, 1, 7])
def test_logits_are_those_of_whole_streams(changed: dict[str, Any], n_known: int) -> None:
    model, batch = language(replace(FIELDS, **changed)), inputs((12, 5), (0, 20))
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, torch.nn.RMSNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    for block in model.blocks:
        if block.mixture is not None:
            torch.nn.init.normal_(block.mixture)  # type: ignore[arg-type]
    tokens = torch.randint(0, 20, (2, N))
    with torch.inference_mode():
        whole = model(batch, tokens).logits
    torch.testing.assert_close(stepped(model, batch, tokens, n_known), whole[:, n_known:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_what_is_known_of_all_samples_is_heard_at_once_and_changes_nothing(guidance: float) -> None:
    model, batch = language(), inputs((12, 5), (30, 9))
    sampling, generator = Sampling(temperature=0.7, guidance=guidance), TokenGenerator(model)
    whole = generator.generate(batch, [30, 20], [7, 8], sampling)
    begun = [row[:11] for row in whole]
    assert all(map(np.array_equal, generator.generate(batch, [30, 20], [7, 8], sampling, begun=begun), whole))
    everything = generator.generate(batch, [11, 11], [7, 8], sampling, begun=begun)
    assert all(map(np.array_equal, everything, begun))


def test_lengths_are_those_of_the_norm() -> None:
    norm = torch.nn.RMSNorm(64)
    for scale in (1e-4, 1.0, 1e3):
        x = scale * torch.randn(3, 64)
        found = normal(x, torch.tensor(np.sqrt(64 * torch.finfo(torch.float32).eps), dtype=torch.float32)) * 8
        torch.testing.assert_close(found, norm(x), rtol=1e-5, atol=1e-6)
    assert not normal(torch.zeros(1, 64), torch.tensor(1e-3)).isnan().any()


def test_generating_leaves_the_model_alone() -> None:
    model, batch = language(), inputs((6,), (4,))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    TokenGenerator(model).generate(batch, [10], [0])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not list(Stepper(model).parameters())
