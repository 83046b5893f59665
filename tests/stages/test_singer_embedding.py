"""The `singer_embedding` stage: without weights, with a tiny checkpoint, and with what `train singer` made."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from wave_checkpoints import TDNN, save_checkpoint

from autosing.models.directory import load_model
from autosing.models.singer import embedding_of
from autosing.pipeline.construct.inputs import NamedDataset
from autosing.pipeline.construct.sample import SAMPLES, SampleSpec
from autosing.pipeline.construct.shards import construct_dataset
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.graph import Graph
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, parse_project
from autosing.pipeline.song import Song
from autosing.pipeline.stages.mel import Mel
from autosing.pipeline.stages.singer_embedding import SingerEmbedding
from autosing.signal.decode import encode
from autosing.signal.errors import CheckpointError, RowError, UsageError
from autosing.signal.framing import centres_s, frames
from autosing.signal.singer import Song as SyntheticSong
from autosing.signal.singer import song
from autosing.signal.voice import voices
from autosing.signal.voice_activity import RATE
from autosing.training.metrics import auroc
from autosing.training.run import train

HZ = 16_000
ACTIVITY = "voice_activity.voice_activity"
Save = Callable[..., str]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("xvector"), "WavLM", "ForXVector", normalises=True)


def embedded(stage: SingerEmbedding, wave: npt.NDArray[np.float32], sung: Any = 1) -> Any:
    """Returns the stored vector of a wave at 16 kHz, of which `sung` says where somebody sings."""
    activity = np.broadcast_to(np.asarray(sung, np.uint8), (frames(len(wave), HZ, RATE),))
    row = Song("a", {"index.audio": encode(wave, HZ, "FLAC"), ACTIVITY: activity}, {"voice": "index.audio"})
    (outcome,) = stage.process([row], stage.setup())
    assert isinstance(outcome, dict), outcome
    (column,) = stage.columns()
    return column.canonical(outcome["singer_embedding"])


def in_words(made: SyntheticSong) -> npt.NDArray[np.bool_]:
    times_s = centres_s(frames(len(made.wave), HZ, RATE), RATE)
    return np.any([(times_s >= start_s) & (times_s < end_s) for start_s, end_s, _ in made.sung.words], axis=0)


def apart(one: Any, other: Any) -> float:
    return float(np.linalg.norm(np.subtract(one, other)))


def test_statistics_tell_voices_apart() -> None:
    takes = [(n, song(1000 * take + n, voice, 15.0, None, HZ)) for take in (0, 1) for n, voice in enumerate(voices(5))]
    found = [embedded(SingerEmbedding(), made.wave, in_words(made)) for _, made in takes]
    pairs = list(itertools.combinations(range(len(takes)), 2))
    is_same = np.array([takes[a][0] == takes[b][0] for a, b in pairs])
    assert auroc(-np.array([apart(found[a], found[b]) for a, b in pairs]), is_same) > 0.8


@pytest.mark.parametrize("name", ["statistics", "checkpoint"])
def test_what_nobody_sings_in_changes_nothing(name: str, checkpoint: Path) -> None:
    stage = SingerEmbedding(model=str(checkpoint) if name == "checkpoint" else name)
    voice = song(1, voices(1)[0], 3.0, None, HZ).wave
    silent = np.zeros(2 * HZ, np.float32)
    is_sung = np.repeat([1, 0], [frames(len(voice), HZ, RATE), frames(len(silent), HZ, RATE)])
    behind = np.concatenate([voice, silent + np.float32(0.3) * np.sin(np.arange(len(silent)), dtype=np.float32)])
    assert apart(embedded(stage, voice), embedded(stage, behind, is_sung)) < 0.1


@pytest.mark.parametrize("name", ["statistics", "checkpoint"])
def test_nobody_and_hardly_anybody_have_no_embedding(name: str, checkpoint: Path) -> None:
    stage = SingerEmbedding(model=str(checkpoint) if name == "checkpoint" else name)
    wave = song(1, voices(1)[0], 2.0, None, HZ).wave
    assert embedded(stage, wave, 0) is None
    assert embedded(stage, wave[: HZ // 4]) is None


def test_a_model_gives_vectors_of_length_one_and_silence_gives_it_none(checkpoint: Path) -> None:
    stage = SingerEmbedding(model=str(checkpoint), piece_s=1, most_pieces=2)
    vector = embedded(stage, song(1, voices(1)[0], 5.0, None, HZ).wave)
    assert len(vector) == TDNN["xvector_output_dim"] and np.linalg.norm(vector) == pytest.approx(1)
    assert embedded(stage, np.zeros(2 * HZ, np.float32)) is None


def test_settings_and_checkpoints_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"piece_s 0\.1"):
        SingerEmbedding(piece_s=0.1)
    with pytest.raises(UsageError, match="most_pieces 0"):
        SingerEmbedding(most_pieces=0)
    with pytest.raises(UsageError, match="neither a folder nor"):
        SingerEmbedding(model=str(tmp_path / "nothing")).columns()


def mel_of(wave: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Returns the stored mel of a wave at 16 kHz."""
    both = dict.fromkeys(("voice", "mix"), "index.audio")
    (outcome,) = Mel().process([Song("a", {"index.audio": encode(wave, HZ, "FLAC")}, both)], None)
    assert isinstance(outcome, dict), outcome
    return np.asarray(outcome["mel"], np.float16)


