"""`stems` and `denoise` as stages: exact lengths, an outcome for every kind of song, and when they run at all."""

import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from roformer_checkpoints import save_roformer

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.graph import Graph
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import targets_or_all
from autosing.pipeline.settings import DatasetEntry, Project, parse_project
from autosing.pipeline.song import Song
from autosing.pipeline.stages.denoise import Denoise
from autosing.pipeline.stages.stems import Stems
from autosing.signal.decode import Audio, decode, encode
from autosing.signal.errors import RowError, UsageError

Samples = npt.NDArray[np.float32]
ADDRESSES = {"mix": "index.audio", "vocals": "stems.vocals", "backing": "stems.backing"}
BURSTS_S = (1.2, 3.4)


def noise(seconds: float, sample_rate: int, channels: int) -> Samples:
    shape = (int(seconds * sample_rate), channels)
    return (0.1 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def wave_file(samples: Samples, sample_rate: int, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, subtype=subtype, format="WAV")
    return file.getvalue()


def opposite() -> Samples:
    return np.concatenate([noise(1.5, 44_100, 1), -noise(1.5, 44_100, 1)], axis=1)


SONGS: Mapping[str, bytes] = {
    "silent": encode(np.zeros((44_100, 2), np.float32), 44_100, "FLAC"),
    "mono": encode(noise(2, 44_100, 1), 44_100, "FLAC"),
    "5.1": encode(noise(1, 48_000, 6), 48_000, "WAV"),
    "8 kHz": encode(noise(2, 8_000, 2), 8_000, "WAV"),
    "0.3 s": encode(noise(0.3, 44_100, 2), 44_100, "FLAC"),
    "one sample": encode(np.full((1, 1), 0.5, np.float32), 16_000, "WAV"),
    "opposite phase": encode(opposite(), 44_100, "FLAC"),
    "louder than full scale": wave_file(9 * noise(1, 22_050, 2), 22_050, "FLOAT"),
    "lossy": encode(noise(1, 44_100, 2), 44_100, "MP3"),
}
BAD: Mapping[str, tuple[bytes, str]] = {
    "NaN": (wave_file(np.full((100, 1), np.nan, np.float32), 8_000, "FLOAT"), "NaN, infinity"),
    "nine channels": (encode(noise(0.1, 8_000, 9), 8_000, "WAV"), "FLAC holds 8 channels at most, the song has 9"),
    "too fast for FLAC": (encode(noise(0.1, 700_000, 1), 700_000, "WAV"), "FLAC can't hold"),
    "no sound": (b"no sound", "replace it or leave it out"),
}


def song(data: bytes) -> Song:
    return Song("a", {"index.audio": data}, ADDRESSES, ("index.audio",))


def row(stage: Stems | Denoise, data: bytes) -> dict[str, Audio]:
    """Returns the decoded columns of a song."""
    (outcome,) = stage.process([song(data)], stage.setup())
    assert isinstance(outcome, dict), outcome
    return {name: decode(value) for name, value in outcome.items()}


@pytest.mark.parametrize("name", SONGS)
@pytest.mark.parametrize("method", ["center", "none"])
def test_both_stems_have_the_form_of_the_mix_and_add_up_to_it(method: Any, name: str) -> None:
    mix = decode(SONGS[name])
    stems = row(Stems(method=method, separate_to="both"), SONGS[name])
    assert list(stems) == ["vocals", "backing"]
    for stem in stems.values():
        assert stem.samples.shape == mix.samples.shape and stem.sample_rate == mix.sample_rate
        assert stem.codec.startswith("flac/")
    vocals, backing = stems["vocals"].samples, stems["backing"].samples
    unclipped = np.maximum(np.abs(vocals), np.abs(backing)) < 0.99
    assert np.abs(vocals + backing - mix.samples)[unclipped].max() < 2.1 / 2**15


@pytest.mark.parametrize(("subtype", "codec"), [("PCM_16", "flac/pcm_16"), ("PCM_24", "flac/pcm_24")])
def test_an_a_cappella_song_is_its_own_voice_without_loss(subtype: str, codec: str) -> None:
    data = wave_file(noise(1, 44_100, 2), 44_100, subtype)
    stems = row(Stems(method="none", separate_to="both"), data)
    assert stems["vocals"].codec == codec
    assert np.array_equal(stems["vocals"].samples, decode(data).samples)
    assert not stems["backing"].samples.any()


@pytest.mark.parametrize(("wanted", "names"), [("vocals", ["vocals"]), ("backing", ["backing"])])
def test_only_the_stems_that_are_asked_for_are_columns(wanted: Any, names: list[str]) -> None:
    stage = Stems(separate_to=wanted)
    assert [c.name for c in stage.columns()] == names
    both = row(Stems(separate_to="both"), SONGS["mono"])
    found = row(stage, SONGS["mono"])
    assert list(found) == names and np.array_equal(found[names[0]].samples, both[names[0]].samples)


@pytest.mark.parametrize("name", SONGS)
def test_a_denoised_song_has_the_form_of_the_song(name: str) -> None:
    mix, cleaned = decode(SONGS[name]), row(Denoise(), SONGS[name])["audio"]
    assert cleaned.samples.shape == mix.samples.shape
    assert (cleaned.sample_rate, cleaned.codec) == (mix.sample_rate, "flac/pcm_16")


@pytest.mark.parametrize("stage", [Stems(), Stems(method="none"), Denoise()], ids=["center", "none", "denoise"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_song_is_a_row_error_with_its_reason(stage: Stems | Denoise, name: str) -> None:
    data, message = BAD[name]
    (outcome,) = stage.process([song(data)], stage.setup())
    assert isinstance(outcome, RowError) and message in str(outcome)


@pytest.mark.parametrize("stage", [Stems(), Denoise()], ids=["stems", "denoise"])
def test_a_burst_is_where_it_was(stage: Stems | Denoise) -> None:
    times_s = np.arange(5 * 24_000) / 24_000
    mix = np.zeros((len(times_s), 2), np.float32)
    for centre_s in BURSTS_S:
        inside = np.abs(times_s - centre_s) < 0.01
        mix += (0.5 * inside * np.sin(2000 * np.pi * (times_s - centre_s)))[:, None].astype(np.float32)
    (found,) = row(stage, encode(mix, 24_000, "FLAC")).values()
    for centre_s in BURSTS_S:
        near = np.abs(times_s - centre_s) < 0.3
        power = found.samples[near, 0].astype(np.float64) ** 2
        assert abs(np.average(times_s[near], weights=power) - centre_s) < 0.001
        assert np.sqrt(power.sum() / (mix[near, 0] ** 2).sum()) > 0.9


@pytest.mark.skipif(find_spec("demucs") is None, reason="the extra `stems` is not installed")
def test_demucs_stems_have_the_form_of_the_mix(tmp_path: Path) -> None:
    import json

    import torch
    from demucs.hdemucs import HDemucs
    from safetensors.torch import save_file

    arguments = {"channels": 8, "samplerate": 8_000, "segment": 1}
    torch.manual_seed(0)
    network = HDemucs(["other", "vocals"], **arguments)
    told = {"klass": "demucs.hdemucs.HDemucs", "args": '[["other", "vocals"]]', "kwargs": json.dumps(arguments)}
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp_path / "model.safetensors", told)
    stage = Stems(method="demucs", model=str(tmp_path), separate_to="both", device="cpu")
    assert stage.models() == {"model": str(tmp_path)}
    for name in ("0.3 s", "8 kHz", "one sample"):
        mix, stems = decode(SONGS[name]), row(stage, SONGS[name])
        assert stems["vocals"].samples.shape == stems["backing"].samples.shape == mix.samples.shape


@pytest.mark.skipif(find_spec("pymss_core") is None, reason="the extra `roformer` is not installed")
def test_roformer_stems_have_the_form_of_the_mix(tmp_path: Path) -> None:
    stage = Stems(method="roformer", model=save_roformer(tmp_path), separate_to="both", device="cpu")
    for name in ("0.3 s", "8 kHz", "one sample"):
        mix, stems = decode(SONGS[name]), row(stage, SONGS[name])
        assert stems["vocals"].samples.shape == stems["backing"].samples.shape == mix.samples.shape
        assert np.abs(stems["vocals"].samples + stems["backing"].samples - mix.samples).max() < 2.1 / 2**15


def test_a_roformer_has_no_model_by_itself() -> None:
    with pytest.raises(UsageError, match="`method: roformer` needs `model`, the path of its config and weights"):
        Stems(method="roformer")


def test_other_weights_and_another_config_are_another_definition(tmp_path: Path) -> None:
    folder = Path(save_roformer(tmp_path / "model"))

    def definition() -> str | None:
        return graph(f"stages: {{stems: {{method: roformer, model: '{folder}'}}}}").definition("stems")

    first = definition()
    assert first == definition() is not None
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes() + b" ")
    second = definition()
    config = folder / "config_vocals.yaml"
    config.write_text(config.read_text().replace("num_overlap: 2", "num_overlap: 4"))
    assert len({first, second, definition()}) == 3


def graph(text: str = "", **entry: Any) -> Graph:
    return parse_project(text).graph(DatasetEntry("set", name="set", **entry))


def test_they_run_where_they_are_asked_for_or_read_and_nowhere_else() -> None:
    plain = graph()
    assert {"stems", "denoise"} <= {*plain.names}
    assert not {"stems", "denoise"} & {*plain.closure(targets_or_all(plain, ()))}
    assert targets_or_all(plain, ["stems"]) == ["stems"]
    assert "stems" in targets_or_all(asked := graph(separate_to="both"), ())
    assert [c.name for c in asked["stems"].columns] == ["vocals", "backing"]
    separated = graph(voice="stems")
    assert "stems" in separated.closure(["energy"]) and separated.reads("energy") == ("stems.vocals",)
    cleaned = graph("stages: {denoise: {audio: vocals}}", voice="denoised")
    assert cleaned.reads("energy") == ("denoise.audio",)
    assert cleaned.closure(["energy"]) == ["probe", "stems", "denoise", "energy"]


def test_audio_is_streamed_only_where_no_stage_of_the_pass_wants_it_whole() -> None:
    mixed = graph(voice="stems")
    assert mixed.streamed(["probe", "stems"]) == {"index.audio"}
    assert mixed.streamed(["probe", "stems", "energy"]) == {"index.audio"}  # energy wants the whole voice
    assert mixed.streamed(["probe", "stems", "quality"]) == frozenset()
    assert graph("stages: {denoise: {audio: vocals}}").streamed(["stems", "denoise"]) == {"index.audio", "stems.vocals"}


def test_a_voice_that_is_not_stored_is_refused() -> None:
    with pytest.raises(UsageError, match="separate_to: backing stores none; say vocals or both"):
        graph(voice="stems", separate_to="backing")
    with pytest.raises(UsageError, match=r"quality reads stems\.backing, and stems has only vocals"):
        graph_of = Project().graph(DatasetEntry("set"), ["quality.audio=backing"])
        graph_of.check_reads("quality")


@pytest.mark.parametrize("voice", ["stems", "denoised"])
def test_a_voice_that_is_made_is_what_the_other_stages_hear(voice: Any, tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    append_songs(url, [NewSong("song", SONGS["8 kHz"]), NewSong("broken", b"no sound")])
    made = Project().graph(DatasetEntry(url, voice=voice))
    report = process(Dataset(url), made, ["energy"], RunOptions("local"), progress=Progress(1, quiet=True))
    assert report.failed == {}
    address = {"stems": "stems.vocals", "denoised": "denoise.audio"}[voice]
    rows = {r.id: r for r in Dataset(url).partition(0).rows([address, "energy.energy"])}
    heard = Song("song", {"a": rows["song"].values[address]}, {"voice": "a"}).mono("voice")
    rms = np.sqrt(np.mean(heard.astype(np.float64) ** 2))
    assert rms == pytest.approx(np.sqrt(np.mean(rows["song"].values["energy.energy"] ** 2)), rel=0.05)
    assert rows["broken"].errors["energy"].startswith("input: probe: ")
