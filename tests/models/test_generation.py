"""Generation: caches change nothing, neither do batch mates, and lengths, masks and guidance are what they say."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_language import FIELDS, inputs, language, sample
from torch import Tensor

from autosing.models.attention import Turns
from autosing.models.generation import TokenGenerator, Tokens
from autosing.models.language import TokenLanguage, token_count
from autosing.models.patterns import EMPTY
from autosing.models.sampling import Sampling, chosen, guided, numbers, without_repetition
from autosing.models.stepping import Stepper
from autosing.signal.errors import UsageError

LIKELIEST = Sampling(temperature=0)


def same(one: Sequence[Tokens], other: Sequence[Tokens]) -> bool:
    return [row.tolist() for row in one] == [row.tolist() for row in other]


@torch.no_grad()
def without_caches(model: TokenLanguage, batch: dict[str, Tensor], n: int, sampling: Sampling) -> list[Tokens]:
    """Returns the likeliest tokens, the whole computed anew for each."""
    size = len(batch["text"])
    tokens = torch.zeros(size, n, dtype=torch.long)
    none = {**batch, "withheld": torch.ones(size, dtype=torch.bool)}
    for place in range(n):
        with_all, without = (model(given, tokens[:, : place + 1]).logits[:, place] for given in (batch, none))
        logits = without + sampling.guidance * (with_all - without)
        tokens[:, place] = without_repetition(logits, tokens, torch.tensor(place), sampling).argmax(-1)
    return list(tokens.numpy().astype(np.uint16))


@pytest.mark.parametrize("guidance", [1.0, 2.5, 0.0])
@pytest.mark.parametrize("mlp", ["swiglu", "gelu"])
def test_caches_give_the_tokens_that_computing_all_anew_gives(guidance: float, mlp: Any) -> None:
    model, batch = language(replace(FIELDS, mlp=mlp)), inputs((12, 5), (0, 20))
    sampling = Sampling(temperature=0, guidance=guidance, repetition_penalty=5.0, repetition_window=6)
    found = TokenGenerator(model).generate(batch, [40, 40], [0, 0], sampling)
    assert same(found, without_caches(model, batch, 40, sampling))
    assert len(set(found[0].tolist())) > 3


@pytest.mark.parametrize(
    "sampling",
    [
        LIKELIEST,
        Sampling(),
        Sampling(temperature=0.8, top_k=5, top_p=0.9, guidance=2.0, repetition_penalty=1.0, longest_run=2),
    ],
)
def test_what_is_sung_does_not_depend_on_batch_mates(sampling: Sampling) -> None:
    """AutoSing's sampler assigned (B, 1) to (B,), so more than one song at once could not be sampled."""
    generator, batch = TokenGenerator(language()), inputs((12, 5, 0), (30, 0, 17))
    counts, seeds = [25, 40, 7], [3, 4, 3]
    together = generator.generate(batch, counts, seeds, sampling)
    alone = [generator.generate(sample(batch, n), [counts[n]], [seeds[n]], sampling)[0] for n in range(3)]
    assert same(together, alone)


def test_guidance_of_1_is_what_is_predicted_with_all_conditions() -> None:
    generator, batch = TokenGenerator(language()), inputs((12, 5), (30, 9))
    plain, both = (generator.generate(batch, [30] * 2, [1, 2], Sampling(guidance=g)) for g in (1.0, 1 + 1e-7))
    assert same(plain, both)
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(guided(logits, 1.0), logits[:2])
    torch.testing.assert_close(guided(logits, 0.0), logits[2:])


def test_guidance_leads_away_from_what_training_knows_as_withheld() -> None:
    """AutoSing led away from a backing of zeros, which is a code, and only with one song at a time."""
    model, batch = language(), inputs((12, 5), (30, 9))
    withheld = {**batch, "withheld": torch.tensor([True, True])}
    unguided = TokenGenerator(model).generate(batch, [30] * 2, [1, 2], Sampling(guidance=0.0))
    assert same(unguided, TokenGenerator(model).generate(withheld, [30] * 2, [1, 2]))


