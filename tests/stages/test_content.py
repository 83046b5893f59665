"""The `content` stage by an encoder that hears sound: exact lengths, the same in any company, and no `ssl` needed."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from wave_checkpoints import save_checkpoint, save_wave_content

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row
from autosing.pipeline.stages.content import ContentStage
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import frames
from autosing.signal.ssl import RATE

Wave = npt.NDArray[np.float32]
HZ = 16_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models")
    return save_wave_content(folder / "model", save_checkpoint(folder / "hubert", "Hubert", "Model"))


def song(wave: Wave, sample_rate: int = HZ) -> Song:
    encoded = io.BytesIO()
    soundfile.write(encoded, wave, sample_rate, format="WAV", subtype="FLOAT")
    return Song("a", {"index.audio": encoded.getvalue()}, {"voice": "index.audio", "mix": "index.audio"})


def noise(seconds: float, seed: int = 0, sample_rate: int = HZ) -> Wave:
    made = np.random.default_rng(seed).normal(size=max(round(seconds * sample_rate), 1))
    return (0.05 * made).astype(np.float32)


def heard(stage: ContentStage, songs: Sequence[Song]) -> list[Row]:
    rows = stage.process(songs, stage.setup())
    found: list[Row] = []
    for row in rows:
        assert not isinstance(row, RowError)
        found.append({column.name: column.canonical(row[column.name]) for column in stage.columns()})
    return found


@pytest.mark.parametrize("sample_rate", [HZ, 11_025])
def test_frame_counts_are_exact_for_every_length(sample_rate: int, model: str) -> None:
    stage = ContentStage(model=model, window_s=2, context_s=0.2)
    waves = [noise(seconds, 0, sample_rate) for seconds in (0, 0.0099, 0.01, 0.025, 0.5, 1.99, 2, 2.02, 3.41, 5.005)]
    for wave, row in zip(waves, heard(stage, [song(w, sample_rate) for w in waves]), strict=True):
        n_frames = frames(len(wave), sample_rate, RATE)
        assert {name: value.shape for name, value in row.items()} == {
            "soft_units": (n_frames, 12),
            **dict.fromkeys(("pitch_bin", "f0_hz", "voiced", "dynamic_bin"), (n_frames,)),
        }


def test_songs_in_a_batch_get_what_they_get_alone(model: str) -> None:
    stage = ContentStage(model=model, window_s=2, context_s=0.2)
    songs = [song(wave) for wave in (noise(4, 1), 9 * noise(1, 2), noise(1, 3), noise(2.5, 4))]
    for one, together in zip(songs, heard(stage, songs), strict=True):
        (alone,) = heard(stage, [one])
        assert all(np.array_equal(alone[name], value) for name, value in together.items())


def test_it_is_computed_from_the_voice_alone_and_anew_where_the_model_changes(model: str, tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    append_songs(url, SyntheticSource(2, 2.0).songs())

    def run(*settings: str) -> RunReport:
        graph = Project().graph(DatasetEntry(url), settings)
        return process(Dataset(url), graph, ["content"], RunOptions("local"), progress=Progress(0, quiet=True))

    report = run(f"content.model={model}")
    assert sorted(report.instances) == ["content", "probe"] and report.instances["content"].own_errors == 0
    assert run(f"content.model={model}").tasks == 0
    other = save_wave_content(tmp_path / "other", save_checkpoint(tmp_path / "hubert", "Hubert", "Model"), seed=1)
    assert sorted(run(f"content.model={other}").instances) == ["content"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": ""}, r"content: model is missing; give what `autosing train soft_units`"),
        ({"windows_per_batch": 0}, "windows_per_batch is 0; give 1 or more"),
        ({"window_s": 4}, "a window of 4 s with 2 s of context"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ContentStage(**settings).columns()


def test_a_model_of_another_kind_is_told(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "hubert", "Hubert", "Model")
    with pytest.raises(
        UsageError, match=r"is no content encoder but a 'hubert'; give what `autosing train soft_units`"
    ):
        ContentStage(model=str(checkpoint)).columns()
