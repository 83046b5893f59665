"""The `singer_embedding` stage, without weights and with a tiny checkpoint."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from wave_checkpoints import TDNN, save_checkpoint

from autosing.pipeline.song import Song
from autosing.pipeline.stages.singer_embedding import SingerEmbedding
from autosing.signal.decode import encode
from autosing.signal.errors import UsageError
from autosing.signal.framing import centres_s, frames
from autosing.signal.singer import Song as SyntheticSong
from autosing.signal.singer import song
from autosing.signal.voice import voices
from autosing.signal.voice_activity import RATE
from autosing.training.metrics import auroc

HZ = 16_000
ACTIVITY = "voice_activity.voice_activity"


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