def in_mels(stage: SingerEmbedding, wave: npt.NDArray[np.float32], sung: Any = 1) -> Any:
    """Returns the stored vector of a wave at 16 kHz, by way of its mel."""
    activity = np.broadcast_to(np.asarray(sung, np.uint8), (frames(len(wave), HZ, RATE),))
    (outcome,) = stage.process([Song("a", {ACTIVITY: activity, "mel.mel": mel_of(wave)}, {})], stage.setup())
    assert isinstance(outcome, dict), outcome
    (column,) = stage.columns()
    return column.canonical(outcome["singer_embedding"])


def test_a_trained_model_hears_mels_where_somebody_sings_and_its_pieces_have_a_mean(
    tmp_path: Path, save_singer: Save
) -> None:
    stage = SingerEmbedding(model=save_singer(tmp_path / "model", 0), piece_s=2, most_pieces=9)
    assert stage.reads() == (ACTIVITY, "mel.mel") and stage.audio_read() is None
    wave = np.tile(song(2, voices(1)[0], 6.0, None, HZ).wave[HZ : 4 * HZ], 2)
    is_sung = np.repeat([1, 0, 1], [100, 60, frames(len(wave), HZ, RATE) - 160])
    found = in_mels(stage, wave, is_sung)
    assert len(found) == 8 and np.linalg.norm(found) == pytest.approx(1)
    mel = mel_of(wave)
    # Frames whose centres lie in what is sung: the first two seconds, and all behind 3.2.
    times_s = (np.arange(len(mel)) + 0.5) / 93.75
    kept = mel[(times_s < 2) | (times_s >= 3.2)]
    network: Any = load_model(stage.model).model
    pieces = [embedding_of(network, piece) for piece in np.array_split(kept, 2)]
    expected = np.mean(pieces, axis=0) / np.linalg.norm(np.mean(pieces, axis=0))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_trained_model_tells_nothing_of_nobody(tmp_path: Path, save_singer: Save) -> None:
    stage = SingerEmbedding(model=save_singer(tmp_path / "model", 0))
    wave = song(1, voices(1)[0], 2.0, None, HZ).wave
    assert in_mels(stage, wave, 0) is None
    assert in_mels(stage, wave[: HZ // 4]) is None
    assert in_mels(stage, np.zeros(2 * HZ, np.float32)) is None
    assert in_mels(stage, wave[:1]) is None
    silent = np.zeros(2 * HZ, np.float32)
    is_sung = np.repeat([1, 0], [frames(len(wave), HZ, RATE), frames(len(silent), HZ, RATE)])
    noise = np.concatenate([wave, silent + np.float32(0.3) * np.sin(np.arange(len(silent)), dtype=np.float32)])
    assert apart(in_mels(stage, wave), in_mels(stage, noise, is_sung)) < 0.1


def test_frames_of_another_width_are_an_error_of_the_song_alone(tmp_path: Path, save_singer: Save) -> None:
    stage = SingerEmbedding(model=save_singer(tmp_path / "model", 0))
    mel = np.random.default_rng(0).standard_normal((188, 80)).astype(np.float16)
    (outcome,) = stage.process([Song("a", {ACTIVITY: np.ones(100, np.uint8), "mel.mel": mel}, {})], stage.setup())
    assert isinstance(outcome, RowError) and "(188, 80) do not fit a model of width 100" in str(outcome)


def graph_of(settings: str, *overrides: str, url: str = "set") -> Graph:
    return parse_project(settings).graph(DatasetEntry(url), overrides)


def test_the_mel_that_a_model_learned_from_is_the_one_that_it_hears(tmp_path: Path, save_singer: Save) -> None:
    model = f"singer_embedding.model={save_singer(tmp_path / 'model', 0)}"
    graph_of("{}", model).check_reads("singer_embedding")
    graph_of("stages: {mel: {audio: mix}}", model).check_reads("singer_embedding")
    with pytest.raises(
        CheckpointError, match=r"the model of singer_embedding was trained with spec\.hop = 256, .* 320 "
    ):
        graph_of("stages: {mel: {spec: {hop: 320}}}", model).check_reads("singer_embedding")
    other = "stages: {mel: {spec: {hop: 320}}, mel.fine: {}}"
    graph = graph_of(other, model, "singer_embedding.source=mel.fine")
    graph.check_reads("singer_embedding")
    assert graph.inputs("singer_embedding") == ["voice_activity", "mel.fine"]
    silent = Path(save_singer(tmp_path / "silent", 0), "config.json")
    silent.write_text(json.dumps({**json.loads(silent.read_text()), "contract": {}}))
    with pytest.raises(CheckpointError, match="does not tell how the frames were made"):
        graph_of("{}", f"singer_embedding.model={silent.parent}").check_reads("singer_embedding")


def test_features_are_those_of_the_same_encoder_wherever_it_lies(
    tmp_path: Path, save_singer: Save, checkpoint: Path
) -> None:
    learned = {"model": "mfcc", "layers": [], "audio": "voice", "window_s": 30, "context_s": 2, "within": ""}
    model = f"singer_embedding.model={save_singer(tmp_path / 'model', 0, learned, 'ssl.plain')}"
    stages = "stages: {ssl.plain: {}, ssl.log: {model: log_mel}}"
    with pytest.raises(CheckpointError, match=r"trained with model = 'mfcc', but it is 'log_mel' here"):
        graph_of(stages, model, "singer_embedding.source=ssl.log").check_reads("singer_embedding")
    graph = graph_of(stages, model)
    graph.check_reads("singer_embedding")
    assert graph.reads("singer_embedding")[:2] == (ACTIVITY, "ssl.ssl")


def test_what_is_trained_becomes_a_column_that_conversion_is_trained_with(tmp_path: Path) -> None:
    url = str(tmp_path / "songs")
    sung = SyntheticSource(12, 4.0, 0, 3).songs()
    append_songs(url, [NewSong(one.id, one.audio, one.text) for one in sung])
    dataset, quiet = Dataset(url), Progress(0, quiet=True)
    graph = graph_of("{}", "units.k=8", url=url)
    process(dataset, graph, ["mel", "units", "f0", "energy", "voice_activity"], RunOptions("local"), progress=quiet)
    named = [NamedDataset("set", dataset)]
    of_singers = replace(SAMPLES["singer"], cuts=None, group="song", valid_songs=6)
    construct_dataset(named, str(tmp_path / "first"), of_singers)
    often = ["steps=1", "size=tiny", "seconds_per_batch=8", "warmup_steps=0"]
    run = train("singer", tmp_path / "first", tmp_path / "singer", [*often, "validate_samples=6"])
    graph = graph_of("{}", "units.k=8", f"singer_embedding.model={run.model}", url=url)
    report = process(dataset, graph, ["singer_embedding"], RunOptions("local"), progress=quiet)
    assert report.exit_code == 0 and not report.failed
    columns = {
        **SAMPLES["svc"].columns,
        "units": "units.units",
        "singer_embedding": "singer_embedding.singer_embedding",
    }
    del columns["soft_units"]
    construct_dataset(named, str(tmp_path / "second"), SampleSpec("svc", columns, cuts=None, valid_songs=2))
    settings = [*often, "content=units", "n_tokens=8", "singer=embedding", "valid_steps=1", "crop_s=1"]
    converted = train("svc", tmp_path / "second", tmp_path / "svc", settings)
    model: Any = load_model(converted.model or "").model
    assert model.fields.embedding_dim == 96
