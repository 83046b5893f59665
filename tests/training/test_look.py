"""What a validation shows arrives whole: as files beside the log, and in TensorBoard."""

import io
import json
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from autosing.training.look import Look, Sound, file_names, pixels
from autosing.training.pictures import mel_figure
from autosing.training.record import Record

RATE_HZ = 8_000


def tone(n_samples: int = 800, amplitude: float = 0.5) -> Sound:
    samples = amplitude * np.sin(2 * np.pi * 440 * np.arange(n_samples) / RATE_HZ)
    return Sound(samples.astype(np.float32), RATE_HZ)


def read_wav(data: bytes) -> tuple[npt.NDArray[np.int16], int]:
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


def figure(level: float = 0.0) -> Any:
    return mel_figure({"target": np.full((20, 8), level), "prediction": np.eye(20, 8)}, 10.0)


def facts(run: Path) -> Mapping[str, Any]:
    told: Mapping[str, Any] = json.loads((run / "look/look.json").read_text())
    return told


def test_a_sound_becomes_its_samples_in_16_bits() -> None:
    samples, rate_hz = read_wav(tone().wav())
    assert rate_hz == RATE_HZ
    assert np.abs(samples / 32_767 - tone().samples).max() <= 0.5 / 32_767 + 1e-7
    assert tone().seconds == 0.1


def test_what_is_too_loud_is_clipped_and_what_is_no_number_is_silent() -> None:
    sound = Sound(np.array([2.0, -3.0, np.nan, np.inf, -np.inf, 0.5], np.float32), RATE_HZ)
    assert read_wav(sound.wav())[0].tolist() == [32_767, -32_767, 0, 32_767, -32_767, 16_384]


@pytest.mark.parametrize("shape", [(2, 5), ()])
def test_only_one_channel_is_a_sound(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="give one channel"):
        Sound(np.zeros(shape, np.float32), RATE_HZ)


def test_file_names_are_safe_and_differ() -> None:
    hostile = ["../../etc/passwd", "a/b", "A b", "a_b", ".", "歌", "mel, prediction", "x" * 300]
    names = file_names(hostile)
    assert list(names) == hostile and names["mel, prediction"] == "mel_prediction"
    assert len({name.lower() for name in names.values()}) == len(hostile)
    assert all(name.replace("_", "").replace("-", "").isalnum() and len(name) < 70 for name in names.values())


def test_a_look_is_files_that_its_json_names(tmp_path: Path) -> None:
    sound = tone()
    with Record(tmp_path, 0) as record:
        record.look(7, Look({"mel/free": figure()}, {"target": sound}))
    assert facts(tmp_path) == {
        "step": 7,
        "figures": [{"title": "mel/free", "file": "mel_free.png"}],
        "sounds": [{"title": "target", "file": "target.wav", "seconds": 0.1}],
    }
    assert {path.name for path in (tmp_path / "look").iterdir()} == {"look.json", "mel_free.png", "target.wav"}
    assert np.array_equal(np.asarray(Image.open(tmp_path / "look/mel_free.png")), pixels(figure()))
    assert (tmp_path / "look/target.wav").read_bytes() == sound.wav()


def test_tensorboard_has_every_look_and_the_folder_the_newest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    with Record(tmp_path, 0) as record:
        record.look(
            1, Look({"mel": figure(), "old": figure()}, {"a": tone(amplitude=9.0), "none": tone(0), "one": tone(1)})
        )
        record.look(2, Look({"mel": figure(1.0)}, {"a": tone()}))
    board = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0, "audio": 0}).Reload()
    assert [event.step for event in board.Images("look/mel")] == [1, 2]
    assert [event.step for event in board.Audio("sound/a")] == [1, 2]
    loud = read_wav(board.Audio("sound/a")[0].encoded_audio_string)[0]
    assert loud.max() == 32_767 and loud.min() == -32_767
    shown = Image.open(io.BytesIO(board.Images("look/mel")[1].encoded_image_string))
    assert np.array_equal(np.asarray(shown), pixels(figure(1.0)))
    assert {path.name for path in (tmp_path / "look").iterdir()} == {"look.json", "mel.png", "a.wav"}
    assert "warning" not in capsys.readouterr().out


def test_a_look_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    with Record(tmp_path, 0) as record:
        record.look(1, Look({"mel": figure()}))
        with pytest.raises(AttributeError):
            record.look(2, Look({"mel": figure(), "wrong": "no figure"}))  # type: ignore[dict-item]
        record.look(3, Look())
    assert facts(tmp_path)["step"] == 1 and (tmp_path / "look/mel.png").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", "look", "tensorboard"}


@pytest.mark.parametrize(("step", "kept"), [(10, False), (20, True), (30, True)])
def test_what_was_said_of_lost_steps_is_taken_back(tmp_path: Path, step: int, kept: bool) -> None:
    with Record(tmp_path, 0) as record:
        for logged in (5, 10, 15, 20):
            record.scalars(logged, {"train/x": float(logged)})
        record.look(20, Look({"mel": figure()}))
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"step": 3, "trai')
    with Record(tmp_path, step):
        pass
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [logged for logged in (5, 10, 15, 20) if logged <= step]
    assert (tmp_path / "look").exists() == kept