@pytest.mark.parametrize(("seconds", "n"), [(15.0, 375), (30.0, 750), (0.04, 1), (2.379, 59)])
def test_what_is_sung_is_exactly_as_long_as_asked_for(seconds: float, n: int) -> None:
    """AutoSing sang 13.82 s where 15 were asked for, and 28.8 s for 30."""
    assert token_count(FIELDS, seconds) == n
    small = TokenGenerator(language(replace(FIELDS, layers=1, source_layers=1)))
    (found,) = small.generate(inputs((6,), (4,)), [min(n, 60)], [0])
    assert len(found) == min(n, 60) and found.dtype == np.uint16


def test_sources_are_turned_to_keys_and_values_once() -> None:
    """AutoSing's `cached_kvx` is never set, so each token had them computed again."""
    model, calls = language(), Counter[str]()
    for name, module in model.named_modules():
        if name.endswith(("across.text.key", "across.text.value", "encoders.text")):
            module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    (found,) = TokenGenerator(model).generate(inputs((6,), (4,)), [10], [0])
    assert list(calls.values()) == [1] * (2 * FIELDS.layers + 1) and len(found) == 10


def test_tokens_that_are_not_allowed_are_never_sung_by_any_row() -> None:
    """AutoSing's masks sliced the axis of the batch (`probs[codes:]`), which forbids nothing."""
    generator, batch = TokenGenerator(language()), inputs((12, 5, 7, 3), (30, 9, 1, 2))
    allowed = torch.arange(20) >= 15
    found = generator.generate(batch, [40] * 4, [1, 2, 3, 4], Sampling(temperature=2.0), allowed=allowed)
    assert min(row.min() for row in found) >= 15 and len({token for row in found for token in row.tolist()}) == 5
    per_row = torch.arange(20) % 4 == torch.arange(4)[:, None]
    for row, tokens in enumerate(generator.generate(batch, [20] * 4, [1, 2, 3, 4], allowed=per_row)):
        assert set((tokens % 4).tolist()) == {row}


def test_what_stands_before_the_first_token_is_never_sung() -> None:
    model = language()
    assert model.tokens.num_embeddings == FIELDS.n_tokens + 1 and model.readout.out_features == FIELDS.n_tokens
    (found,) = TokenGenerator(model).generate(inputs((6,), (4,)), [200], [0], Sampling(temperature=50.0))
    assert set(found.tolist()) == set(range(20))


