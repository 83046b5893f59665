"""Semantic bottlenecks: batches and pieces are the whole, padding is nothing, and what does not fit is refused."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from autosing.models import semantic as semantic_module
from autosing.models.acoustic_input import neighbours, pad_stack
from autosing.models.directory import load_model, save_model
from autosing.models.quantiser import Quantiser
from autosing.models.semantic import Semantic, SemanticFields, pooled_features, token_count, tokens_of
from autosing.signal.errors import RowError, UsageError

DIM = 12
FIELDS = SemanticFields("50", DIM, "25", 32, 8, 0.1, ("", "a", "b"), 32, 2, 3)
Features = npt.NDArray[np.float32]


def features(n_frames: int, seed: int = 0) -> Features:
    """Returns features of five sounds that last a few frames each."""
    rng = np.random.default_rng(seed)
    sounds = np.random.default_rng(9).standard_normal((5, DIM))
    which = np.repeat(rng.integers(0, 5, n_frames), rng.integers(3, 9, n_frames))[:n_frames]
    return (3 * sounds[which] + 0.3 * rng.standard_normal((n_frames, DIM))).astype(np.float32)


def bottleneck(fields: SemanticFields = FIELDS) -> Semantic:
    """Returns one that began on features, and whose layers say something besides."""
    torch.manual_seed(0)
    model = Semantic(fields)
    model.begin_with([features(400, seed) for seed in range(3)])
    for name, parameter in model.named_parameters():
        if name.endswith(("back.weight", "residual.3.weight", "to_features.weight")):
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def inputs(fields: SemanticFields, given: list[Features]) -> dict[str, torch.Tensor]:
    """Returns a batch as the trainer makes it."""
    pooled = [pooled_features(fields, one) for one in given]
    rates = Fraction(fields.rate), Fraction(fields.token_rate)
    places = [neighbours(len(a), rates[0], len(b), rates[1]) for a, b in zip(given, pooled, strict=True)]
    arrays = {
        "pooled": pad_stack(pooled),
        "unit_frames": np.array([len(one) for one in pooled]),
        "frames": np.array([len(one) for one in given]),
        "left": pad_stack([left for left, _ in places]),
        "share": pad_stack([share for _, share in places]),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize("rate", ["50", "375/4", "25", "30"])
def test_a_batch_gives_what_its_samples_give_one_by_one(rate: str) -> None:
    fields = replace(FIELDS, rate=rate)
    model, given = bottleneck(fields), [features(90, 5), features(41, 6), features(1, 7)]
    with torch.inference_mode():
        together = model(inputs(fields, given))
        for row, one in enumerate(given):
            alone = model(inputs(fields, [one]))
            n_frames, n_tokens = len(one), token_count(fields, len(one))
            assert torch.equal(together.tokens[row, :n_tokens], alone.tokens[0])
            assert (together.tokens[row, n_tokens:] == -1).all(), "no code stands for padding"
            assert together.text is not None and alone.text is not None
            for a, b in ((together.features, alone.features), (together.text, alone.text)):
                torch.testing.assert_close(a[row, :n_frames], b[0], rtol=1e-4, atol=1e-4)
            assert tokens_of(model, one, n_tokens).tolist() == alone.tokens[0].tolist()


def test_what_is_in_the_padding_changes_nothing() -> None:
    model, batch = bottleneck(), inputs(FIELDS, [features(90, 5), features(41, 6)])
    other = {**batch, "pooled": batch["pooled"].clone()}
    other["pooled"][1, 21:] = 1e3
    with torch.inference_mode():
        one, two = model(batch), model(other)
    assert torch.equal(one.tokens, two.tokens)
    torch.testing.assert_close(one.features[1, :41], two.features[1, :41])
    for fed in (batch, other):
        trained = bottleneck().train()
        torch.manual_seed(1)
        off = trained(fed).off
        fed["off"], fed["codes"] = off, trained.quantiser.codebook.codebook
    torch.testing.assert_close(batch["off"], other["off"])
    torch.testing.assert_close(batch["codes"], other["codes"])


def test_pieces_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = bottleneck(), features(400, 8)
    whole = tokens_of(model, given, 200)
    monkeypatch.setattr(semantic_module, "PIECE_TOKENS", 17)
    np.testing.assert_array_equal(tokens_of(model, given, 200), whole)
    assert whole.dtype == np.uint16 and len(set(whole.tolist())) > 5
    # And no more than that is seen of what lies around.
    changed = given.copy()
    changed[200:] = features(200, 9)
    before = 100 - model.context_tokens
    np.testing.assert_array_equal(tokens_of(model, changed, 200)[:before], whole[:before])
    assert model.context_tokens == 6 and not np.array_equal(tokens_of(model, changed, 200), whole)


def test_a_token_hears_its_own_features_alone_without_layers_of_context() -> None:
    model, given = bottleneck(replace(FIELDS, context_layers=0)), features(80, 8)
    changed = given.copy()
    changed[:40], changed[42:] = features(40, 9), features(38, 10)
    assert tokens_of(model, changed, 40)[20] == tokens_of(model, given, 40)[20]


def test_a_clip_shorter_than_a_token_has_one_and_one_without_a_frame_none() -> None:
    model = bottleneck()
    assert tokens_of(model, features(1), 1).shape == (1,)
    assert token_count(FIELDS, 1) == 1 and token_count(FIELDS, 3) == 2 and token_count(FIELDS, 4) == 2
    assert tokens_of(model, features(0), 0).shape == (0,)
    with pytest.raises(RowError, match="nothing to pool"):
        tokens_of(model, features(0), 1)


def test_tokens_tell_again_what_was_told_of_them() -> None:
    model, batch = bottleneck(), inputs(FIELDS, [features(90, 5), features(41, 6)])
    with torch.inference_mode():
        told = model(batch)
        again, text = model.of_tokens(told.tokens, batch)
    assert text is not None and told.text is not None
    for row, n_frames in enumerate((90, 41)):
        torch.testing.assert_close(again[row, :n_frames], told.features[row, :n_frames], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(text[row, :n_frames], told.text[row, :n_frames], rtol=1e-3, atol=1e-3)


def test_a_bottleneck_begins_as_clusters_of_what_it_hears() -> None:
    torch.manual_seed(0)
    model, given = Semantic(FIELDS).eval(), [features(400, seed) for seed in range(3)]
    model.begin_with(given)
    batch, truth = inputs(FIELDS, given), torch.from_numpy(pad_stack(given))
    with torch.inference_mode():
        told = model(batch)
        error = float((told.features - model.scale.normal(truth)).square().mean())
    assert error < 0.5, "of a variance of 1"
    assert len(told.tokens.unique()) >= 24
    torch.testing.assert_close(model.scale.normal(truth).mean((0, 1)), torch.zeros(DIM), atol=1e-4, rtol=0)


def test_codes_are_directions_and_their_loss_is_of_directions() -> None:
    torch.manual_seed(0)
    quantiser = Quantiser(6, 6, 4, cosine=True)
    quantiser.begin_as_first_dimensions()
    x, mask = torch.randn(1, 64, 6), torch.ones(1, 64, dtype=torch.bool)
    quantiser.begin_on(x[0])
    states = {name: tensor.clone() for name, tensor in quantiser.state_dict().items()}
    offs = []
    for scale in (1.0, 50.0):
        quantiser.load_state_dict(states)
        torch.manual_seed(1)
        offs.append(float(quantiser.train()(scale * x, mask)[2].detach()))
    assert offs[0] == pytest.approx(offs[1], rel=1e-4)
    _, codes, _ = quantiser.eval()(x, mask)
    cosines = torch.nn.functional.normalize(x, dim=-1) @ quantiser.codebook.codebook.T
    assert torch.equal(codes, cosines.argmax(-1))


def test_a_directory_holds_all_of_it(tmp_path: Path, save_semantic: Callable[[Path, int, int], str]) -> None:
    model, given = bottleneck(), features(200, 8)
    save_model(tmp_path / "model", model, {"tokens": {"rate": "25", "size": 32}})
    again: Any = load_model(tmp_path / "model", {"tokens": {"rate": "25"}}).model
    assert replace(again.fields, symbols=tuple(again.fields.symbols)) == FIELDS
    np.testing.assert_array_equal(tokens_of(again, given, 100), tokens_of(model, given, 100))
    assert load_model(save_semantic(tmp_path / "tiny", 39, 0)).model.fields.n_tokens == 16


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(RowError, match=r"shape \(9, 5\) do not fit a model of width 12"):
        tokens_of(bottleneck(), np.zeros((9, 5)), 4)
    for wrong, told in (
        ({"n_tokens": 1}, "n_tokens is 1; it must be from 2 to 65536"),
        ({"n_tokens": 1 << 17}, "n_tokens is 131072"),
        ({"token_rate": "100"}, "100 tokens a second of features at 50 Hz; give at most as many"),
    ):
        with pytest.raises(UsageError, match=told):
            replace(FIELDS, **wrong)
