"""Tokens of several resolutions: tied lengths at unequal ratios, padding, and what is refused."""

import numpy as np
import pytest
import torch

from autosing.models.multires import MultiResolution, sized_multires, tokens_of
from autosing.signal.errors import RowError, UsageError
from autosing.signal.mel import MelSpec

DIM = 12


def adapter(resolutions_ms: tuple[int, ...] = (20, 40, 120), n_tokens: int = 8, n_layers: int = 3) -> MultiResolution:
    torch.manual_seed(0)
    fields = sized_multires(
        "tiny", MelSpec(), rate="50", feature_dim=DIM, n_layers=n_layers, resolutions_ms=resolutions_ms,
        n_tokens=n_tokens, code_dim=4, use_f0=True,
    )  # fmt: skip
    model = MultiResolution(fields)
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.randn(2, 60, DIM), torch.tensor([60, 60]))
    return model.eval()


@pytest.mark.parametrize("resolutions_ms", [(20,), (20, 40), (20, 40, 80), (20, 40, 120), (20, 60)])
def test_streams_are_tied_at_any_ratios(resolutions_ms: tuple[int, ...]) -> None:
    model, rng = adapter(resolutions_ms), np.random.default_rng(0)
    period = resolutions_ms[-1] // 20
    assert model.fields.period == period
    for n_frames in (1, 7, 61):
        n_periods = -(-n_frames // period)
        streams = tokens_of(model, rng.standard_normal((n_frames, DIM)), n_periods)
        assert [len(s) * ms for s, ms in zip(streams, resolutions_ms, strict=True)] == [n_periods * period * 20] * len(
            resolutions_ms
        )
        assert max(int(s.max()) for s in streams) < 8


def test_an_utterance_as_long_as_the_features_are_wide_is_not_turned_over() -> None:
    model = adapter((20, 40))
    features = np.random.default_rng(1).standard_normal((DIM, DIM))
    tokens = tokens_of(model, features, DIM // 2)[0]
    longer = tokens_of(model, np.concatenate([features, np.zeros((40, DIM))]), DIM // 2 + 20)[0]
    np.testing.assert_array_equal(tokens[:2], longer[:2])
    assert not np.array_equal(tokens, tokens_of(model, features.T, DIM // 2)[0])


def test_what_is_told_again_from_tokens_is_what_was_told_before_them() -> None:
    model = adapter()
    features, counts = torch.randn(2, 48, DIM), torch.tensor([48, 30])
    streams = model(features, counts)
    again = model.of_tokens(streams.tokens, counts)
    torch.testing.assert_close(again[0], streams.hidden[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(again[1, :30], streams.hidden[1, :30], rtol=0, atol=1e-4)


def test_a_batch_gives_what_its_samples_give_one_by_one() -> None:
    model = adapter()
    features = torch.randn(2, 48, DIM)
    together = model(features, torch.tensor([48, 30]))
    alone = model(features[1:, :30], torch.tensor([30]))
    for a, b in zip(together.tokens, alone.tokens, strict=True):
        torch.testing.assert_close(a[1:, : b.shape[1]], b)


def test_features_and_models_that_do_not_fit_are_refused() -> None:
    model = adapter()
    with pytest.raises(RowError, match=r"shape \(9, 5\) do not fit a model of width 12"):
        tokens_of(model, np.zeros((9, 5)), 2)
    with pytest.raises(RowError, match="nothing to tokenise"):
        tokens_of(model, np.zeros((0, DIM)), 1)
    with pytest.raises(UsageError, match="does not quantise"):
        tokens_of(adapter(n_tokens=0), np.zeros((9, DIM)), 2)


@pytest.mark.parametrize(
    ("resolutions_ms", "n_layers", "told"),
    [
        ((40, 80), 1, "the first of the resolutions"),
        ((20, 30), 1, "each must be a multiple of the one before"),
        ((20, 20), 1, "each must be a multiple of the one before"),
        ((20, 40), 5, "features of width 12 are not 5 layers"),
    ],
)
def test_fields_that_make_no_adapter_are_refused(resolutions_ms: tuple[int, ...], n_layers: int, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        adapter(resolutions_ms, n_layers=n_layers)
