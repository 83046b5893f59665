"""The songs that `autosing sing` left in a folder: their sounds, and what they were made with."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosing.evaluation.heard import SPEC, Wave
from autosing.signal.decode import decode, to_mono
from autosing.signal.errors import AutosingError, UsageError
from autosing.signal.resample import resample
from autosing.sounds.mixes import Separator
from autosing.sounds.outputs import SUFFIXES, sidecar_of
from autosing.synthesis.singing.takes import line_borders

MOST_BYTES = 64 << 20
NEEDED = ("lyrics", "takes", "length_s", "per_second", "realtime_factors", "singers")


@dataclass(frozen=True)
class SungSong:
    """A sung song.

    Attributes:
        name: of its file in the folder.
        path: of the sound.
        facts: that lie beside it.
    """

    name: str
    path: Path
    facts: Mapping[str, Any]

    @property
    def voice(self) -> Wave:
        """The voice (T,) at `SPEC.sample_rate`: of the stem, where there is one."""
        stem = self.path.with_name(f"{self.path.stem}.vocals{self.path.suffix}")
        return _wave(stem if self.has_backing else self.path)

    @property
    def whole(self) -> Wave:
        """What is heard (T,) at `SPEC.sample_rate`."""
        return _wave(self.path)

    @property
    def has_backing(self) -> bool:
        """Whether the voice lies beside the sound."""
        return "mix" in self.facts

    @property
    def lines(self) -> list[str]:
        """The lyrics, without lines that were left out."""
        sung = [line for window in self.facts["windows"] for line in window["lines"]]
        return [str(line) for line in self.facts["lyrics"][: 1 + max(sung, default=-1)]]

    @property
    def borders(self) -> list[tuple[float, int]]:
        """Where a song of many minutes may be taken apart, as `Judge.judge` wants it."""
        return line_borders((window["start_s"], window["lines"]) for window in self.facts["windows"])

    def model_voice(self, separator: Separator | None) -> Wave | None:
        """Returns whose voice it should be (T,): of the recording that was named, or of the reference, taken apart.

        None where singers are known by name, or the recording is not there.
        """
        singers = self.facts["singers"]
        name = next(iter(singers), "") if isinstance(singers, dict) and len(singers) == 1 else ""
        path = Path(name)
        if not name or not path.is_file():
            return None
        if name != self.facts.get("sources", {}).get("reference"):
            return _wave(path)
        if separator is None:
            return None
        voice = separator.parts(path.read_bytes()).voice.mono.audio()
        return resample(voice.samples[:, 0], voice.sample_rate, SPEC.sample_rate)


def find_songs(folder: Path) -> list[SungSong]:
    """Returns the songs of a folder and of all below it, by name.

    Raises:
        UsageError: there is none.
    """
    found = list(_songs(folder)) if folder.is_dir() else []
    if not found:
        raise UsageError(f"{folder} holds no song that `autosing sing` made, with its .json beside it; give one")
    return found


def _songs(folder: Path) -> Iterator[SungSong]:
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        beside = sidecar_of(path)
        if not beside.is_file() or beside.stat().st_size > MOST_BYTES:
            continue
        try:
            facts = json.loads(beside.read_text("utf-8"))
        except ValueError:
            continue
        if isinstance(facts, dict) and all(name in facts for name in (*NEEDED, "windows")):
            yield SungSong(str(path.relative_to(folder)), path, facts)


def _wave(path: Path) -> Wave:
    try:
        audio = decode(path.read_bytes())
    except (OSError, AutosingError) as error:
        raise UsageError(f"{path}: {error}") from error
    return resample(to_mono(audio.samples), audio.sample_rate, SPEC.sample_rate)
