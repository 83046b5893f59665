"""A step: phases, accumulation, memory, optimisers, randomness."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runs
import torch
from torch import Tensor, nn

from autosing.signal.errors import AutosingError, UsageError
from autosing.training.loader import Batch, Delivery
from autosing.training.look import Look
from autosing.training.manifest import Manifest
from autosing.training.optimisers import turns
from autosing.training.order import Position
from autosing.training.ranks import Ranks
from autosing.training.sample import Sample
from autosing.training.state import Trained
from autosing.training.step import Stepper
from autosing.training.task import Fade, Phase, RunConfig, Task, Tensors


@dataclass(frozen=True, kw_only=True)
class LineConfig(RunConfig):
    """Settings of a straight line."""

    memory: int = 1000

    @property
    def columns(self) -> tuple[str, ...]:
        return ()

    def task(self, manifest: Manifest) -> "Line":
        raise NotImplementedError


class Line(Task[nn.Module]):
    """Fits y = w x with a second module beside; a batch of more than `memory` samples does not fit."""

    metric = "loss"
    overfit_bound = 0.0

    def __init__(self, config: LineConfig, phases: Sequence[Phase] = (Phase(),)) -> None:
        self.config: LineConfig = config
        self._phases = phases
        self.calls: list[tuple[str, int, float]] = []

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(4, 1)})

    def phases(self) -> Sequence[Phase]:
        return self._phases

    def contract(self) -> Mapping[str, Any]:
        return {}

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        raise NotImplementedError

    def losses(self, model: nn.Module, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        if len(batch["x"]) > self.config.memory:
            raise torch.OutOfMemoryError("no room")
        self.calls.append((phase, len(batch["x"]), float(torch.rand(()))))
        made = model["b"](model["a"](batch["x"]))[:, 0]  # type: ignore[index]
        if phase == "second":
            return {"second": (batch["made"] - made).square().sum() + made.sum()}
        batch["made"] = made.detach()
        return {"loss": (made - batch["y"]).square().sum(), "told": made.abs().sum()}

    def validate(self, model: nn.Module, batches: Iterable[Tensors]) -> Mapping[str, float]:
        raise NotImplementedError

    def look(self, model: nn.Module, batch: Tensors) -> Look:
        raise NotImplementedError


X = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
Y = X.sum(1)
COUNTS = {"loss": 8.0, "told": 8.0, "second": 8.0}
ALONE = Ranks(0, 1, torch.device("cpu"))


def deliveries(*sizes: int) -> list[Delivery]:
    ends = np.cumsum(sizes)
    return [
        Delivery(Batch({"x": X[e - n : e], "y": Y[e - n : e]}, {}, (), 1.0), Position(0, 0), row)
        for row, (e, n) in enumerate(zip(ends, sizes, strict=True))
    ]


@dataclass
class Taken:
    """What is left of a step."""

    task: Line
    model: nn.Module
    values: list[dict[str, Tensor]] = field(default_factory=list)

    def weights(self, name: str) -> Tensor:
        return self.model.get_parameter(name).detach().clone()


def take(
    *sizes: int,
    steps: int = 1,
    phases: Sequence[Phase] = (Phase(weights={"told": 0.0}),),
    lr: float = 0.1,
    **config: Any,
) -> Taken:
    task = Line(LineConfig(**config), phases)
    model = task.build()
    stepper = Stepper(task, Trained(model, turns(task, model), None), ALONE)
    return Taken(task, model, [stepper.take(step, lr, deliveries(*sizes), COUNTS) for step in range(steps)])


def test_a_step_is_that_of_a_loop_written_by_hand() -> None:
    taken = take(8, clip_norm=0.5, weight_decay=0.1)
    task = Line(LineConfig())
    model = task.build()
    made = model["b"](model["a"](torch.from_numpy(X)))[:, 0]  # type: ignore[index]
    loss = (made - torch.from_numpy(Y)).square().mean()
    loss.backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.99)).step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(taken.weights(name), parameter.detach())
    torch.testing.assert_close(taken.values[0]["loss"], loss.detach())
    torch.testing.assert_close(taken.values[0]["grad_norm"], norm)


def test_a_weight_that_fades_counts_less_with_every_step() -> None:
    phase = Phase(weights={"told": Fade(1.0, 0.2, 4), "loss": 2.0})
    assert [phase.weights_at(step)["told"] for step in (0, 1, 4, 9)] == pytest.approx([1.0, 0.8, 0.2, 0.2])
    assert phase.weights_at(3)["loss"] == 2.0 and Fade(1.0, 0.2, 0).at(9) == 1.0
    gone = take(8, steps=3, phases=(Phase(weights={"told": Fade(1.0, 0.0, 1)}),))
    first = take(8, steps=1, phases=(Phase(weights={"told": 1.0}),))
    never = take(8, steps=3)
    assert not torch.equal(first.weights("a.weight"), take(8).weights("a.weight"))
    assert not torch.equal(gone.weights("a.weight"), never.weights("a.weight"))


def test_microbatches_of_different_sizes_add_up_to_one_batch() -> None:
    whole, parts = take(8), take(1, 5, 2)
    torch.testing.assert_close(whole.weights("a.weight"), parts.weights("a.weight"))
    torch.testing.assert_close(whole.values[0]["loss"], parts.values[0]["loss"])


def test_a_batch_too_large_for_memory_is_halved_and_that_is_said_once() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        halved = take(8, steps=3, memory=4)
    assert [str(w.message) for w in said if "halved" in str(w.message)] == [
        "batches of 80.0 s do not fit the memory of cpu; they are halved from here on, which changes the speed and not "
        "the result"
    ]
    assert [size for _, size, _ in halved.task.calls] == [4] * 6
    whole = take(8, steps=3)
    torch.testing.assert_close(halved.weights("a.weight"), whole.weights("a.weight"))


def test_a_batch_whose_half_is_too_large_says_what_to_do() -> None:
    with (
        pytest.warns(UserWarning, match="halved"),
        pytest.raises(AutosingError, match=r"nor do halves .* smaller secon"),
    ):
        take(8, memory=3)


def test_a_later_phase_that_runs_out_of_memory_finds_what_the_first_one_left() -> None:
    phases = [Phase("first", ("a",), weights={"told": 0.0}), Phase("second", ("b",))]

    class Tight(Line):
        def losses(self, model: nn.Module, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
            if phase == "second" and len(batch["x"]) > 4:
                raise torch.OutOfMemoryError("no room")
            return super().losses(model, batch, phase)

    results = []
    for kind in (Line, Tight):
        task = kind(LineConfig(), phases)
        model = task.build()
        stepper = Stepper(task, Trained(model, turns(task, model), None), ALONE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for step in range(2):
                stepper.take(step, 0.1, deliveries(8), COUNTS)
        results.append(model.get_parameter("b.weight"))
    torch.testing.assert_close(results[0], results[1])


def test_each_phase_moves_its_own_parameters_when_it_is_due() -> None:
    phases = [Phase("first", ("a",), weights={"told": 0.0}), Phase("second", ("b",), lr_scale=0.5, start=1, every=2)]
    one = take(8, phases=phases)
    before = Line(LineConfig()).build()
    assert not torch.equal(one.weights("a.weight"), before.get_parameter("a.weight"))
    assert torch.equal(one.weights("b.weight"), before.get_parameter("b.weight"))
    four = take(8, steps=4, phases=phases)
    assert [phase for phase, *_ in four.task.calls] == ["first", "first", "second", "first", "first", "second"]
    assert [sorted(values) for values in four.values[:2]] == [
        ["grad_norm_first", "loss", "told"],
        ["grad_norm_first", "grad_norm_second", "loss", "second", "told"],
    ]
    assert all(p.grad is None and p.requires_grad for p in four.model.parameters())


def test_what_no_phase_moves_stays_and_gathers_no_gradient() -> None:
    taken = take(8, steps=2, phases=[Phase("first", ("a",), weights={"told": 0.0})])
    before = Line(LineConfig()).build()
    assert torch.equal(taken.weights("b.weight"), before.get_parameter("b.weight"))
    assert taken.model.get_parameter("b.weight").grad is None


def test_a_loss_that_batches_do_not_count_is_named() -> None:
    task = Line(LineConfig())
    model = task.build()
    stepper = Stepper(task, Trained(model, turns(task, model), None), ALONE)
    with pytest.raises(UsageError, match=r"gives the loss told, but its batches count only loss"):
        stepper.take(0, 0.1, deliveries(8), {"loss": 8.0})


def test_a_loss_of_no_weight_is_told_and_moves_nothing() -> None:
    told = take(8, phases=[Phase(weights={"told": 0.0})])
    moved = take(8, phases=[Phase(weights={"told": 5.0})])
    assert torch.equal(told.values[0]["told"], moved.values[0]["told"])
    assert not torch.equal(told.weights("a.weight"), moved.weights("a.weight"))


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([Phase("one", ("a",)), Phase("two", ("a", "b"))], r"two phases of the task move the same parameter"),
        ([Phase("one", ("a",)), Phase("one", ("b",))], r"or have one name"),
        ([Phase("one", ("c",))], r"the phase one moves 'c', which is no module of the model"),
    ],
)
def test_phases_that_cannot_be_are_refused(phases: list[Phase], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        take(8, phases=phases)


def test_randomness_depends_on_seed_step_row_and_phase_and_on_nothing_else() -> None:
    phases = [Phase("first", ("a",)), Phase("second", ("b",))]
    taken = take(4, 4, steps=2, phases=phases)
    drawn = [value for *_, value in taken.task.calls]
    assert len(set(drawn)) == len(drawn) == 8
    torch.rand(7)
    assert [value for *_, value in take(4, 4, steps=2, phases=phases).task.calls] == drawn
    assert [value for *_, value in take(4, 4, steps=2, phases=phases, seed=1).task.calls] != drawn


def test_muon_moves_the_matrices_of_linear_layers_but_the_readouts() -> None:
    class WithReadout(Line):
        readouts = ("b",)

    task = WithReadout(LineConfig(optimiser="muon", weight_decay=0.0))
    model = task.build()
    (turn,) = turns(task, model)
    adamw, muon = turn.optimisers
    assert isinstance(muon, torch.optim.Muon)
    assert [p is model.get_parameter("a.weight") for g in muon.param_groups for p in g["params"]] == [True]
    named = {id(p): name for name, p in model.named_parameters()}
    assert {named[id(p)] for g in adamw.param_groups for p in g["params"]} == {"a.bias", "b.weight", "b.bias"}
    Stepper(task, Trained(model, [turn], None), ALONE).take(0, 0.1, deliveries(8), COUNTS)
    torch.testing.assert_close(model.get_parameter("a.weight").detach(), by_hand(0.1))


def test_parameters_may_move_by_a_multiple_of_the_learning_rate_and_decay_at_one_pace() -> None:
    class Scaled(Line):
        def lr_scales(self, model: nn.Module) -> Mapping[nn.Parameter, float]:
            return {model.get_parameter("a.weight"): 0.25}

    def stepped(task: Line) -> nn.Module:
        model = task.build()
        Stepper(task, Trained(model, turns(task, model), None), ALONE).take(0, 0.1, deliveries(8), COUNTS)
        return model

    config = LineConfig(weight_decay=0.5)
    start, plain, scaled = Line(config).build(), stepped(Line(config)), stepped(Scaled(config))
    torch.testing.assert_close(scaled.get_parameter("b.weight"), plain.get_parameter("b.weight"))
    before, after = start.get_parameter("a.weight"), scaled.get_parameter("a.weight")
    decayed = (1 - 0.1 * 0.5) * before
    torch.testing.assert_close(after - decayed, 0.25 * (plain.get_parameter("a.weight") - decayed))


def by_hand(lr: float) -> Tensor:
    """Returns the first layer's matrix after a step of PyTorch's Muon along the clipped gradient of both losses."""
    model = Line(LineConfig()).build()
    made = model["b"](model["a"](torch.from_numpy(X)))[:, 0]  # type: ignore[index]
    ((made - torch.from_numpy(Y)).square().mean() + made.abs().mean()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    matrix = model.get_parameter("a.weight")
    torch.optim.Muon([matrix], lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw").step()
    return matrix.detach()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["acoustic", "toy_gan:recipe"])
def test_compiled_losses_are_those_of_eager_ones(toy_set: Path, tmp_path: Path, recipe: str) -> None:
    settings = ["steps=6", "seconds_per_batch=2", "crop_s=0.5", "log_every=1", "warmup_steps=2", "lr=1e-3"]
    settings += ["size=tiny", "singer_dropout=0"] if recipe == "acoustic" else ["width=8"]
    for name in ("false", "true"):
        assert runs.run(recipe, toy_set, tmp_path / name, [*settings, f"compile={name}"]) == 0
    eager, compiled = (runs.logged(tmp_path / name) for name in ("false", "true"))
    for one, other in zip(eager[:4], compiled[:4], strict=True):
        losses = [name for name in one if not name.startswith("train/grad_norm")]
        assert [one[name] for name in losses] == pytest.approx([other[name] for name in losses], rel=0.02)
