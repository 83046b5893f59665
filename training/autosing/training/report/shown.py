"""The last look of a run, as data that a page holds, however it was left."""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autosing.page.media import data_uri
from autosing.training.record import LOOK_FACTS
from autosing.training.report.facts import read_json

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Shown:
    """A figure or a sound of the last look: its title and its data as an address, or why there is none."""

    title: str
    data: str
    told: str = ""


@dataclass(frozen=True)
class LastLook:
    """The last look of a run; `step` is None where it is not known."""

    step: int | None
    figures: Sequence[Shown]
    sounds: Sequence[Shown]
    problems: Sequence[str]


def read_look(folder: Path) -> LastLook:
    """Returns what lies in a folder of looks: by its `look.json`, or all pictures and sounds where that is damaged."""
    files = sorted(path.name for path in folder.glob("*"))
    if not files:
        return LastLook(None, [], [], [])
    told, problems = read_json(folder / LOOK_FACTS)
    figures = _entries(told.get("figures"), [name for name in files if name.endswith(".png")])
    sounds = _entries(told.get("sounds"), [name for name in files if name.endswith(".wav")])
    step = told.get("step")
    return LastLook(
        step if type(step) is int else None,
        [_picture(title, folder / name) for title, name in figures],
        [_sound(title, folder / name) for title, name in sounds],
        [f"look: {problem}" for problem in problems],
    )


def _entries(told: object, files: Sequence[str]) -> list[tuple[str, str]]:
    """Returns title and file name of each entry; a name can't lead out of the folder."""
    if not isinstance(told, list):
        return [(name.rpartition(".")[0], name) for name in files]
    entries = [entry for entry in told if isinstance(entry, dict) and isinstance(entry.get("file"), str)]
    return [(str(entry.get("title", entry["file"])), Path(entry["file"]).name) for entry in entries]


def _picture(title: str, path: Path) -> Shown:
    data = path.read_bytes() if path.is_file() else b""
    if not data.startswith(PNG):
        return Shown(title, "", f"{path.name} is {'no picture' if data else 'missing'}")
    return Shown(title, data_uri(data, "image/png"))


def _sound(title: str, path: Path) -> Shown:
    try:
        with wave.open(str(path), "rb") as file:
            seconds, rate_hz = file.getnframes() / file.getframerate(), file.getframerate()
        return Shown(title, data_uri(path.read_bytes(), "audio/wav"), f"{seconds:.1f} s, {rate_hz / 1000:g} kHz")
    except FileNotFoundError:
        return Shown(title, "", f"{path.name} is missing")
    except (OSError, EOFError, wave.Error):
        return Shown(title, "", f"{path.name} is no sound")