def test_a_seed_is_all_the_randomness_there_is() -> None:
    generator, batch = TokenGenerator(language()), inputs((12, 5), (30, 9))
    state = torch.get_rng_state()
    one, two = (generator.generate(batch, [30] * 2, [7, 8]) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert same(one, two) and not same(one, generator.generate(batch, [30] * 2, [9, 10]))
    longer = generator.generate(batch, [50] * 2, [7, 8])
    assert same(one, [row[:30] for row in longer])


def test_a_song_goes_on_from_what_is_given() -> None:
    generator, batch = TokenGenerator(language()), inputs((12, 5), (30, 9))
    whole = generator.generate(batch, [30, 20], [7, 8])
    again = generator.generate(batch, [30, 20], [7, 8], begun=[whole[0][:11], whole[1][:0]])
    assert same(whole, again)
    other = generator.generate(batch, [30, 20], [7, 8], begun=[np.full(11, 3), np.full(20, 4)])
    assert other[0][:11].tolist() == [3] * 11 and other[1].tolist() == [4] * 20


@torch.no_grad()
def test_a_step_is_one_graph_and_the_same_for_every_place() -> None:
    model, batch = language(), inputs((12, 5), (30, 9))
    graphs: list[Any] = []

    def counting(graph: torch.fx.GraphModule, examples: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    stepper, places = Stepper(model), torch.arange(8)
    step = torch.compile(stepper.step, backend=counting, fullgraph=True, dynamic=False)
    states, turns = [stepper.begin(batch, 8) for _ in range(2)], stepper.turns(model.times_s(places))
    last = torch.full((2, 1), EMPTY)
    for n in range(8):
        ways = ((step, states[0]), (stepper.step, states[1]))
        one, other = (
            way(last, places[n : n + 1], Turns(*(one[n : n + 1] for one in turns)), *state) for way, state in ways
        )
        torch.testing.assert_close(one, other)
        last = other.argmax(-1)
    assert len(graphs) == 1


def drawn(logits: Sequence[float], n: int = 20_000, **sampling: Any) -> np.ndarray[Any, Any]:
    """Returns how often each token is chosen."""
    tokens = chosen(torch.tensor([logits]).expand(n, -1), numbers([0], n)[0], Sampling(**sampling))
    return np.bincount(tokens.numpy(), minlength=len(logits)) / n


def test_tokens_are_drawn_by_their_probabilities() -> None:
    shares = np.array([0.1, 0.4, 0.2, 0.3])
    logits = np.log(shares).tolist()
    assert drawn(logits) == pytest.approx(shares, abs=0.01)
    squares = shares**2 / (shares**2).sum()
    assert drawn(logits, temperature=0.5) == pytest.approx(squares, abs=0.01)
    assert drawn(logits, top_k=2) == pytest.approx([0, 4 / 7, 0, 3 / 7], abs=0.01)
    assert drawn(logits, top_p=0.75) == pytest.approx([0, 4 / 9, 2 / 9, 3 / 9], abs=0.01)
    assert drawn(logits, top_p=0.01).tolist() == [0, 1, 0, 0]
    assert drawn(logits, temperature=0).tolist() == [0, 1, 0, 0]


def test_the_largest_number_draws_no_token_that_is_left_out() -> None:
    logits = torch.full((1, 3000), -20.0)
    logits[0, :2] = 0.0
    for number in (0.0, 1.0 - 2**-24, 1.0):
        assert int(chosen(logits, torch.tensor([number]), Sampling(top_k=2))) < 2
    logits[0, 5:] = -torch.inf
    assert int(chosen(logits, torch.tensor([1.0]), Sampling())) < 5


def test_repeated_tokens_lose_what_is_asked_for_within_the_window_only() -> None:
    tokens = torch.tensor([[4, 1, 2, 2, 0, 0], [3, 3, 3, 3, 0, 0]])
    sampling = Sampling(repetition_penalty=1.5, repetition_window=2)
    found = without_repetition(torch.zeros(2, 5), tokens, torch.tensor(4), sampling)
    assert found.tolist() == [[0, 0, -1.5, 0, 0], [0, 0, 0, -1.5, 0]]
    wide = without_repetition(torch.zeros(2, 5), tokens, torch.tensor(4), replace(sampling, repetition_window=99))
    assert wide.tolist() == [[0, -1.5, -1.5, 0, -1.5], [0, 0, 0, -1.5, 0]]


def test_no_token_stands_in_a_row_oftener_than_it_may() -> None:
    sampling = Sampling(longest_run=3)
    tokens = torch.tensor([[1, 2, 2, 2, 0], [1, 1, 2, 2, 0], [2, 1, 2, 2, 0]])
    assert without_repetition(torch.zeros(3, 4), tokens, torch.tensor(4), sampling).isneginf().tolist() == [
        [False, False, True, False],
        [False] * 4,
        [False] * 4,
    ]
    assert not without_repetition(torch.zeros(1, 4), torch.zeros(1, 9).long(), torch.tensor(2), sampling).any()
    generator, batch = TokenGenerator(language()), inputs((6,), (4,))
    one = torch.arange(20) == 6
    assert generator.generate(batch, [9], [0], sampling, allowed=one)[0].tolist() == [6] * 9, "nothing else is allowed"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0; it must be a number that is not below 0"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1"),
        ({"repetition_window": 0}, "repetition_window is 0; it must be at least 1"),
    ],
)
def test_a_sampling_that_makes_no_sense_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Sampling(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"counts": [3]}, "2 samples are to be sung, but there are 1 counts, 2 seeds and 2 beginnings"),
        ({"seeds": [1, 2, 3]}, "3 seeds"),
        ({"counts": [3, 0]}, "a sample of no token is to be sung"),
        ({"seeds": [1, -2]}, "the seed -2 is below 0"),
        ({"begun": [np.arange(4), np.arange(1)]}, "a beginning is longer than its song, or has tokens beyond 0 to 19"),
        ({"begun": [np.array([20]), np.arange(1)]}, "tokens beyond 0 to 19"),
        ({"allowed": torch.zeros(20, dtype=torch.bool)}, "must allow each sample some of 20 tokens"),
        ({"allowed": torch.ones(2, dtype=torch.bool)}, r"allowed has the shape \(2,\)"),
    ],
)
def test_what_cannot_be_sung_is_refused(told: dict[str, Any], message: str) -> None:
    given = {"counts": [3, 3], "seeds": [1, 2], **told}
    with pytest.raises(UsageError, match=message):
        TokenGenerator(language()).generate(inputs((6, 2), (4, 1)), **given)
