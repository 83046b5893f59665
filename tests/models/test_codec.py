"""The codec and the one interface to codecs: rates, pieces, round trips, and what is refused."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autosing.models import codec as codec_module
from autosing.models.codec import Codec, decode, decoded_mel, encode, sized_codec
from autosing.models.codecs import CodecInfo, codec_info, load_codec
from autosing.models.directory import save_model
from autosing.models.quantiser import Quantiser
from autosing.signal.errors import RowError, UsageError
from autosing.signal.mel import MelSpec

SPEC = MelSpec()
STRIDES = (6, 3, 1)
PERIOD = 12 * SPEC.hop


def random_codec(use_f0: bool = True) -> Codec:
    """Returns a codec whose codebooks lie in what it hears, as after training."""
    torch.manual_seed(1)
    model = Codec(sized_codec("tiny", SPEC, 2, STRIDES, 16, 4, use_f0))
    mels = torch.randn(2, 96, SPEC.n_mels) * 2 - 4
    with torch.no_grad():
        for _ in range(3):
            model.train().quantised(model.latents(mels, torch.tensor([96, 96])), torch.tensor([96, 96]))
    for name, parameter in model.named_parameters():
        if name.endswith(("out.weight", "to_pitch.weight")):
            torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> Codec:
    return random_codec()


@pytest.fixture(scope="module")
def directory(model: Codec, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("codec") / "model"
    codes = {"rates": [str(rate) for rate in model.fields.rates], "sizes": [16] * 3}
    save_model(path, model, {"mel": {"spec": dict(model.fields.mel)}, "codes": codes})
    return str(path)


def wave(n_periods: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    rng = np.random.default_rng(2)
    return (rng.standard_normal(n_periods * PERIOD) * np.repeat(rng.uniform(0.01, 0.3, n_periods), PERIOD)).astype(
        np.float32
    )


@pytest.mark.parametrize("use_f0", [True, False])
def test_pieces_are_the_whole(use_f0: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made, heard = random_codec(use_f0), wave(40)
    whole_codes = encode(made, heard)
    whole = np.concatenate(list(decode(made, whole_codes)))
    monkeypatch.setattr(codec_module, "PIECE_FRAMES", 50)
    for a, b in zip(encode(made, heard), whole_codes, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [len(one) for one in whole_codes] == [40, 80, 240]
    assert len(np.unique(whole_codes[2])) > 2
    # A pitch that is told is rounded to float32 at every frame, and a phase is the sum of all.
    np.testing.assert_allclose(np.concatenate(list(decode(made, whole_codes))), whole, atol=1e-2)
    assert len(whole) == len(heard)


def test_a_prefix_of_the_levels_is_a_codec(model: Codec) -> None:
    codes = encode(model, wave(4))
    for n in (1, 2, 3):
        assert len(np.concatenate(list(decode(model, codes[:n])))) == 4 * PERIOD
        assert decoded_mel(model, codes[:n]).shape == (48, SPEC.n_mels)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda codes: [], "0 levels of codes for a codec of 3"),
        (lambda codes: [*codes, codes[0]], "4 levels of codes for a codec of 3"),
        (lambda codes: [codes[0], codes[1][1:]], r"levels of \[4, 7\] codes do not fit strides \[6, 3, 1\]"),
        (lambda codes: [codes[0] + 16], "there is a code .*, and the codebooks have 16"),
    ],
)
def test_codes_that_are_none_of_its_own_are_refused(model: Codec, spoil: Any, told: str) -> None:
    with pytest.raises(RowError, match=told):
        list(decode(model, spoil(encode(model, wave(4)))))


def test_nothing_becomes_nothing(model: Codec) -> None:
    codes = encode(model, np.zeros(0, np.float32))
    assert [len(one) for one in codes] == [0, 0, 0]
    assert not list(decode(model, codes))


@pytest.mark.parametrize("strides", [(4, 3), (2, 4), (), (0,)])
def test_levels_that_do_not_fit_each_other_are_refused(strides: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="the first must be a multiple of all others"):
        sized_codec("tiny", SPEC, 2, strides, 16, 4, True)


def test_padding_changes_no_code() -> None:
    torch.manual_seed(0)
    level = Quantiser(8, 4, 6)
    vectors = torch.randn(2, 10, 8)
    mask = torch.arange(10) < torch.tensor([[10], [6]])
    level.train()(vectors, mask)
    level.eval()
    _, codes, off = level(vectors, mask)
    changed = vectors.clone()
    changed[1, 6:] = 99
    _, again, off_again = level(changed, mask)
    torch.testing.assert_close(codes[1, :6], again[1, :6])
    torch.testing.assert_close(off, off_again)


def test_the_project_s_own_is_one_of_them(directory: str, model: Codec) -> None:
    assert codec_info(directory, 2) == CodecInfo(24_000, model.fields.rates[:2], (16, 16))
    codec = load_codec(directory, 2, device="cpu")
    heard = codec.info.padded(wave(3)[:-100], 3)
    codes = codec.encode(heard)
    for a, b in zip(codes, encode(model, heard)[:2], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(codec.decode(codes), np.concatenate(list(decode(model, codes))))
    with pytest.raises(UsageError, match="has 3 levels, and 4 are asked for"):
        codec_info(directory, 4)


def foreign(kind: str) -> tuple[Any, CodecInfo]:
    """Returns a tiny codec of a kind with random weights, and what it is."""
    if kind == "encodec":
        from transformers import EncodecConfig, EncodecModel

        config = EncodecConfig(
            num_filters=4, hidden_size=16, codebook_dim=16, codebook_size=64, upsampling_ratios=[4, 2, 2],
            num_residual_layers=1, num_lstm_layers=1, target_bandwidths=[9.0, 36.0],
        )  # fmt: skip
        return EncodecModel(config), CodecInfo(24_000, (Fraction(1500),) * 4, (64,) * 4)
    if kind == "dac":
        from transformers import DacConfig, DacModel

        config = DacConfig(
            encoder_hidden_size=8, decoder_hidden_size=32, downsampling_ratios=[2, 2, 4], upsampling_ratios=[4, 2, 2],
            n_codebooks=3, codebook_size=32, codebook_dim=4, sampling_rate=16_000,
        )  # fmt: skip
        return DacModel(config), CodecInfo(16_000, (Fraction(1000),) * 3, (32,) * 3)
    from transformers import MimiConfig, MimiModel

    config = MimiConfig(
        num_filters=4, hidden_size=32, vector_quantization_hidden_dimension=16, codebook_dim=16, codebook_size=32,
        num_quantizers=4, num_semantic_quantizers=1, num_hidden_layers=1, intermediate_size=32, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, upsampling_ratios=[4, 2, 2], upsample_groups=32, frame_rate=750.0,
    )  # fmt: skip
    return MimiModel(config), CodecInfo(24_000, (Fraction(750),) * 4, (32,) * 4)


@pytest.mark.parametrize("kind", ["encodec", "dac", "mimi"])
def test_codecs_of_transformers_give_codes_at_their_rates(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, info = foreign(kind)
    network.save_pretrained(tmp_path)
    assert codec_info(str(tmp_path)) == info
    codec = load_codec(str(tmp_path), 2, device="cpu")
    heard = codec.info.padded(wave(1), 90)
    codes = codec.encode(heard)
    assert [one.shape for one in codes] == [(90,), (90,)]
    assert len(codec.decode(codes)) == len(heard)
    with pytest.raises(RowError, match="is no whole number of codes"):
        codec.encode(heard[:-1])
    with pytest.raises(RowError, match=r"levels of \[90, 89\] codes"):
        codec.decode([codes[0], codes[1][1:]])


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(UsageError, match=r"is a 'hubert' model; supported: .* encodec, dac, mimi, snac"):
        codec_info(str(tmp_path))
