"""The record of a run: scalars in `log.jsonl` and TensorBoard, the newest look in `look/`, all looks in TensorBoard."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from autosing.models.folder import recover_folder, whole_folder, write_whole
from autosing.training.look import Look, Sound, file_names, pixels, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What lies in the folder of a run, besides its states.
RUN, LOG, MODEL = "run.json", "log.jsonl", "model"
BOARD = "tensorboard"
LOOK, LOOK_FACTS = "look", "look.json"
# TensorBoard's player needs a sound of at least so many samples.
FEWEST_SAMPLES = 2


class Record:
    """Writes what a run says of itself; on resuming, what it said of steps that were lost is removed first.

    Args:
        folder: of the run.
        step: the step that the run goes on from.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._log, self._look = folder / LOG, folder / LOOK
        kept = [line for line in logged(self._log) if line["step"] <= step]
        write_whole(self._log, "".join(json.dumps(line) + "\n" for line in kept))
        recover_folder(self._look)
        if _look_step(self._look) > step:
            shutil.rmtree(self._look)
        self._board = SummaryWriter(str(folder / BOARD), purge_step=step + 1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one line of named values, named like `train/mel_l1`."""
        with open(self._log, "a") as log:
            log.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def look(self, step: int, look: Look) -> None:
        """Adds figures and sounds to TensorBoard, and makes them the content of `look/`; an empty look changes nothing.

        `look/look.json` says the step, and title and file of each figure (PNG) and sound (WAV of 16 bits).
        """
        if not look:
            return
        with whole_folder(self._look) as draft:
            figures = [self._figure(step, draft, *entry) for entry in _named(look.figures)]
            sounds = [self._sound(step, draft, *entry) for entry in _named(look.sounds)]
            facts = {"step": step, "figures": figures, "sounds": sounds}
            (draft / LOOK_FACTS).write_text(json.dumps(facts, indent=1) + "\n")

    def _figure(self, step: int, folder: Path, title: str, name: str, figure: "Figure") -> dict[str, Any]:
        image = pixels(figure)
        (folder / f"{name}.png").write_bytes(png(image))
        self._board.add_image(f"look/{title}", image, step, dataformats="HWC")
        return {"title": title, "file": f"{name}.png"}

    def _sound(self, step: int, folder: Path, title: str, name: str, sound: Sound) -> dict[str, Any]:
        import torch

        (folder / f"{name}.wav").write_bytes(sound.wav())
        samples = np.pad(sound.clipped(), (0, max(FEWEST_SAMPLES - len(sound.samples), 0)))
        self._board.add_audio(f"sound/{title}", torch.from_numpy(samples), step, sound.sample_rate_hz)
        return {"title": title, "file": f"{name}.wav", "seconds": sound.seconds}

    def __enter__(self) -> "Record":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()


def logged(log: Path) -> list[dict[str, Any]]:
    """Returns the lines of a log that are whole; what a dying process or a power cut left of others is none."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return [line for told in text.splitlines(keepends=True) if told.endswith("\n") and (line := _line(told))]


def _line(told: str) -> dict[str, Any] | None:
    try:
        line = json.loads(told)
        return line if isinstance(line["step"], int) else None
    except (ValueError, KeyError, TypeError):
        return None


def last_metrics(folder: Path, step: int) -> dict[str, float]:
    """Returns the metrics of the last validation in a run's log, not after a step; empty if there was none."""
    told = [line for line in logged(folder / LOG) if line["step"] <= step]
    found = [{n: v for n, v in line.items() if n.startswith("valid/")} for line in told]
    return next((metrics for metrics in reversed(found) if metrics), {})


def _named(shown: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Returns title, file name without ending, and what it names."""
    names = file_names(shown)
    return [(title, names[title], value) for title, value in shown.items()]


def _look_step(folder: Path) -> int:
    """Returns the step of the look in a folder; -1 where none is told."""
    try:
        return int(json.loads((folder / LOOK_FACTS).read_text())["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1
