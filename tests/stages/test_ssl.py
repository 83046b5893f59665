"""The `ssl` stage with tiny random checkpoints in the real format, and with MFCCs."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from wave_checkpoints import SMALL

from autosing.pipeline.song import Song
from autosing.pipeline.stages.ssl import Ssl
from autosing.signal.errors import RowError, UsageError
from autosing.signal.frame_spill import FrameSpill
from autosing.signal.framing import frames
from autosing.signal.kmeans import assign, fit_codebook
from autosing.signal.ssl import RATE, Window, Windowing, encode_songs
from autosing.signal.ssl_encoder import load_encoder

Wave = npt.NDArray[np.float32]
HZ = 16_000
WAVE_KINDS = ("hubert", "hubert-layer-norm", "wavlm", "wav2vec2", "data2vec-audio")
KINDS = (*WAVE_KINDS, "whisper")
SMALL_WHISPER: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "vocab_size": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 3,
}


def _networks() -> dict[str, Callable[[], Any]]:
    import transformers as hf

    layer_norm: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    return {
        "hubert": lambda: hf.HubertModel(hf.HubertConfig(**SMALL)),
        "hubert-layer-norm": lambda: hf.HubertModel(hf.HubertConfig(**SMALL, **layer_norm)),
        "wavlm": lambda: hf.WavLMModel(hf.WavLMConfig(**SMALL)),
        "wav2vec2": lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**SMALL)),
        "data2vec-audio": lambda: hf.Data2VecAudioModel(hf.Data2VecAudioConfig(**SMALL, conv_pos_kernel_size=3)),
        "whisper": lambda: hf.WhisperModel(hf.WhisperConfig(**SMALL_WHISPER)),
    }


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one tiny random checkpoint of each kind; only wav2vec2 wants normalised audio."""
    folder = tmp_path_factory.mktemp("checkpoints")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for kind, build in _networks().items():
        build().save_pretrained(folder / kind)
        preprocessor = {"do_normalize": kind == "wav2vec2", "sampling_rate": HZ}
        (folder / kind / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    yield folder
    torch.set_num_threads(threads)


def _song(wave: Wave, sample_rate: int = HZ) -> Song:
    encoded = io.BytesIO()
    soundfile.write(encoded, wave, sample_rate, format="WAV", subtype="FLOAT")
    addresses = {"voice": "index.audio", "mix": "index.audio", "backing": "stems.backing"}
    return Song("a", {"index.audio": encoded.getvalue()}, addresses)


def _noise(seconds: float, seed: int = 0, sample_rate: int = HZ) -> Wave:
    noise = np.random.default_rng(seed).normal(size=max(round(seconds * sample_rate), 1))
    return (0.05 * noise).astype(np.float32)


def _sung(seconds: float, seed: int = 0) -> Wave:
    """A tone with some noise that changes pitch and level every 0.1 to 0.4 s."""
    rng = np.random.default_rng(seed)
    n_samples = round(seconds * HZ)
    n_notes = n_samples // 1600 + 1
    note = np.repeat(np.arange(n_notes), rng.integers(1600, 6400, n_notes))[:n_samples]
    phase = 2 * np.pi * np.cumsum(rng.uniform(100, 2000, n_notes)[note]) / HZ
    tone, noise = rng.uniform(0.02, 0.3, n_notes)[note], rng.uniform(0.001, 0.05, n_notes)[note]
    wave: Wave = (tone * np.sin(phase) + noise * rng.normal(size=n_samples)).astype(np.float32)
    return wave


def _encoded(stage: Ssl, waves: Sequence[Wave], sample_rate: int = HZ) -> list[npt.NDArray[np.float16]]:
    rows = stage.process([_song(w, sample_rate) for w in waves], stage.setup())
    features = []
    for row in rows:
        assert not isinstance(row, RowError)
        features.append(stage.columns()[0].canonical(row["ssl"]))
    return features


@pytest.mark.parametrize("kind", ["mfcc", *KINDS])
@pytest.mark.parametrize("sample_rate", [HZ, 11_025])
def test_frame_counts_are_exact_for_every_length(kind: str, sample_rate: int, checkpoints: Path) -> None:
    stage = Ssl(model=kind if kind == "mfcc" else str(checkpoints / kind), window_s=2, context_s=0.2)
    lengths_s = [0, 0.0099, 0.01, 0.02, 0.025, 0.031, 0.5, 1.99, 2, 2.02, 3.41, 3.59, 5.005]
    waves = [_noise(seconds, sample_rate=sample_rate) for seconds in lengths_s]
    for wave, features in zip(waves, _encoded(stage, waves, sample_rate), strict=True):
        assert features.shape == (frames(len(wave), sample_rate, RATE), stage.columns()[0].dim)
        assert np.isfinite(features).all()


@pytest.mark.parametrize("kind", ["mfcc", "hubert-layer-norm", "data2vec-audio", "whisper"])
def test_bursts_are_where_they_are_heard(kind: str, checkpoints: Path) -> None:
    """Over bursts at all phases of a frame and in all windows, for a random network answers each of them askew."""
    stage = Ssl() if kind == "mfcc" else Ssl(model=str(checkpoints / kind), layers=(0,))
    quiet = _noise(65)
    bursts, bursts_s = quiet.copy(), np.arange(0.301, 64, 1.563)
    for burst_s in bursts_s:
        bursts[round((burst_s - 0.01) * HZ) : round((burst_s + 0.01) * HZ)] *= 10
    without, with_bursts = (f.astype(np.float64) for f in _encoded(stage, [quiet, bursts]))
    energy, centres_s = np.square(with_bursts - without).sum(axis=1), (np.arange(3250) + 0.5) / 50
    near = [np.abs(centres_s - at_s) < 0.25 for at_s in bursts_s]
    away_ms = [1000 * (energy[n] @ centres_s[n] / energy[n].sum() - s) for n, s in zip(near, bursts_s, strict=True)]
    print(f"{kind}: response centroids {np.mean(away_ms):+.1f} +- {np.std(away_ms):.1f} ms from 20 ms bursts")
    assert abs(np.mean(away_ms)) < 10


@pytest.mark.parametrize("kind", WAVE_KINDS)
def test_features_are_those_of_transformers_on_padded_audio(kind: str, checkpoints: Path) -> None:
    from transformers import AutoModel, Wav2Vec2FeatureExtractor

    wave = _sung(3)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=kind == "wav2vec2")  # type: ignore[no-untyped-call]
    heard = extractor(wave, sampling_rate=HZ)["input_values"][0]
    network = AutoModel.from_pretrained(checkpoints / kind).eval()
    with torch.inference_mode():
        told = network(torch.from_numpy(np.pad(heard, 40))[None], output_hidden_states=True)
    (last,) = _encoded(Ssl(model=str(checkpoints / kind)), [wave])
    np.testing.assert_allclose(last, told.last_hidden_state[0], atol=5e-3)
    (both,) = _encoded(Ssl(model=str(checkpoints / kind), layers=(2, 1)), [wave])
    np.testing.assert_allclose(both, torch.cat([told.hidden_states[2], told.hidden_states[1]], -1)[0], atol=5e-3)


