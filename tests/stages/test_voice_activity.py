"""The `voice_activity` stage by all its methods."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from wave_checkpoints import save_checkpoint

from autosing.pipeline.song import Song
from autosing.pipeline.stages.voice_activity import VoiceActivity
from autosing.signal import silero
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import frames
from autosing.signal.singer import song
from autosing.signal.voice import voices
from autosing.signal.voice_activity import RATE
from autosing.signal.wave_heads import load_frame_classifier

Wave = npt.NDArray[np.floating[Any]]
HZ = 16_000
LABELS = {0: "no_voice", 1: "instrument", 2: "singing voice"}

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def one_torch_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    return save_checkpoint(folder, "WavLM", "ForAudioFrameClassification", num_labels=3, id2label=LABELS)


def a_song(wave: Wave, sample_rate: int = HZ) -> Song:
    encoded = io.BytesIO()
    soundfile.write(encoded, wave.astype(np.float32), sample_rate, format="WAV", subtype="FLOAT")
    addresses = {"voice": "index.audio", "mix": "index.audio"}
    return Song("a", {"index.audio": encoded.getvalue()}, addresses, {"index.audio"})


def activity(stage: VoiceActivity, wave: Wave, sample_rate: int = HZ) -> dict[str, npt.NDArray[Any]]:
    """Returns the row as it is stored."""
    (row,) = stage.process([a_song(wave, sample_rate)], stage.setup())
    assert not isinstance(row, RowError)
    return {column.name: column.canonical(row[column.name]) for column in stage.columns()}


def installed(method: str) -> None:
    if method == "silero":
        pytest.importorskip("silero_vad", reason="silero-vad is not installed")


@pytest.mark.parametrize("method", ["weight_free", "silero"])
def test_singing_is_found_and_pauses_are(method: str) -> None:
    installed(method)
    made = song(501, voices(2)[1], 20.0, None, HZ)
    found = activity(VoiceActivity(method=method), made.wave)["voice_activity"].astype(bool)
    times_s = (np.arange(len(found)) + 0.5) / 50
    words = np.any([(times_s >= s) & (times_s < e) for s, e, _ in made.sung.words], axis=0)
    assert found[words].mean() > 0.85 and found[~words].mean() < 0.35


@pytest.mark.parametrize("method", ["weight_free", "silero", "model"])
@pytest.mark.parametrize("sample_rate", [HZ, 44_100, 11_025])
def test_frame_counts_are_exact_and_scores_are_shares(method: str, sample_rate: int, classifier: Path) -> None:
    installed(method)
    stage = VoiceActivity(method=method, model=str(classifier) if method == "model" else "")  # type: ignore[arg-type]
    noise = 0.1 * np.random.default_rng(0).normal(size=3 * sample_rate)
    for seconds in (0.0001, 0.009, 0.2, 1.013, 2.99):
        wave = noise[: max(round(seconds * sample_rate), 1)]
        row = activity(stage, wave, sample_rate)
        assert {len(series) for series in row.values()} == {frames(len(wave), sample_rate, RATE)}
        assert set(row["voice_activity"].tolist()) <= {0, 1}
        assert np.all((row["singing"] >= 0) & (row["singing"] <= 1))


@pytest.mark.parametrize("method", ["weight_free", "silero"])
@pytest.mark.parametrize("channels", [(0, 0), (1, -1), (1, 1), (1,)])
def test_silence_noise_and_opposite_phase_have_an_outcome(method: str, channels: tuple[int, ...]) -> None:
    installed(method)
    noise = 0.1 * np.random.default_rng(0).normal(size=5 * HZ)
    row = activity(VoiceActivity(method=method), np.stack([sign * noise for sign in channels], axis=1))
    assert row["voice_activity"].mean() == 0


@pytest.mark.parametrize("kind", ["WavLM", "Wav2Vec2", "UniSpeechSat", "Data2VecAudio"])
def test_the_scores_of_a_model_are_those_of_transformers_on_padded_audio(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForAudioFrameClassification

    task = "ForAudioFrameClassification"
    folder = save_checkpoint(tmp_path / "model", kind, task, num_labels=3, id2label=LABELS, conv_pos_kernel_size=3)
    wave = 0.1 * np.random.default_rng(0).normal(size=2 * HZ).astype(np.float32)
    network = AutoModelForAudioFrameClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        told = network(torch.from_numpy(np.pad(wave, 40))[None]).logits[0].softmax(-1)[:, 2]
    found = activity(VoiceActivity(method="model", model=str(folder)), wave)["singing"]
    np.testing.assert_allclose(found, told, atol=2e-3)


def test_the_label_of_a_voice_is_found_by_its_name_or_given(classifier: Path, tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).normal(size=HZ).astype(np.float32)
    shares = [load_frame_classifier(str(classifier), label).encode(noise[None]) for label in ("", *LABELS.values())]
    assert np.array_equal(shares[0], shares[3]) and not np.array_equal(shares[0], shares[1])
    np.testing.assert_allclose(np.sum(np.float32(shares[1:]), axis=0), 1, atol=2e-3)
    with pytest.raises(
        UsageError, match="no label 'choir'; set `label` to one of: no_voice, instrument, singing voice"
    ):
        load_frame_classifier(str(classifier), "choir")
    names = {0: "LABEL_0", 1: "LABEL_1"}
    nameless = save_checkpoint(tmp_path / "x", "WavLM", "ForAudioFrameClassification", num_labels=2, id2label=names)
    with pytest.raises(UsageError, match="not exactly one label that names a voice"):
        load_frame_classifier(str(nameless))


def test_settings_that_do_not_fit_together_are_refused(classifier: Path, tmp_path: Path) -> None:
    for settings, told in (
        ({"on": 0.3, "off": 0.5}, "0 < off <= on <= 1"),
        ({"min_sung_s": -1.0}, "at least 0"),
        ({"method": "model"}, "give `model`"),
        ({"model": str(classifier)}, "only `method: model` uses them"),
    ):
        with pytest.raises(UsageError, match=told):
            VoiceActivity(**settings)  # type: ignore[arg-type]
    headless = save_checkpoint(tmp_path / "headless", "WavLM", "Model", num_labels=3, id2label=LABELS)
    with pytest.raises(UsageError, match=r"not those of its config.json: 2 are missing"):
        VoiceActivity(method="model", model=str(headless)).setup()


def test_a_missing_package_names_both_ways_out() -> None:
    with pytest.raises(UsageError, match=r"no-such-package is not installed; .*autosing\[vad\].*weight_free"):
        silero.load_silero("no-such-package")
    with pytest.raises(UsageError, match=r"the installed numpy has no silero_vad/.*weight_free"):
        silero.load_silero("numpy")


def test_models_and_device_are_told_apart_from_the_definition(classifier: Path) -> None:
    stage = VoiceActivity(method="model", model=str(classifier), device="cpu", gpus=0.5)
    assert stage.models() == {"model": str(classifier)}
    assert "device" not in stage.settings() and stage.resources().gpus == 0.5
    assert VoiceActivity(method="silero").models() == {"silero": "wheel:silero-vad"}
    assert VoiceActivity().models() == {}
