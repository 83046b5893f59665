"""Language models of tokens: padding and batches, positions in seconds, what is withheld, and widths."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autosing.models.attention import HEAD_DIM, Attention, turned, turns_at
from autosing.models.directory import load_model, save_model
from autosing.models.language import LANGUAGE_SIZES, LanguageFields, TokenLanguage, token_count
from autosing.models.language_blocks import NOTHING
from autosing.models.width import BASE_DIM, lr_scales
from autosing.signal.errors import UsageError
from random_sources import random_sources, saying

FIELDS = LanguageFields(
    n_tokens=20,
    rate="25",
    sources={"text": 30, "backing": 12},
    conditions={"singer": 3, "pace": 5},
    dim=128,
    layers=3,
    source_layers=2,
    mlp="swiglu",
    dropout=0.0,
)


def language(fields: LanguageFields = FIELDS) -> TokenLanguage:
    """Returns a model whose layers say something."""
    torch.manual_seed(0)
    return saying(TokenLanguage(fields), 0.1)


def inputs(texts: tuple[int, ...], backings: tuple[int, ...], seed: int = 0) -> dict[str, Tensor]:
    """Returns what accompanies samples with so many tokens of text and backing; padding is full of real tokens."""
    counts = {"text": texts, "backing": backings}
    found = random_sources(FIELDS.sources, counts, {"text": 9.0, "backing": 20.8}, seed)
    rows = torch.arange(len(texts))
    return {**found, "singer": rows % 3, "pace": rows % 5}


def sample(batch: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    """Returns one sample of a batch without its padding."""
    one = {name: tensor[row : row + 1] for name, tensor in batch.items()}
    for name in FIELDS.sources:
        n = int(one[f"{name}_counts"])
        one |= {name: one[name][:, :n], f"{name}_s": one[f"{name}_s"][:, :n]}
    return one


@torch.inference_mode()
def test_a_batch_gives_what_its_samples_give_one_by_one() -> None:
    model, batch = language(), inputs((12, 5, 0), (30, 0, 17))
    tokens = torch.randint(0, 20, (3, 25), generator=torch.Generator().manual_seed(1))
    together = model(batch, tokens).logits
    for row, n in enumerate((25, 11, 19)):
        alone = model(sample(batch, row), tokens[row : row + 1, :n]).logits
        torch.testing.assert_close(together[row, :n], alone[0], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_token_depends_on_none_after_it() -> None:
    model, batch = language(), inputs((6,), (9,))
    tokens = torch.randint(0, 20, (1, 25), generator=torch.Generator().manual_seed(1))
    other = tokens.clone()
    other[:, 14:] = (tokens[:, 14:] + 7) % 20
    one, two = model(batch, tokens).logits, model(batch, other).logits
    torch.testing.assert_close(one[:, :15], two[:, :15])
    assert (one[:, 15] - two[:, 15]).abs().max() > 1e-3


@torch.inference_mode()
def test_what_is_forgotten_is_not_told_to_what_comes_after_it() -> None:
    model, batch = language(), inputs((6,), (9,))
    tokens = torch.randint(0, 20, (1, 25), generator=torch.Generator().manual_seed(1))
    forgotten = torch.arange(25)[None] % 3 == 1
    other = tokens.where(~forgotten, 19 - tokens)
    remembered, told = (
        [model(given, one).logits for one in (tokens, other)]
        for given in ({**batch, "forgotten": torch.zeros_like(forgotten)}, {**batch, "forgotten": forgotten})
    )
    torch.testing.assert_close(told[0], told[1])
    torch.testing.assert_close(remembered[0], model(batch, tokens).logits)
    assert not torch.allclose(remembered[0], remembered[1]) and not torch.allclose(remembered[0], told[0])


def test_streams_of_other_rates_line_up_by_time_and_not_by_the_numbers_of_their_tokens() -> None:
    """AutoSing turned keys of 25 Hz and 20.83 Hz and queries of 83.33 Hz by their numbers."""
    vector = torch.ones(1, 1, 1, HEAD_DIM)
    fast, slow = ((torch.arange(200)[None] + 0.5) / rate for rate in (83.33, 20.83))
    query, key = (turned(vector.expand(1, 1, 200, -1), turns_at(times)) for times in (fast, slow))
    nearest = (query @ key.transpose(-1, -2))[0, 0].argmax(-1)
    for place in (0, 1, 50, 120, 199):
        assert float((slow[0, nearest[place]] - fast[0, place]).abs()) <= 0.5 / 20.83 + 1e-3


def test_products_tell_only_how_far_apart_in_time_two_tokens_are_even_late_in_a_song() -> None:
    query, key = torch.randn(2, 1, 1, 1, HEAD_DIM, generator=torch.Generator().manual_seed(0))
    found = [
        float((turned(query, turns_at(torch.tensor([[at]]))) * turned(key, turns_at(torch.tensor([[at + 0.3]])))).sum())
        for at in (0.0, 1.7, 299.5)
    ]
    assert found[1:] == pytest.approx([found[0]] * 2, abs=5e-3)


@pytest.mark.parametrize(("near_first", "least", "most"), [(True, 0.5, 1.0), (False, 0.0, 0.1)])
def test_attention_begins_near_in_time_before_anything_is_learned(near_first: bool, least: float, most: float) -> None:
    torch.manual_seed(0)
    attention, text, tokens = Attention(128, near_first), torch.randn(1, 100, 128), torch.randn(1, 250, 128)
    text_s, tokens_s = torch.arange(100)[None] / 10, torch.arange(250)[None] / 25
    seen = torch.ones(1, 1, 1, 100, dtype=torch.bool)
    heard = attention.heard(0.3 * text, turns_at(text_s), seen)
    weights_NL = attention.weights(0.3 * tokens, turns_at(tokens_s), heard, seen)[0].mean(0)
    is_near_NL = (tokens_s[0, :, None] - text_s).abs() <= 0.3
    assert least <= float((weights_NL * is_near_NL).sum(-1).mean().detach()) <= most


@pytest.mark.parametrize("near_first", [True, False])
def test_attention_of_the_eye_is_the_one_that_is_used(near_first: bool) -> None:
    torch.manual_seed(0)
    attention, x = Attention(128, near_first), torch.randn(2, 7, 128)
    turns, seen = turns_at(torch.arange(7)[None] / 25), torch.rand(2, 1, 7, 7) < 0.6
    seen |= torch.eye(7, dtype=torch.bool)
    heard = attention.heard(x, turns, seen)
    by_eye = (attention.weights(x, turns, heard, seen) @ heard.values).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(attention(x, turns, heard), attention.out(by_eye), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_what_is_withheld_is_heard_as_absent_and_not_as_zeros_which_are_a_code() -> None:
    """AutoSing guided by backing codes of 0, which it had never trained on as "no backing"."""
    model, batch = language(), inputs((6, 8), (9, 4))
    tokens = torch.randint(0, 20, (2, 10), generator=torch.Generator().manual_seed(1))
    withheld = {**batch, "withheld": torch.tensor([True, False])}
    absent = {**batch, "singer": torch.tensor([0, 1]), "pace": torch.tensor([0, 1])}
    absent |= {f"{name}_counts": torch.tensor([1, int(batch[f"{name}_counts"][1])]) for name in FIELDS.sources}
    told = model(withheld, tokens).logits
    torch.testing.assert_close(told, model(absent, tokens).logits)
    torch.testing.assert_close(told[1], model(batch, tokens).logits[1])
    code_0 = {**batch, "backing": batch["backing"].clone()}
    code_0["backing"][:, 1:] = 1
    assert (told[0] - model(code_0, tokens).logits[0]).abs().max() > 1e-3


def test_the_mixture_of_text_and_backing_is_learned_in_every_layer() -> None:
    """AutoSing has 0.8 of the one and 0.2 of the other."""
    model, batch = language(), inputs((6, 8), (9, 4))
    model(batch, torch.zeros(2, 10, dtype=torch.long)).logits.square().sum().backward()
    for number in range(FIELDS.layers):
        gradient = model.get_parameter(f"blocks.{number}.mixture").grad
        assert gradient is not None and gradient.abs().min() > 0
    alone = TokenLanguage(replace(FIELDS, sources={"text": 30}))
    assert not [name for name, _ in alone.named_parameters() if "mixture" in name]


def test_every_weight_moves_once_the_last_layers_say_something() -> None:
    model, batch = language(), inputs((6, 8), (9, 4))
    model(batch, torch.zeros(2, 10, dtype=torch.long)).logits.square().sum().backward()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not still


@torch.inference_mode()
def test_watched_attention_is_over_the_sources_own_tokens() -> None:
    model, batch = language(), inputs((6, 0), (9, 4))
    told = model(batch, torch.zeros(2, 10, dtype=torch.long), watched=(0, 2))
    assert [tuple(one.shape) for one in told.attention] == [(2, 2, 10, 7)] * 2
    for one in told.attention:
        torch.testing.assert_close(one.sum(-1), torch.ones(2, 2, 10))
        assert one[0, ..., NOTHING].max() == 0 and one[1, ..., NOTHING].min() == 1


def test_every_size_that_is_listed_exists(capsys: pytest.CaptureFixture[str]) -> None:
    """AutoSing's README lists a T2S `large`, which its code does not have."""
    found = []
    for name, (dim, layers, source_layers) in LANGUAGE_SIZES.items():
        with torch.device("meta"):
            sized = {"dim": dim, "layers": layers, "source_layers": source_layers, "n_tokens": 2048}
            model = TokenLanguage(replace(FIELDS, **sized, sources={"text": 257}))  # type: ignore[arg-type]
        found.append(sum(parameter.numel() for parameter in model.parameters()))
        with capsys.disabled():
            print(f"\n{name}: {found[-1] / 1e6:.1f} M parameters", end="")
    assert [round(n / 1e6) for n in found] == [2, 126, 350, 1290]


