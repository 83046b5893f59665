"""Cross-entropy a stretch at a time: the same value and gradients as that of all logits at once."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from autosing.models.codes_language import CodesFields, CodesLanguage
from autosing.models.columns import Told
from autosing.models.patterns import EMPTY
from autosing.training.tasks import entropy_losses
from autosing.training.tasks.entropy_losses import cross_entropy
from autosing.training.tasks.language_losses import counted, counted_by_row

FIELDS = CodesFields(
    sources={"semantic": 33},
    dim=64,
    layers=1,
    source_layers=1,
    mlp="swiglu",
    dropout=0.0,
    sizes=(50, 40, 30),
    rates=("10", "20", "40"),
    column_frames=2,
    delays=(0, 1, 2),
)
Found = tuple[float, Tensor, Tensor]


@pytest.fixture(params=[1 << 22, 300], ids=["at once", "in stretches"])
def stretch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """At most so many logits are held at once."""
    monkeypatch.setattr(entropy_losses, "MOST_LOGITS", request.param)
    return int(request.param)


@pytest.fixture
def language() -> CodesLanguage:
    torch.manual_seed(0)
    model = CodesLanguage(FIELDS)
    torch.nn.init.normal_(model.readout.weight)
    return model


def states_and_cells(model: CodesLanguage) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    cells = torch.stack([torch.randint(EMPTY, size, (3, 17)) for size in model.sizes], -1)
    cells[2, 9:] = EMPTY
    return torch.randn(3, 17, FIELDS.dim, requires_grad=True), cells


def plain(model: CodesLanguage, states: Tensor, cells: Tensor) -> Tensor:
    logits = model.read(states).float().flatten(0, 2)
    return functional.cross_entropy(logits, cells.flatten(), ignore_index=EMPTY, reduction="sum")


def found(model: CodesLanguage, loss: Tensor, states: Tensor) -> Found:
    weight = model.readout.weight
    return loss.item(), *torch.autograd.grad(0.3 * loss, [states, weight])  # type: ignore[return-value]


def test_value_and_gradients_are_those_of_all_logits_at_once(language: CodesLanguage, stretch: int) -> None:
    states, cells = states_and_cells(language)
    wanted = found(language, plain(language, states, cells), states)
    got = found(language, cross_entropy(language, states, cells), states)
    assert got[0] == pytest.approx(wanted[0], rel=1e-6)
    torch.testing.assert_close(got[1:], wanted[1:], rtol=1e-5, atol=1e-5)
    # Nothing is learned of codes that a row does not have, and nothing from columns without a code.
    rows = got[2].unflatten(0, (len(language.sizes), -1)).abs().sum(-1)
    for row, size in enumerate(language.sizes):
        assert (rows[row, size:] == 0).all() and (rows[row, :size] > 0).all()
    assert (got[1][2, 9:] == 0).all()


def test_without_gradients_only_the_value_is_computed(language: CodesLanguage, stretch: int) -> None:
    states, cells = states_and_cells(language)
    with torch.no_grad():
        assert cross_entropy(language, states, cells).item() == pytest.approx(plain(language, states, cells).item())
    assert not cross_entropy(language, states.detach(), cells).isnan()


def test_reduced_precision_is_that_of_autocast(language: CodesLanguage, stretch: int) -> None:
    states, cells = states_and_cells(language)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = found(language, plain(language, states, cells), states)
        got = found(language, cross_entropy(language, states, cells), states)
    assert got[0] == pytest.approx(wanted[0], rel=1e-5)
    for one, other in zip(got[1:], wanted[1:], strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert (one - other).norm() < 0.01 * other.norm()


def test_a_model_learns_the_same_from_it(language: CodesLanguage, stretch: int) -> None:
    n, cells = 6, torch.randint(0, 30, (2, 6, len(language.sizes)))
    batch = {
        "semantic": torch.randint(1, 33, (2, 9)),
        "semantic_s": torch.arange(9).expand(2, 9) * 0.05,
        "semantic_counts": torch.tensor([9, 5]),
    }
    times_s = (torch.arange(n) + 0.5)[None] * 0.05

    def gradients(chunked: bool) -> dict[str, Tensor]:
        language.zero_grad()
        told = language(batch, cells, times_s)
        loss = cross_entropy(language, told.states, cells) if chunked else plain(language, told.states, cells)
        loss.backward()
        return {name: p.grad.clone() for name, p in language.named_parameters() if p.grad is not None}

    torch.testing.assert_close(gradients(True), gradients(False), rtol=1e-4, atol=1e-4)


def test_counts_are_those_of_all_logits_at_once(language: CodesLanguage, stretch: int) -> None:
    states, cells = states_and_cells(language)
    told = Told(states.detach(), (), language.read)
    mask = cells != EMPTY
    with torch.no_grad():
        logits = language.read(states)
        for row, counts in enumerate(counted_by_row(told, cells, mask)):
            whole = counted(logits[:, :, row], cells[..., row], mask[..., row])
            assert (counts.n_tokens, counts.token_accuracy) == (whole.n_tokens, whole.token_accuracy)
            assert counts.perplexity == pytest.approx(whole.perplexity)


def test_a_stretch_is_as_long_as_its_logits_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropy_losses, "MOST_LOGITS", 300)
    found = list(entropy_losses.stretches(torch.zeros(17, 2), 50))
    assert found == [slice(0, 6), slice(6, 12), slice(12, 17)]
    assert list(entropy_losses.stretches(torch.zeros(2, 2), 900)) == [slice(0, 1), slice(1, 2)]
