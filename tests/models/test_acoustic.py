"""The acoustic model and its inputs: centre times, padding, determinism."""

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from autosing.models.acoustic import AcousticModel, DecoderName, pitch_features, sized
from autosing.models.acoustic_input import frame_inputs, interpolate, mel_frames, pad_stack
from autosing.signal.framing import centres_s

RATES = {"mel": Fraction(375, 4), "units": Fraction(50), "f0_hz": Fraction(100), "energy": Fraction(100)}
RNG = np.random.default_rng(0)
N_UNITS, N_MELS = 9, 20

Array = npt.NDArray[Any]


def series(n_units: int) -> dict[str, Array]:
    voiced = RNG.random(2 * n_units) < 0.6
    return {
        "units": RNG.integers(0, N_UNITS, n_units).astype(np.uint16),
        "f0_hz": np.where(voiced, RNG.uniform(100, 600, 2 * n_units), 0).astype(np.float32),
        "voiced": voiced.astype(np.uint8),
        "energy": RNG.uniform(0, 0.5, 2 * n_units).astype(np.float32),
    }


def batch(samples: list[dict[str, Array]]) -> dict[str, torch.Tensor]:
    lengths = [mel_frames(len(sample["units"]), RATES) for sample in samples]
    inputs = [frame_inputs(sample, n, RATES) for sample, n in zip(samples, lengths, strict=True)]
    arrays = {name: pad_stack([given[name] for given in inputs]) for name in inputs[0]}
    arrays["mel_frames"] = np.array(lengths)
    arrays["unit_frames"] = np.array([len(sample["units"]) for sample in samples])
    arrays["singer"] = np.ones(len(samples), np.int64)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def model_of(decoder: DecoderName) -> AcousticModel:
    torch.manual_seed(0)
    rates = {name: str(rate) for name, rate in RATES.items()}
    model = AcousticModel(sized("tiny", decoder, N_UNITS, N_MELS, rates, n_singers=2))
    assert model.singers is not None
    for starts_at_zero in (model.decoder.out, model.unit_mels, model.singers):
        torch.nn.init.normal_(starts_at_zero.weight, std=0.3)
    model.mel_mean.uniform_(-5, 0)
    model.mel_std.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize("decoder", ["parallel", "lstm"])
def test_a_batch_gives_what_its_samples_give_one_by_one(decoder: DecoderName) -> None:
    model, samples = model_of(decoder), [series(n) for n in (31, 12, 1)]
    together = model.generate(batch(samples))
    for i, sample in enumerate(samples):
        alone = model.generate(batch([sample]))[0]
        torch.testing.assert_close(together[i, : len(alone)], alone, rtol=0, atol=1e-5)
        assert (together[i, len(alone) :] == 0).all()


@pytest.mark.parametrize("decoder", ["parallel", "lstm"])
def test_generating_twice_gives_the_same_and_draws_no_randomness(decoder: DecoderName) -> None:
    model, inputs = model_of(decoder).train(), batch([series(20)])
    before = torch.get_rng_state()
    torch.testing.assert_close(model.generate(inputs), model.generate(inputs), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


def test_the_lstm_runs_freely_as_it_is_taught() -> None:
    model, inputs = model_of("lstm"), batch([series(20)])
    free = model.generate(inputs)
    torch.testing.assert_close(model(inputs, free), free, rtol=0, atol=1e-5)


def test_the_lstm_sees_no_frame_before_it_is_predicted() -> None:
    model, inputs = model_of("lstm"), batch([series(20)])
    mel = torch.randn(1, mel_frames(20, RATES), N_MELS)
    changed = mel.clone()
    changed[:, 15:] += 1
    before, after = model(inputs, mel), model(inputs, changed)
    torch.testing.assert_close(before[:, :16], after[:, :16], rtol=0, atol=0)
    assert (before[:, 16] != after[:, 16]).any()


@pytest.mark.parametrize("changed", ["f0_hz", "energy", "singer", "units"])
def test_every_input_is_heard(changed: str) -> None:
    model, sample = model_of("parallel"), series(20)
    first, second = batch([sample]), batch([sample | ({changed: sample[changed] // 2} if changed in sample else {})])
    if changed == "singer":
        second["singer"] = second["singer"] + 1
    assert not torch.allclose(model.generate(first), model.generate(second))


def test_conditions_without_a_rate_are_not_needed() -> None:
    rates = {"mel": "375/4", "units": "50"}
    model = AcousticModel(sized("tiny", "parallel", N_UNITS, N_MELS, rates, n_singers=0))
    inputs = batch([{"units": series(10)["units"]}])
    assert model.generate({k: v for k, v in inputs.items() if k != "singer"}).shape == (1, 19, N_MELS)


def test_units_meet_mel_frames_at_the_centre_of_both() -> None:
    units = np.arange(50, dtype=np.uint16)
    inputs = frame_inputs({"units": units}, mel_frames(50, RATES), RATES)
    met_s = (inputs["left"] + inputs["share"] + 0.5) / 50
    inner = slice(1, -1)
    np.testing.assert_allclose(met_s[inner], centres_s(94, RATES["mel"])[inner], atol=1e-6)
    assert inputs["left"].min() == 0
    assert inputs["left"].max() == 49


def test_interpolation_is_numpys_at_centre_times() -> None:
    values = RNG.standard_normal(80).astype(np.float32)
    expected = np.interp(centres_s(75, RATES["mel"]), centres_s(80, Fraction(100)), values)
    np.testing.assert_allclose(interpolate(values, 75, RATES["mel"], Fraction(100)), expected, atol=1e-5)


def test_pitch_is_taken_from_the_frame_that_holds_the_centre_and_never_mixed() -> None:
    f0_hz = np.array([200, 0, 400, 0], np.float32)
    voiced = (f0_hz > 0).astype(np.uint8)
    sample: dict[str, Array] = {"units": np.zeros(2, np.uint16), "f0_hz": f0_hz, "voiced": voiced}
    inputs = frame_inputs(sample, 4, RATES)
    np.testing.assert_allclose(inputs["period_s"], [1 / 200, 0, 1 / 400, 0])


def test_pitch_is_0_in_every_feature_where_there_is_none_and_finite_everywhere() -> None:
    features = torch.cat(pitch_features(torch.tensor([[0.0, 1 / 220, 1 / 440]])), dim=-1)
    assert (features[0, 0] == 0).all()
    assert features.isfinite().all()
    torch.testing.assert_close(features[0, 1:, 1], torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)
    # At 440 Hz, the eleventh multiple of 40 Hz, the wave of a voice at 440 Hz is at its top and of one at 220 Hz too.
    torch.testing.assert_close(features[0, 1:, 2 + 10], torch.ones(2), atol=1e-4, rtol=0)


@pytest.mark.parametrize("decoder", ["parallel", "lstm"])
@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_every_size_can_be_built(decoder: DecoderName, size: Any) -> None:
    with torch.device("meta"):
        model = AcousticModel(sized(size, decoder, 1024, 100, {"mel": "375/4", "units": "50"}, 3))
    assert sum(p.numel() for p in model.parameters()) < {"tiny": 1e6, "small": 7e6, "base": 4e7}[size]
