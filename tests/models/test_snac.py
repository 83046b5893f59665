"""SNAC in its published layout: codes and waves are the paper's, in windows as in one; what does not fit is refused."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from snac_checkpoints import ATTENTIVE, DEAF, NOISY, Reference, save_snac, snac_weights, wave

from autosing.models.codecs import CodecInfo, codec_info, load_codec
from autosing.models.published import snac_codec
from autosing.signal.errors import AutosingError, CheckpointError, RowError, UsageError
from autosing.synthesis.resynthesize import way_of
from bomb import Bomb

CONFIGS = {"attentive": ATTENTIVE, "deaf": DEAF, "noisy": NOISY}
# Samples of a code of the coarsest level, and coarsest codes of a window of attention.
PERIOD, UNIT = 24, 2


@pytest.fixture(scope="module")
def snac(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Returns the path of a kind of SNAC."""
    folder = tmp_path_factory.mktemp("snac")

    def saved(kind: str) -> str:
        return str(folder / kind) if (folder / kind).exists() else save_snac(folder / kind, CONFIGS[kind])

    return saved


def test_each_level_has_its_own_rate(snac: Callable[[str], str]) -> None:
    rates = (Fraction(1000, 3), Fraction(2000, 3), Fraction(4000, 3))
    assert codec_info(snac("attentive")) == CodecInfo(8000, rates, (64,) * 3)
    assert codec_info(snac("attentive"), 2) == CodecInfo(8000, rates[:2], (64,) * 2)
    assert codec_info(snac("deaf")).rates == (Fraction(250), Fraction(500), Fraction(1000))
    with pytest.raises(UsageError, match="has 3 levels, and 4 are asked for"):
        codec_info(snac("attentive"), 4)


@pytest.mark.parametrize("kind", ["attentive", "deaf"])
def test_codes_and_waves_are_the_paper_s(kind: str, snac: Callable[[str], str]) -> None:
    codec, reference = load_codec(snac(kind), device="cpu"), Reference(CONFIGS[kind])
    n_periods = 40 * UNIT
    heard = wave(n_periods * int(8000 / codec.info.rates[0]))
    expected = reference.encode(torch.from_numpy(heard))
    codes = codec.encode(heard)
    assert [len(one) for one in codes] == [n_periods, 2 * n_periods, 4 * n_periods]
    for one, other in zip(codes, expected, strict=True):
        np.testing.assert_array_equal(one, other.numpy())
        assert one.dtype == np.uint16 and len(np.unique(one)) > 3
    np.testing.assert_allclose(codec.decode(codes), reference.decode(expected).numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["attentive", "deaf", "noisy"])
def test_windows_are_the_whole(kind: str, snac: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    codec = load_codec(snac(kind), device="cpu")
    # An odd number of coarsest codes: the last window of attention is not full.
    heard = wave(401 * int(8000 / codec.info.rates[0]))
    whole = codec.encode(heard)
    sound = codec.decode(whole)
    monkeypatch.setattr(snac_codec, "WINDOW_S", 0.1)
    monkeypatch.setattr(snac_codec, "CONTEXT_S", 0.12)
    for one, other in zip(codec.encode(heard), whole, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(codec.decode(whole), sound, atol=1e-5)
    assert len(sound) == len(heard) and np.array_equal(codec.decode(whole), codec.decode(whole))


def test_a_prefix_of_the_levels_is_a_codec(snac: Callable[[str], str]) -> None:
    all_levels, two = load_codec(snac("attentive"), device="cpu"), load_codec(snac("attentive"), 2, device="cpu")
    heard = wave(9 * PERIOD)
    codes = two.encode(heard)
    for one, other in zip(codes, all_levels.encode(heard), strict=False):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(two.decode(codes), all_levels.decode(codes))
    assert len(two.decode(codes[:1])) == len(heard)


def test_nothing_becomes_nothing(snac: Callable[[str], str]) -> None:
    codec = load_codec(snac("attentive"), device="cpu")
    codes = codec.encode(np.zeros(0, np.float32))
    assert [len(one) for one in codes] == [0, 0, 0] and len(codec.decode(codes)) == 0


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda codes: [], r"levels of \[\] codes do not fit strides \[4, 2, 1\]"),
        (lambda codes: [*codes, codes[0]], r"levels of \[4, 8, 16, 4\] codes do not fit"),
        (lambda codes: [codes[0], codes[1][1:]], r"levels of \[4, 7\] codes do not fit"),
        (lambda codes: [codes[0] + 64], "there is a code .*, and the codebooks have 64"),
    ],
)
def test_codes_that_are_none_of_its_own_are_refused(snac: Callable[[str], str], spoil: Any, told: str) -> None:
    codec = load_codec(snac("attentive"), device="cpu")
    with pytest.raises(RowError, match=told):
        codec.decode(spoil(codec.encode(wave(4 * PERIOD))))
    with pytest.raises(RowError, match="a wave of 95 samples is no whole number of codes"):
        codec.encode(wave(95))


