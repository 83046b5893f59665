"""Conversion models: padding, pieces, singers, guidance, and what a student shares with its teacher."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from autosing.models.acoustic_input import pad_stack
from autosing.models.conformer import Conformer, rotated
from autosing.models.denoisers import DenoiserName, denoiser_of
from autosing.models.distillation import Distillation
from autosing.models.svc import PitchName, SvcFields, SvcModel
from autosing.models.svc_input import svc_inputs
from autosing.models.svc_sampling import Sampling, context_of, convert_mel, draw

RNG = np.random.default_rng(0)
N_MELS = 12
RATES = {"mel": Fraction(375, 4), "soft_units": Fraction(50), "units": Fraction(50), "f0_hz": Fraction(100)}
RATES |= {"energy": Fraction(100)}
Array = npt.NDArray[Any]


def fields_of(denoiser: DenoiserName = "bidilconv", pitch: PitchName = "waves", embedding_dim: int = 0) -> SvcFields:
    rates = {name: str(rate) for name, rate in RATES.items()}
    streams, tokens = {"soft_units": 6, "units": 1}, {"units": 9}
    sizes = {"dim": 96, "layers": 1, "reach": 4, "denoiser": denoiser, "denoiser_dim": 32, "denoiser_layers": 2}
    n_singers = 0 if embedding_dim else 3
    return SvcFields(N_MELS, rates, streams, tokens, pitch, n_singers, embedding_dim, True, **sizes, dropout=0.1)


def model_of(**settings: Any) -> SvcModel:
    """Returns a model in which nothing is 0 any more."""
    torch.manual_seed(0)
    model = SvcModel(fields_of(**settings))
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def inputs_of(n_frames: int, key: float = 0.0) -> dict[str, Array]:
    n = max(n_frames * 50 * 4 // 375, 1)
    voiced = RNG.random(2 * n) < 0.6
    series = {
        "soft_units": RNG.standard_normal((n, 6)).astype(np.float16),
        "units": RNG.integers(0, 9, n).astype(np.uint16),
        "f0_hz": np.where(voiced, RNG.uniform(100, 600, 2 * n), 0).astype(np.float32),
        "voiced": voiced.astype(np.uint8),
        "energy": RNG.uniform(0, 0.5, 2 * n).astype(np.float32),
    }
    return svc_inputs(series, ("soft_units", "units"), ("units",), n_frames, RATES, key)


def batch_of(recordings: list[dict[str, Array]]) -> dict[str, Tensor]:
    arrays = {name: pad_stack([each[name] for each in recordings]) for name in recordings[0]}
    arrays["mel_frames"] = np.array([len(each["frame"]) for each in recordings])
    arrays["singer"] = np.arange(len(recordings)) % 3 + 1
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def noises_of(*noises: Tensor) -> Iterator[Tensor]:
    return iter(noises)


@pytest.mark.parametrize("denoiser", ["bidilconv", "dit"])
@pytest.mark.parametrize("steps", [0, 2])
def test_a_batch_gives_what_its_samples_give_one_by_one(denoiser: DenoiserName, steps: int) -> None:
    model, recordings = model_of(denoiser=denoiser), [inputs_of(n) for n in (40, 17, 1)]
    noise = torch.randn(3, 40, N_MELS)
    with torch.no_grad():
        together = draw(model, batch_of(recordings), noises_of(noise), Sampling(steps))
        for i, recording in enumerate(recordings):
            n = len(recording["frame"])
            alone = batch_of([recording]) | {"singer": torch.tensor([i % 3 + 1])}
            single = draw(model, alone, noises_of(noise[i : i + 1, :n]), Sampling(steps))
            torch.testing.assert_close(together[i, :n], single[0], rtol=1e-4, atol=1e-3)
            assert (together[i, n:] == 0).all()


@pytest.mark.parametrize("denoiser", ["bidilconv", "dit"])
@pytest.mark.parametrize(("distilled", "steps"), [(True, 1), (True, 2), (False, 2), (False, 0)])
def test_pieces_are_the_whole(denoiser: DenoiserName, distilled: bool, steps: int) -> None:
    model = model_of(denoiser=denoiser)
    object.__setattr__(model.fields, "distilled", distilled)
    inputs = inputs_of(300) | {"singer_weights": np.tile(np.array([0, 0.5, 0.5, 0], np.float32), (300, 1))}
    how = Sampling(steps, "heun", seed=3)
    assert context_of(model, how) < 100
    whole = np.concatenate(list(convert_mel(model, inputs, how, piece_frames=1000)))
    pieces = list(convert_mel(model, inputs, how, piece_frames=70))
    assert [len(piece) for piece in pieces] == [70, 70, 70, 70, 20]
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=1e-4, atol=1e-3)


def test_what_lies_beyond_the_context_is_not_heard() -> None:
    model, one = model_of(), inputs_of(200)
    other = {name: array.copy() for name, array in one.items()}
    other["soft_units"][150:] += 1
    how = Sampling(1)
    reach = context_of(model, how)
    first, second = (np.concatenate(list(convert_mel(model, with_singer(x), how))) for x in (one, other))
    np.testing.assert_array_equal(first[: 150 - reach - 1], second[: 150 - reach - 1])
    assert (first[149] != second[149]).any()


def with_singer(inputs: dict[str, Array], row: int = 1) -> dict[str, Array]:
    weights = np.zeros((len(inputs["frame"]), 4), np.float32)
    weights[:, row] = 1
    return {**inputs, "singer_weights": weights}


def test_the_same_seed_gives_the_same_mel_and_another_another() -> None:
    model, inputs = model_of(), with_singer(inputs_of(30))
    one, again, other = (np.concatenate(list(convert_mel(model, inputs, Sampling(1, seed=s)))) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).mean() > 0.01


@pytest.mark.parametrize("pitch", ["waves", "bins"])
@pytest.mark.parametrize("changed", ["soft_units", "units", "period_s", "log_energy", "formant", "singer"])
def test_every_input_is_heard(pitch: PitchName, changed: str) -> None:
    model, batch = model_of(pitch=pitch), batch_of([inputs_of(30)])
    other = {**batch, changed: batch[changed] // 2 if changed == "units" else batch[changed] + 1}
    with torch.no_grad():
        assert not torch.allclose(model.known(batch).coarse, model.known(other).coarse)


def test_a_weight_of_one_is_the_singer_and_halves_lie_between() -> None:
    model, batch = model_of(), batch_of([inputs_of(30)])
    with torch.no_grad():
        by_row = model.known({**batch, "singer": torch.tensor([2])}).coarse
        weights = torch.tensor([0.0, 0, 1, 0]).expand(1, 30, 4)
        torch.testing.assert_close(model.known({**batch, "singer_weights": weights}).coarse, by_row)


def test_guidance_of_one_is_the_model_and_of_none_is_nobody() -> None:
    model, batch = model_of(), batch_of([inputs_of(30)])
    nobody = {**batch, "singer": torch.tensor([0])}
    noise = torch.randn(1, 30, N_MELS)

    def made(inputs: dict[str, Tensor], guidance: float) -> Tensor:
        with torch.no_grad():
            return draw(model, inputs, noises_of(noise), Sampling(3, guidance=guidance))

    torch.testing.assert_close(made(batch, 0.0), made(nobody, 1.0))
    torch.testing.assert_close(made(nobody, 3.0), made(nobody, 1.0), atol=1e-4, rtol=0)
    assert not torch.allclose(made(batch, 2.0), made(batch, 1.0))


def test_an_embedding_takes_the_place_of_the_table_and_zeros_are_nobody() -> None:
    model = model_of(embedding_dim=5)
    batch = {name: tensor for name, tensor in batch_of([inputs_of(30)]).items() if name != "singer"}
    one = {**batch, "singer_embedding": torch.randn(1, 1, 5)}
    longer = {**batch, "singer_embedding": 3 * one["singer_embedding"].expand(1, 30, 5)}
    with torch.no_grad():
        torch.testing.assert_close(model.known(one).coarse, model.known(longer).coarse)
        guided = draw(model, one, noises_of(torch.randn(1, 30, N_MELS)), Sampling(1, guidance=2.0))
    assert guided.isfinite().all()


def test_a_key_moves_the_pitch_and_nothing_else() -> None:
    state = RNG.bit_generator.state
    plain = inputs_of(50)
    RNG.bit_generator.state = state
    octave = inputs_of(50, key=12.0)
    np.testing.assert_allclose(octave["period_s"], plain["period_s"] / 2)
    for name in plain.keys() - {"period_s"}:
        np.testing.assert_array_equal(octave[name], plain[name])


def test_attention_tells_distance_and_not_place() -> None:
    one, other = torch.randn(2, 1, 1, 1, 16).expand(2, 1, 1, 60, 16)
    products = rotated(one)[0, 0] @ rotated(other)[0, 0].T
    for apart in (0, 3, 20):
        diagonal = products.diagonal(apart)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-3)


def test_a_frame_of_the_conformer_depends_on_what_is_said_and_no_more() -> None:
    torch.manual_seed(0)
    conformer, x = Conformer(16, 2, 2, reach=3, dropout=0).eval(), torch.randn(1, 80, 16)
    moved = x.clone()
    moved[:, 60] = torch.randn(16)
    mask = torch.ones(1, 80, 1)
    changed = (conformer(x, mask) - conformer(moved, mask)).abs().sum(-1)[0] > 1e-7
    assert changed.nonzero().min() == 60 - conformer.context_frames
    assert conformer.context_frames == 20


@pytest.mark.parametrize("name", ["bidilconv", "dit"])
def test_a_denoiser_says_nothing_before_it_has_learned(name: DenoiserName) -> None:
    denoiser = denoiser_of(name, N_MELS, 8, 32, 4, 4)
    told = denoiser(torch.randn(2, 9, N_MELS), torch.tensor([0.1, 3.0]), torch.randn(2, 9, 8), torch.ones(2, 9, 1))
    assert (told == 0).all()


def test_what_is_left_open_and_the_mel_are_each_others_way_back() -> None:
    model, batch = model_of(), batch_of([inputs_of(30), inputs_of(12)])
    with torch.no_grad():
        known = model.known(batch)
        assert known.log_spread.std() > 0.05
        normal = (known.coarse + 0.1 * torch.randn_like(known.coarse)).clamp(-7, 7) * known.mask
        there = model.mel(known, model.open_part(normal, known))
        torch.testing.assert_close(there, model.scale.nats(normal) * known.mask, atol=1e-4, rtol=1e-4)


class TestDistillation:
    """Student, teacher and average."""

    def test_a_student_begins_as_its_teacher(self) -> None:
        teacher = model_of()
        both = Distillation(teacher.fields)
        both.begin(teacher)
        batch = batch_of([inputs_of(20)])
        with torch.no_grad():
            torch.testing.assert_close(both.student.known(batch).coarse, teacher.known(batch).coarse)
            known = teacher.known(batch)
            x, level = torch.randn(1, 20, N_MELS), torch.tensor([3.0])
            torch.testing.assert_close(both.by_teacher(known)(x, level), teacher.denoise(known)(x, level))
            torch.testing.assert_close(both.by_target(known)(x, level), both.student.denoise(known)(x, level))
            assert (both.student.denoise(known)(x, torch.tensor([both.student.noise.lowest])) == x).all()

    def test_frozen_parts_stay_in_evaluation_and_learn_nothing(self) -> None:
        both = Distillation(fields_of()).train()
        assert not any(module.training for module in both.student.conformer.modules())
        assert not both.teacher.training
        assert not both.target.training
        assert both.student.denoiser.training
        wanting = {
            name.split(".")[0] + "." + name.split(".")[1] for name, p in both.named_parameters() if p.requires_grad
        }
        assert wanting == {"student.denoiser"}

    def test_the_average_follows_the_student_and_the_teacher_does_not(self) -> None:
        both = Distillation(fields_of())
        before = [p.clone() for p in both.teacher.parameters()]
        with torch.no_grad():
            for parameter in both.student.denoiser.parameters():
                parameter += 1
        both.follow(0.75)
        for target, own, teacher, old in zip(
            both.target.parameters(), both.student.denoiser.parameters(), both.teacher.parameters(), before, strict=True
        ):
            torch.testing.assert_close(target, 0.75 * old + 0.25 * own)
            assert torch.equal(teacher, old)
        assert int(both.steps) == 1