def test_a_model_directory_gives_the_model_again(tmp_path: Path) -> None:
    model, batch = language(), inputs((6, 8), (9, 4))
    tokens = torch.zeros(2, 10, dtype=torch.long)
    save_model(tmp_path / "model", model, {"rate": "25"})
    loaded = load_model(tmp_path / "model").model
    assert torch.equal(loaded(batch, tokens).logits, model(batch, tokens).logits)


def test_lengths_are_counted_in_whole_milliseconds() -> None:
    """AutoSing gave 13.82 s where 15 were asked for."""
    assert token_count(FIELDS, 15.0) == 375
    assert token_count(replace(FIELDS, rate="125/6"), 15.0) == 313


@pytest.mark.parametrize("change", [{"dim": 100}, {"dim": 0}, {"n_tokens": 1}, {"sources": {}}])
def test_fields_that_make_no_model_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(FIELDS, **change)


def moved(dim: int, scaled: bool, lr: float = 4e-3, steps: int = 4) -> float:
    """Returns how far the logits of a model of a width move within some steps of AdamW, in root mean square."""
    torch.manual_seed(0)
    model, batch = TokenLanguage(replace(FIELDS, dim=dim, layers=2, source_layers=1)), inputs((6, 8), (9, 4))
    tokens = torch.randint(0, 20, (2, 12), generator=torch.Generator().manual_seed(1))
    scales = lr_scales(model, dim) if scaled else {}
    groups = [{"params": [p], "lr": lr * scales.get(p, 1.0)} for p in model.parameters()]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(batch, tokens).logits.flatten(0, 1), tokens.flatten()).backward()
        optimiser.step()
    with torch.no_grad():
        return float(model(batch, tokens).logits.square().mean().sqrt())


def test_a_step_moves_what_is_predicted_as_far_at_every_width() -> None:
    """The check of coordinates of Yang et al.: only so does a learning rate serve all sizes."""
    assert moved(BASE_DIM, scaled=True) == moved(BASE_DIM, scaled=False)
    narrow, wide = moved(64, scaled=True), moved(512, scaled=True)
    assert 0.5 < wide / narrow < 2
    assert moved(512, scaled=False) / moved(64, scaled=False) > 3