def test_it_is_a_way_back_to_sound(snac: Callable[[str], str]) -> None:
    way = way_of(snac("deaf"))
    assert way.columns == ("codes_0", "codes_1", "codes_2") and way.sample_rate == 8000


def test_a_pickle_goes_through_the_converter(tmp_path: Path, snac: Callable[[str], str]) -> None:
    models, heard = (save_snac(tmp_path / "pickled", ATTENTIVE, pickled=True), snac("attentive")), wave(4 * PERIOD)
    one, other = (load_codec(model, device="cpu").encode(heard) for model in models)
    for codes, same in zip(one, other, strict=True):
        np.testing.assert_array_equal(codes, same)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"encoder_dim": 32}, r"does not fit its config.json: decoder.model.0.bias is \(64,\), expected \(128,\)"),
        ({"vq_strides": [4, 3, 1]}, r"of the strides \[4, 3, 1\] the first is no multiple of all others"),
        ({"decoder_rates": [4, 2]}, r"rates \[2, 3\] in and \[4, 2\] out are not the same hop"),
        ({"encoder_dim": 1 << 62}, "there is no network of these sizes"),
        ({"codebook_size": 0}, "a size, a rate or a stride of its config is below 1"),
        ({"decoder_dim": 32}, "attention of width 32 has no whole heads of 64"),
        ({"codebook_dim": "x"}, "codebook_dim: 'x' does not fit"),
    ],
)
def test_weights_that_do_not_fit_their_config_are_refused(config: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(AutosingError, match=told):
        load_codec(save_snac(tmp_path / "other", {**ATTENTIVE, **config}, snac_weights(ATTENTIVE)), device="cpu")


def test_other_positions_than_ours_are_another_network(tmp_path: Path) -> None:
    name = "decoder.model.2.rel_pos.inv_freq"
    weights = {**snac_weights(ATTENTIVE), name: torch.ones(32)}
    with pytest.raises(CheckpointError, match=f"{name} is another constant"):
        load_codec(save_snac(tmp_path / "other", ATTENTIVE, weights), device="cpu")


def test_a_pickle_with_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    model = save_snac(tmp_path / "snac", ATTENTIVE, pickled=True)
    torch.save({"encoder.block.0.bias": torch.zeros(2), "x": Bomb(tmp_path / "ran")}, Path(model, "pytorch_model.bin"))
    with pytest.raises(CheckpointError, match=r"is refused: it wants to call (posix|nt)\.system"):
        load_codec(model, device="cpu")
    assert not (tmp_path / "ran").exists()


def test_missing_weights_are_told(tmp_path: Path) -> None:
    model = save_snac(tmp_path / "snac", ATTENTIVE)
    Path(model, "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"it has no pytorch_model.bin; give a local path of its files"):
        load_codec(model, device="cpu")