def test_whisper_features_are_those_of_transformers_half_a_frame_later(checkpoints: Path) -> None:
    from transformers import AutoModel, WhisperFeatureExtractor

    wave = _sung(4)
    extractor = WhisperFeatureExtractor()  # type: ignore[no-untyped-call]
    mel = extractor(wave[160:], sampling_rate=HZ, return_tensors="pt")["input_features"]
    network = AutoModel.from_pretrained(checkpoints / "whisper").get_encoder().eval()
    with torch.inference_mode():
        expected = network(mel).last_hidden_state[0, :200]
    (features,) = _encoded(Ssl(model=str(checkpoints / "whisper")), [wave])
    np.testing.assert_allclose(features[1:], expected[1:], atol=2e-2)


@pytest.mark.parametrize("kind", ["hubert", "wavlm", "whisper"])
def test_songs_in_a_batch_get_what_they_get_alone(kind: str, checkpoints: Path) -> None:
    stage = Ssl(model=str(checkpoints / kind), window_s=2, context_s=0.2)
    waves = [_sung(4, seed=1), 9 * _sung(1, seed=2), _sung(1, seed=3), _sung(2.5, seed=4)]
    together = _encoded(stage, waves)
    for wave, features in zip(waves, together, strict=True):
        assert np.array_equal(_encoded(stage, [wave])[0], features)


