"""Vocoders: pieces equal the whole, batches their samples, and pitch is right before anything is learned."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from autosing.models.directory import load_model, save_model
from autosing.models.hifigan import HifiGan
from autosing.models.pitch_bins import PitchBins
from autosing.models.vocoder import Generator, Vocoder, factors_of, sized_vocoder, synthesise, tokens_at
from autosing.signal.errors import UsageError
from autosing.signal.f0 import f0
from autosing.signal.mel import MelSpec, log_mel
from autosing.training.metrics import PitchTrack, f0_rmse_cents, voicing_f1

SPEC = MelSpec()
STREAMS = {"tokens_20": "50/1", "tokens_80": "25/2"}
N_FRAMES, N_TOKENS = 120, 9
RNG = np.random.default_rng(0)


def vocoder(generator: Generator, use_f0: bool, streams: dict[str, str]) -> Vocoder:
    torch.manual_seed(0)
    made = Vocoder(sized_vocoder("tiny", generator, SPEC, use_f0, streams, N_TOKENS if streams else 0)).eval()
    for name, parameter in made.named_parameters():
        if name.endswith(("out.weight", "to_pitch.weight")):
            torch.nn.init.normal_(parameter, std=0.05)
    return made


def inputs(streams: dict[str, str], n_frames: int = N_FRAMES) -> dict[str, npt.NDArray[Any]]:
    if not streams:
        return {"mel": RNG.normal(-4, 1, (n_frames, SPEC.n_mels)).astype(np.float32)}
    found = {}
    for name, rate in streams.items():
        tokens = RNG.integers(0, N_TOKENS, -(-n_frames * Fraction(rate) // SPEC.rate))
        found |= {name: tokens, f"{name}_at": tokens_at(n_frames, SPEC.rate, len(tokens), Fraction(rate))}
    return found


@pytest.mark.parametrize("generator", ["istft", "hifigan"])
@pytest.mark.parametrize("use_f0", [True, False])
@pytest.mark.parametrize("streams", [{}, STREAMS], ids=["mel", "tokens"])
def test_pieces_are_the_whole(generator: Generator, use_f0: bool, streams: dict[str, str]) -> None:
    model, given = vocoder(generator, use_f0, streams), inputs(streams)
    f0_hz = np.repeat(RNG.choice([0.0, 220.0, 330.0], N_FRAMES), SPEC.hop).astype(np.float32) if use_f0 else None
    whole, parts = (np.concatenate(list(synthesise(model, given, f0_hz, piece_frames=size))) for size in (10_000, 17))
    if f0_hz is not None:
        running = synthesise(model, given, lambda first, last: f0_hz[first:last], piece_frames=17)
        np.testing.assert_allclose(np.concatenate(list(running)), parts, atol=2e-5)
    assert len(whole) == N_FRAMES * SPEC.hop
    # A pitch that is told is rounded to float32 at every frame, and a phase is the sum of all.
    np.testing.assert_allclose(parts, whole, atol=1e-2 if model.tells_pitch else 2e-5)
    assert np.abs(whole).max() > 1e-3


@pytest.mark.parametrize("generator", ["istft", "hifigan"])
def test_a_batch_gives_what_its_samples_give_one_by_one(generator: Generator) -> None:
    model = vocoder(generator, True, {})
    mel = torch.randn(2, 40, SPEC.n_mels) - 4
    batch = {
        "mel": mel, "frames": torch.tensor([40, 23]), "pulses": torch.randn(2, 40 * SPEC.hop),
        "noise": torch.randn(2, 40 * SPEC.hop), "period_s": torch.full((2, 40), 1 / 200),
    }  # fmt: skip
    for name in ("pulses", "noise", "mel", "period_s"):
        length = 23 * (SPEC.hop if name in ("pulses", "noise") else 1)
        batch[name][1, length:] = 0
    together = model(batch)
    alone = model({name: tensor[1:, : 23 * SPEC.hop] if name in ("pulses", "noise") else tensor[1:] for name, tensor in
                   {**batch, "mel": mel[:, :23], "period_s": batch["period_s"][:, :23]}.items()})  # fmt: skip
    torch.testing.assert_close(together[1:, : 23 * SPEC.hop], alone, rtol=0, atol=1e-4)
    assert not together[1, 23 * SPEC.hop :].any()


def test_pitch_and_voicing_are_right_before_anything_is_learned() -> None:
    n_samples = 90 * SPEC.hop
    f0_hz = np.repeat([220.0, 0.0, 330.0], n_samples // 3).astype(np.float32)
    turns = np.cumsum(f0_hz / SPEC.sample_rate)
    sung = sum(np.sin(2 * np.pi * k * turns) / k for k in range(1, 20)) * (f0_hz > 0)
    wave = (0.1 * sung + 0.003 * RNG.standard_normal(n_samples)).astype(np.float32)
    model = Vocoder(sized_vocoder("tiny", "istft", SPEC, True, {}, 0)).eval()
    made = np.concatenate(list(synthesise(model, {"mel": log_mel(wave, SPEC, 90)}, f0_hz)))
    found, true = (f0(one, SPEC.sample_rate, 96) for one in (made, wave))
    tracks = [PitchTrack(one.f0_hz, one.voiced) for one in (found, true)]
    assert f0_rmse_cents(*tracks) < 20
    assert voicing_f1(*tracks) > 0.9
    assert np.abs(log_mel(made, SPEC, 90) - log_mel(wave, SPEC, 90)).mean() < 0.5


@pytest.mark.parametrize("hop", [256, 512, 240, 320, 441])
def test_steps_up_make_any_hop(hop: int) -> None:
    assert np.prod(factors_of(hop)) == hop
    torch.manual_seed(0)
    made = HifiGan(hop, 8, 16, factors_of(hop), use_f0=True)(
        torch.randn(1, 5, 8), torch.ones(1, 5, 1), {"pulses": torch.randn(1, 5 * hop), "noise": torch.randn(1, 5 * hop)}
    )
    assert made.shape == (1, 5 * hop)


def test_steps_that_do_not_make_the_hop_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\[8, 8\] make 64 samples a frame, and the hop is 256"):
        HifiGan(256, 8, 16, (8, 8), use_f0=False)


def test_a_vocoder_comes_back_from_its_directory(tmp_path: Path) -> None:
    model = vocoder("istft", True, STREAMS)
    save_model(tmp_path / "model", model, {"mel": {"spec": dict(model.fields.mel)}})
    loaded = load_model(tmp_path / "model").model
    assert isinstance(loaded, Vocoder)
    f0_hz, given = np.full(30 * SPEC.hop, 200, np.float32), inputs(STREAMS, 30)
    one, other = (np.concatenate(list(synthesise(m, given, f0_hz))) for m in (model, loaded))
    np.testing.assert_array_equal(one, other)


def test_a_pitch_is_found_again_in_its_soft_labels() -> None:
    bins, f0_hz = PitchBins(), torch.tensor([60.0, 220.0, 443.7, 1000.0])
    labels = bins.soft_labels(f0_hz)
    torch.testing.assert_close(labels.sum(-1), torch.ones(4))
    cents = 1200 * torch.log2(bins.pitch_hz(labels.log()) / f0_hz)
    assert cents.abs().max() < 3
