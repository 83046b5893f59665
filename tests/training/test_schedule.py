"""Learning rates and averaged weights against what is written by hand."""

import pytest
import torch
from torch import nn

from autosing.training.ema import Ema
from autosing.training.schedule import Schedule, lr_factor


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("cosine", [0.5, 1, 1, 0.97553, 0.90451, 0.79389, 0.65451, 0.5, 0.34549, 0.20611, 0.09549, 0.02447]),
        ("wsd", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.5]),
    ],
)
def test_the_rate_rises_over_the_warm_up_and_then_follows_its_schedule(
    schedule: Schedule, factors: list[float]
) -> None:
    assert [lr_factor(schedule, step, 12, 2) for step in range(12)] == pytest.approx(factors, abs=1e-5)


def test_a_run_may_be_all_warm_up() -> None:
    assert [lr_factor("cosine", step, 2, 4) for step in range(2)] == [0.25, 0.5]


def test_the_average_follows_the_weights_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    ema = Ema(model, decay=0.5)
    for updates, value, average in ((0, 2.0, 1.9), (1, 3.0, 1.9 + (1 - 2 / 11) * 1.1), (9998, 5.0, None)):
        nn.init.constant_(model.weight, value)
        before = float(ema.shadow["weight"])
        ema.update(updates)
        expected = average if average is not None else (before + value) / 2
        assert float(ema.shadow["weight"]) == pytest.approx(expected)


def test_the_average_is_in_place_only_inside_its_block() -> None:
    model = nn.Linear(3, 2)
    ema = Ema(model, decay=0.5)
    averaged = {name: tensor.clone() for name, tensor in ema.shadow.items()}
    nn.init.constant_(model.weight, 7.0)
    with ema.in_place():
        torch.testing.assert_close(model.weight, averaged["weight"])
    assert (model.weight == 7).all()
    torch.testing.assert_close(ema.shadow, averaged)