def test_windows_of_a_long_song_are_equally_long_and_leave_nothing_out() -> None:
    windowing = Windowing.of_seconds(30, 2)
    assert windowing.windows(0) == []
    assert windowing.windows(1500) == [Window(0, 1500, (0, 1500))]
    assert windowing.windows(1501) == [Window(0, 1500, (0, 1400)), Window(1, 1500, (1400, 1501))]
    for n_frames in (1501, 2800, 2801, 3250, 9999):
        windows = windowing.windows(n_frames)
        taken = np.concatenate([np.arange(*w.kept) for w in windows])
        assert np.array_equal(taken, np.arange(n_frames))
        for window in windows:
            assert (window.start, window.length) >= (0, 1500) and window.start + window.length <= n_frames
            assert window.kept[0] - window.start >= (100 if window.start else 0)
            assert window.start + 1500 - window.kept[1] >= (100 if window.start + 1500 < n_frames else 0)


def test_where_a_model_sees_no_further_than_the_context_windows_change_nothing(checkpoints: Path) -> None:
    encoder = load_encoder(str(checkpoints / "hubert-layer-norm"), layers=(0,), device="cpu")
    wave, n_frames = _sung(65), 3250
    (windowed,) = encode_songs(encoder, [wave], [n_frames], Windowing.of_seconds(30, 2))
    (whole,) = encode_songs(encoder, [wave], [n_frames], Windowing.of_seconds(100, 2))
    np.testing.assert_allclose(windowed, whole, atol=2e-3)


def _shifted_agreement(stage: Ssl, k: int) -> float:
    """Returns the share of equal units between a song and the same song begun half a window later."""
    wave = _sung(75)
    whole, later = _encoded(stage, [wave, wave[15 * HZ :]])
    with FrameSpill() as spill:
        spill.append(whole)
        codebook, _ = fit_codebook(spill, k)
    return float(np.mean(assign(whole[750:], codebook) == assign(later, codebook)))


@pytest.mark.parametrize(("kind", "least"), [("mfcc", 1.0), ("hubert-layer-norm", 0.95), ("hubert", 0.8)])
def test_units_hardly_depend_on_where_windows_lie(kind: str, least: float, checkpoints: Path) -> None:
    """`hubert` normalises by the statistics of a window and its random features have no clusters: a lower bar."""
    agreement = _shifted_agreement(Ssl(model=kind if kind == "mfcc" else str(checkpoints / kind)), k=50)
    print(f"{kind}: {agreement:.1%} of the units agree between windows shifted by half")
    assert agreement >= least


def test_only_a_checkpoint_that_asks_for_it_gets_normalised_audio(checkpoints: Path) -> None:
    wave = 0.3 + _noise(1)
    normalised = load_encoder(str(checkpoints / "wav2vec2"), device="cpu").normalised(wave)
    assert (abs(float(normalised.mean())), float(normalised.std())) == pytest.approx((0, 1), abs=1e-3)
    assert load_encoder(str(checkpoints / "wavlm"), device="cpu").normalised(wave) is wave


def test_the_width_is_known_without_torch(checkpoints: Path) -> None:
    hubert, whisper = str(checkpoints / "hubert"), str(checkpoints / "whisper")
    code = (
        "import sys; from autosing.pipeline.stages.ssl import Ssl\n"
        f"stages = [Ssl(), Ssl(model={hubert!r}), Ssl(model={whisper!r}, layers=(0, 1, 2))]\n"
        "print([stage.columns()[0].dim for stage in stages], {'torch', 'transformers'} & {*sys.modules})"
    )
    assert _python(code) == "[39, 16, 48] set()"


