"""Language models of codes: nothing is sung where no code is, lengths are exact, and caches change nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from autosing.models.attention import Turns
from autosing.models.codes_language import CodesFields, CodesLanguage, code_counts
from autosing.models.directory import load_model, save_model
from autosing.models.generation import CodesGenerator, Tokens
from autosing.models.patterns import EMPTY
from autosing.models.sampling import Sampling
from autosing.models.stepping import Stepper
from autosing.signal.errors import UsageError
from autosing.signal.framing import tied_frames
from random_sources import random_sources, saying

SNAC_RATES = ("125/12", "125/6", "125/3", "250/3")
FIELDS = CodesFields(
    sources={"semantic": 9, "backing": 12},
    conditions={"singer": 3},
    dim=64,
    layers=2,
    source_layers=1,
    mlp="swiglu",
    dropout=0.0,
    sizes=(5, 7, 7, 6),
    rates=SNAC_RATES,
    column_frames=4,
    delays=(0, 1, 2, 3),
)
LIKELIEST = Sampling(temperature=0)


def language(fields: CodesFields = FIELDS) -> CodesLanguage:
    """Returns a model whose layers say something."""
    torch.manual_seed(0)
    return saying(CodesLanguage(fields), 0.2)


def inputs(semantics: Sequence[int], backings: Sequence[int]) -> dict[str, Tensor]:
    """Returns what accompanies samples with so many tokens of each source; padding is full of real tokens."""
    counts = {"semantic": semantics, "backing": backings}
    found = random_sources(FIELDS.sources, counts, {"semantic": 25.0, "backing": 20.8})
    return {**found, "singer": torch.arange(len(semantics)) % 3}


def sample(batch: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    """Returns one sample of a batch without its padding."""
    one = {name: tensor[row : row + 1] for name, tensor in batch.items()}
    for name in FIELDS.sources:
        n = int(one[f"{name}_counts"])
        one |= {name: one[name][:, :n], f"{name}_s": one[f"{name}_s"][:, :n]}
    return one


def codes(counts: Sequence[int], seed: int = 0) -> list[np.ndarray[Any, Any]]:
    """Returns random codes of each level."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, size, count) for size, count in zip(FIELDS.sizes, counts, strict=True)]


def laid_out(model: CodesLanguage, levels: Sequence[np.ndarray[Any, Any]]) -> tuple[Tensor, Tensor]:
    """Returns the columns of codes (1, N, R) and their times."""
    cells_RN = model.pattern.laid_out(levels)
    times_s = model.pattern.times_s(cells_RN.shape[1], FIELDS.finest_rate)
    return torch.from_numpy(cells_RN.T[None]), torch.from_numpy(times_s[None]).float()


def same(one: Sequence[Sequence[Tokens]], other: Sequence[Sequence[Tokens]]) -> bool:
    return [[level.tolist() for level in song] for song in one] == [[level.tolist() for level in s] for s in other]