def test_a_hub_id_is_found_in_the_cache_and_a_missing_one_names_both_ways_out(
    checkpoints: Path, tmp_path: Path
) -> None:
    cached = tmp_path / "models--some--hubert"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    shutil.copytree(checkpoints / "hubert", cached / "snapshots" / "abc")
    code = (
        "from autosing.signal.ssl_encoder import feature_dim; from autosing.signal.errors import UsageError\n"
        "print(feature_dim('some/hubert', (1, 2)))\n"
        "try: feature_dim('some/other', ())\n"
        "except UsageError as error: print(error)"
    )
    told = _python(code, HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="1")
    assert told.startswith("32\nthe model some/other can't be used")
    assert "give a local path" in told and "`model: mfcc`" in told


def _python(code: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return run.stdout.strip()


def _copied(checkpoint: Path, folder: Path, **config: Any) -> Path:
    shutil.copytree(checkpoint, folder)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | config))
    return folder


def test_a_missing_folder_names_both_ways_out() -> None:
    with pytest.raises(UsageError, match=r"neither a folder .* give a local path .* `model: mfcc`"):
        Ssl(model="./no/such/folder").columns()


def test_pickled_weights_are_refused(checkpoints: Path, tmp_path: Path) -> None:
    folder = _copied(checkpoints / "hubert", tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match="pickled weights are never opened"):
        Ssl(model=str(folder)).setup()


def test_weights_that_are_damaged_or_of_another_model_are_refused(checkpoints: Path, tmp_path: Path) -> None:
    deeper = _copied(checkpoints / "hubert", tmp_path / "deeper", num_hidden_layers=3)
    with pytest.raises(UsageError, match=r"not those of its config.json: \d+ are missing"):
        Ssl(model=str(deeper)).setup()
    wider = _copied(checkpoints / "hubert", tmp_path / "wider", intermediate_size=64)
    with pytest.raises(UsageError, match="can't be loaded"):
        Ssl(model=str(wider)).setup()
    damaged = _copied(checkpoints / "hubert", tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="can't be loaded"):
        Ssl(model=str(damaged)).setup()


def test_models_layers_and_windows_that_do_not_exist_are_told(checkpoints: Path, tmp_path: Path) -> None:
    other = _copied(checkpoints / "hubert", tmp_path / "bert", model_type="bert")
    with pytest.raises(UsageError, match="a 'bert' model; supported: hubert, wavlm"):
        Ssl(model=str(other)).columns()
    with pytest.raises(UsageError, match=r"no layer 3; it has 0 .* to 2"):
        Ssl(model=str(checkpoints / "whisper"), layers=(1, 3)).columns()
    with pytest.raises(UsageError, match="hears 30 s at once"):
        Ssl(model=str(checkpoints / "whisper"), window_s=31).setup()
    with pytest.raises(UsageError, match="a window of 4 s with 2 s of context"):
        Ssl(window_s=4)
    hop = _copied(checkpoints / "hubert", tmp_path / "hop", conv_stride=[5, 2, 2, 2, 2, 2, 1])
    with pytest.raises(UsageError, match="hop of 160 samples; only those of 320"):
        Ssl(model=str(hop)).setup()


def test_what_only_changes_the_speed_is_not_part_of_the_definition(checkpoints: Path) -> None:
    model = str(checkpoints / "hubert")
    assert Ssl(model=model, device="cpu", windows_per_batch=3, gpus=0.5).settings() == Ssl(model=model).settings()
    assert Ssl(model=model).models() == {"model": model}
    assert Ssl().models() == {}
    assert (Ssl(model=model, gpus=0.5).resources().gpus, Ssl().resources().batch_s) == (0.5, 0)