@torch.inference_mode()
def test_a_batch_gives_what_its_samples_give_one_by_one() -> None:
    model, batch, counts = language(), inputs((12, 5), (30, 0)), [(4, 8, 16, 32), (2, 4, 8, 16)]
    laid = [laid_out(model, codes(one, seed)) for seed, one in enumerate(counts)]
    n = max(cells.shape[1] for cells, _ in laid)
    cells = torch.full((2, n, 8), EMPTY)
    for row, (own, _) in enumerate(laid):
        cells[row, : own.shape[1]] = own
    together = model(batch, cells, laid[0][1]).logits
    for row, (own, times_s) in enumerate(laid):
        alone = model(sample(batch, row), own, times_s).logits
        torch.testing.assert_close(together[row, : own.shape[1]], alone[0], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_column_depends_on_none_after_it_and_on_every_cell_before() -> None:
    model, batch = language(), inputs((6,), (9,))
    cells, times_s = laid_out(model, codes((4, 8, 16, 32)))
    plain = model(batch, cells, times_s).logits.nan_to_num(neginf=0)
    for row in range(8):
        place = int((cells[0, :, row] != EMPTY).nonzero()[1])
        other = cells.clone()
        other[0, place, row] = (cells[0, place, row] + 1) % 5
        changed = (model(batch, other, times_s).logits.nan_to_num(neginf=0) - plain).abs().amax((0, 2, 3)) > 1e-4
        assert not changed[: place + 1].any() and changed[place + 1], row


@torch.inference_mode()
def test_attention_begins_with_what_is_sung_at_the_time_of_a_column() -> None:
    """AutoSing laid semantic tokens of 25 Hz beside columns of 20.83 Hz or 83.33 Hz by their numbers."""
    torch.manual_seed(0)
    model, batch = CodesLanguage(FIELDS).eval(), inputs((100,), (9,))
    for laid, pattern in ((80, model.pattern), (320, model.pattern.unrolled())):
        times_s = torch.from_numpy(pattern.times_s(laid, FIELDS.finest_rate)[None]).float()
        told = model(batch, torch.full((1, laid, 8), EMPTY), times_s, watched=(0, 1))
        away_s = (times_s[0][:, None] - batch["semantic_s"][0]).abs()
        for attention in told.attention:
            assert (attention * away_s).sum(-1).mean() < 0.65, "1.3 s if it were to everything alike"


@torch.inference_mode()
def test_a_cell_without_a_code_is_told_from_one_with_code_0() -> None:
    """AutoSing stores zeros where a level has no code, and 0 is a code."""
    model, batch = language(), inputs((6,), (9,))
    cells, times_s = laid_out(model, codes((4, 8, 16, 32)))
    zeros = cells.clamp(min=0)
    apart = (model(batch, cells, times_s).logits - model(batch, zeros, times_s).logits).nan_to_num(0)
    assert apart[:, 1:].abs().amax((0, 2, 3)).min() > 1e-4


@torch.inference_mode()
def test_rows_give_codes_of_their_level_alone_in_every_sample() -> None:
    """AutoSing's masks sliced the axis of the batch, which forbids nothing."""
    model, batch = language(), inputs((6, 8, 3), (9, 4, 2))
    cells, times_s = laid_out(model, codes((4, 8, 16, 32)))
    logits = model(batch, cells.expand(3, -1, -1), times_s).logits
    assert tuple(logits.shape) == (3, cells.shape[1], 8, 7)
    for row, level in enumerate((0, 1, 2, 2, 3, 3, 3, 3)):
        possible = ~logits[:, :, row].isneginf()
        assert (possible == (torch.arange(7) < FIELDS.sizes[level])).all()
    for guidance in (1.0, 3.0):
        wild = Sampling(temperature=50.0, guidance=guidance)
        found = CodesGenerator(model).generate(batch, [(20, 40, 80, 160)] * 3, [1, 2, 3], wild)
        for level, size in enumerate(FIELDS.sizes):
            assert {code for song in found for code in song[level].tolist()} == set(range(size))


@torch.no_grad()
def without_caches(
    model: CodesLanguage, batch: dict[str, Tensor], counts: Sequence[int], guidance: float, unrolled: bool
) -> list[Tokens]:
    """Returns the likeliest codes of one sample, the whole computed anew for each column."""
    pattern = model.pattern.unrolled() if unrolled else model.pattern
    mask = torch.from_numpy(pattern.mask(counts).T)
    times_s = torch.from_numpy(pattern.times_s(len(mask), FIELDS.finest_rate)[None]).float()
    cells, none = torch.full((1, *mask.shape), EMPTY), {**batch, "withheld": torch.tensor([True])}
    for place in range(len(mask)):
        upto = cells[:, : place + 1], times_s[:, : place + 1]
        with_all, without = (model(given, *upto).logits[0, place] for given in (batch, none))
        best_R = (without + guidance * (with_all - without)).nan_to_num(-torch.inf).argmax(-1)
        cells[0, place] = torch.where(mask[place], best_R, EMPTY)
    return [level.astype(np.uint16) for level in pattern.taken(cells[0].numpy().T, counts)]


@pytest.mark.parametrize("unrolled", [False, True])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_caches_give_the_codes_that_computing_all_anew_gives(guidance: float, unrolled: bool) -> None:
    model, batch, counts = language(), inputs((12, 5), (0, 20)), [(3, 6, 12, 24), (2, 4, 8, 16)]
    sampling = Sampling(temperature=0, guidance=guidance)
    found = CodesGenerator(model, unrolled=unrolled).generate(batch, counts, [0, 0], sampling)
    anew = [without_caches(model, sample(batch, row), counts[row], guidance, unrolled) for row in range(2)]
    assert same(found, anew)
    assert len({code for level in found[0] for code in level.tolist()}) > 3


@pytest.mark.parametrize(
    "sampling",
    [
        LIKELIEST,
        Sampling(),
        Sampling(temperature=0.8, top_k=5, top_p=0.9, guidance=2.0, repetition_penalty=1.0, longest_run=2),
    ],
)
def test_what_is_sung_does_not_depend_on_batch_mates(sampling: Sampling) -> None:
    """AutoSing's guidance assumes a batch of 1."""
    generator, batch = CodesGenerator(language()), inputs((12, 5, 0), (30, 0, 17))
    counts, seeds = [(2, 4, 8, 16), (4, 8, 16, 32), (1, 2, 4, 8)], [3, 4, 3]
    together = generator.generate(batch, counts, seeds, sampling)
    alone = [generator.generate(sample(batch, n), [counts[n]], [seeds[n]], sampling)[0] for n in range(3)]
    assert same(together, alone)


def test_guidance_of_1_is_what_is_predicted_with_all_conditions_and_of_0_what_is_without() -> None:
    """AutoSing led away from a backing of zeros, which is a code, and which training had never withheld so."""
    model, batch, counts = language(), inputs((12, 5), (30, 9)), [(3, 6, 12, 24)] * 2
    plain, both, none = (
        CodesGenerator(model).generate(batch, counts, [1, 2], Sampling(guidance=g)) for g in (1.0, 1 + 1e-7, 0.0)
    )
    assert same(plain, both) and not same(plain, none)
    withheld = {**batch, "withheld": torch.tensor([True, True])}
    assert same(none, CodesGenerator(model).generate(withheld, counts, [1, 2]))


@pytest.mark.parametrize("unrolled", [False, True])
@pytest.mark.parametrize("seconds", [0.096, 0.5, 1.0, 1.237])
def test_what_is_sung_is_exactly_as_long_as_asked_for(seconds: float, unrolled: bool) -> None:
    """AutoSing sang 13.82 s where 15 were asked for: its delays and its codec's trim took the rest."""
    counts = code_counts(FIELDS, seconds)
    (found,) = CodesGenerator(language(), unrolled=unrolled).generate(inputs((6,), (4,)), [counts], [0])
    assert [len(level) for level in found] == counts and found[0].dtype == np.uint16
    assert (
        0 <= counts[-1] / FIELDS.finest_rate - Fraction(round(1000 * seconds), 1000) < Fraction(8) / FIELDS.finest_rate
    )


def test_levels_that_end_apart_are_sung_so() -> None:
    for counts in ((1, 3, 5, 11), (4, 5, 9, 17)):
        (found,) = CodesGenerator(language()).generate(inputs((6,), (4,)), [counts], [0])
        assert tuple(len(level) for level in found) == counts


def test_lengths_are_those_of_a_codec_in_whole_codes_of_its_coarsest_level() -> None:
    assert code_counts(FIELDS, 15.0) == [157, 314, 628, 1256]
    assert code_counts(replace(FIELDS, rates=("25/4", "25/2", "25", "50")), 15.04) == [94, 188, 376, 752]
    assert code_counts(FIELDS, 30.0) == tied_frames(30_000, 1000, [Fraction(rate) for rate in SNAC_RATES])


def test_sources_are_turned_to_keys_and_values_once() -> None:
    """AutoSing's `cached_kvx` is never set, so each column had them computed again."""
    model, calls = language(), Counter[str]()
    for name, module in model.named_modules():
        if name.endswith(("across.semantic.key", "across.semantic.value", "encoders.semantic")):
            module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    CodesGenerator(model).generate(inputs((6,), (4,)), [(3, 6, 12, 24)], [0])
    assert list(calls.values()) == [1] * (2 * FIELDS.layers + 1)


def test_a_song_goes_on_from_what_is_given() -> None:
    generator, batch, counts = CodesGenerator(language()), inputs((12, 5), (30, 9)), [(6, 12, 24, 48), (3, 6, 12, 24)]
    whole = generator.generate(batch, counts, [7, 8])
    begun = [[level[: len(level) // 2] for level in whole[0]], [level[:0] for level in whole[1]]]
    assert same(whole, generator.generate(batch, counts, [7, 8], begun=begun))
    other = [[np.full(n, 4) for n in (3, 5, 11, 23)], list(codes(counts[1]))]
    found = generator.generate(batch, counts, [7, 8], begun=other)
    for one, given in zip([*found[0], *found[1]], [*other[0], *other[1]], strict=True):
        assert one[: len(given)].tolist() == given.tolist()


def test_a_seed_is_all_the_randomness_there_is() -> None:
    generator, batch = CodesGenerator(language()), inputs((12, 5), (30, 9))
    state, counts, longer = torch.get_rng_state(), [(2, 4, 8, 16)] * 2, [(4, 8, 16, 32)] * 2
    one, two = (generator.generate(batch, counts, [7, 8]) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert same(one, two) and not same(one, generator.generate(batch, counts, [9, 10]))
    # Up to the column in which the longer one has a coarse code more.
    for short, long in zip(one, generator.generate(batch, longer, [7, 8]), strict=True):
        for level, n in enumerate((2, 4, 6, 8)):
            assert short[level][:n].tolist() == long[level][:n].tolist()


@torch.no_grad()
def test_a_step_is_one_graph_and_the_same_for_every_place() -> None:
    model, batch = language(replace(FIELDS, sources={"semantic": 9}, layers=1)), inputs((12, 5), (30, 9))
    graphs: list[Any] = []

    def counting(graph: torch.fx.GraphModule, examples: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    stepper, places = Stepper(model), torch.arange(5)
    step = torch.compile(stepper.step, backend=counting, fullgraph=True, dynamic=False)
    last, state, turns = torch.full((2, 8), EMPTY), stepper.begin(batch, 5), stepper.turns(places * 0.048 + 0.024)
    for n in range(5):
        last = step(last, places[n : n + 1], Turns(*(one[n : n + 1] for one in turns)), *state).argmax(-1)
    assert len(graphs) == 1


@torch.inference_mode()
def test_a_singer_may_be_a_vector_of_which_zeros_are_nobody() -> None:
    model = language(replace(FIELDS, conditions={}, vectors={"singer_embedding": 10}))
    batch = {
        **inputs((6, 8), (9, 4)),
        "singer_embedding": torch.randn(2, 10, generator=torch.Generator().manual_seed(0)),
    }
    cells, times_s = laid_out(model, codes((2, 4, 8, 16)))
    cells = cells.expand(2, -1, -1)

    def told(**changes: Tensor) -> Tensor:
        logits: Tensor = model({**batch, **changes}, cells, times_s).logits.nan_to_num(neginf=0)
        return logits

    torch.testing.assert_close(told(), told(singer_embedding=7 * batch["singer_embedding"]), rtol=1e-4, atol=1e-5)
    nobody = told(singer_embedding=torch.zeros(2, 10))
    assert (told() - nobody).abs().max() > 1e-3 and model.singers is None
    silent = {f"{name}_counts": torch.tensor([1, int(batch[f"{name}_counts"][1])]) for name in FIELDS.sources}
    withheld = told(withheld=torch.tensor([True, False]))
    absent = told(**silent, singer_embedding=batch["singer_embedding"] * torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(withheld, absent)


def test_a_model_directory_gives_the_model_again(tmp_path: Path) -> None:
    model, batch = language(), inputs((6,), (9,))
    save_model(tmp_path / "model", model, {})
    loaded: Any = load_model(tmp_path / "model").model
    laid = laid_out(model, codes((2, 4, 8, 16)))
    assert torch.equal(loaded(batch, *laid).logits, model(batch, *laid).logits)
    assert loaded.pattern == model.pattern


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": (5, 7)}, "levels of 5, 7 codes have 4 rates"),
        ({"sizes": (5, 7, 1, 6)}, "at least 2 codes"),
        ({"rates": ("10", "20", "30", "40")}, "a level of 30 codes a second does not fit one of 40"),
        ({"column_frames": 3}, "tokens of 8 frames do not fit columns of 3"),
        ({"delays": (0, 1)}, r"a pattern of 4 levels with the delays \[0, 1\]"),
        ({"dim": 100}, "dim is 100"),
        ({"vectors": {"singer": 4}}, "singer is told by a table and a vector"),
    ],
)
def test_fields_that_make_no_model_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(FIELDS, **change)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"counts": [(1, 2, 4, 8)]}, "2 samples are to be sung, but there are 1 counts, 2 seeds and 2 beginnings"),
        ({"counts": [(1, 2, 4), (1, 2, 4)]}, "counts of 3 levels and beginnings of 4, but the model has 4"),
        ({"counts": [(1, 2, 4, 8), (1, 2, 0, 8)]}, "a sample of no token is to be sung"),
        ({"begun": [[np.arange(2)] * 4] * 2}, "a beginning is longer than its song, or has tokens beyond 0 to 4"),
        ({"begun": [[np.array([6])] * 4] * 2}, "tokens beyond 0 to 4"),
    ],
)
def test_what_cannot_be_sung_is_refused(told: dict[str, Any], message: str) -> None:
    given = {"counts": [(1, 2, 4, 8)] * 2, "seeds": [1, 2], **told}
    with pytest.raises(UsageError, match=message):
        CodesGenerator(language()).generate(inputs((6, 2), (4, 1)), **given)
