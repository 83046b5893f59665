"""Sounds made of songs by several ways, beside the recordings: means, files, and a page to listen to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from autosing.page.media import contrast, data_uri, mel_png
from autosing.page.render import render_page
from autosing.pipeline.store import Store
from autosing.signal.decode import encode
from autosing.signal.mel import MelSpec, log_mel
from autosing.training.look import file_names

FOLDER = Path(__file__).parent / "listening"
RECORDING = "recording"
# What is drawn and compared, whatever the ways' own rate is.
SPEC = MelSpec()

Wave = npt.NDArray[np.float32]
Figures = Mapping[str, float]


@dataclass(frozen=True)
class Measure:
    """A figure: its key, what it is called, what it means, and its decimals."""

    key: str
    title: str
    meaning: str
    digits: int = 3

    def shown(self, figures: Figures) -> str:
        """Returns the figure, a dash where there is none."""
        value = figures.get(self.key, float("nan"))
        return f"{value:.{self.digits}f}" if value == value else "-"


@dataclass(frozen=True)
class Made:
    """A song by one way: its wave at `SPEC.sample_rate` and its figures; or why there is none."""

    wave: Wave
    figures: Figures
    error: str = ""


@dataclass(frozen=True)
class Heard:
    """A song: its recording at `SPEC.sample_rate`, empty where there is none, and what each way made."""

    id: str
    voice: Wave
    made: Sequence[Made]


@dataclass(frozen=True)
class Table:
    """A table of the page: its title, what it tells, the names of its columns, and rows that begin with a name."""

    title: str
    told: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Listening:
    """What a page tells.

    Attributes:
        command: what made it.
        name: of what was heard.
        told: of the means.
        measures: of the means and of each song.
        ways: their names.
        means: the figures of each.
        songs: what is heard.
        seconds: at most so much of each song is on the page.
        tables: further ones.
        charts: title and drawing of each.
    """

    command: str
    name: str
    told: str
    measures: Sequence[Measure]
    ways: Sequence[str]
    means: Mapping[str, Figures]
    songs: Sequence[Heard]
    seconds: float
    tables: Sequence[Table] = ()
    charts: Sequence[tuple[str, Markup]] = field(default_factory=tuple)

    def lines(self) -> list[str]:
        """Returns the means as a table for a terminal."""
        width = max(len(way) for way in self.ways)
        widths = [max(len(measure.title), 7) for measure in self.measures]
        rows = [["", *(measure.title for measure in self.measures)]]
        rows += [[way, *self._cells(self.means[way])] for way in self.ways]
        return [
            "  ".join([row[0].ljust(width), *(cell.rjust(w) for cell, w in zip(row[1:], widths, strict=True))])
            for row in rows
        ]

    def write(self, out: Path) -> Path:
        """Writes every sound, whole, and the page; returns the page."""
        self._write_sounds(out)
        page = out / "index.html"
        with Store(str(out)).writing(page.name) as draft:
            draft.write_text(render_page(FOLDER, self._content()), "utf-8")
        return page

    def _write_sounds(self, out: Path) -> None:
        """Writes FLAC under names that no id can lead astray."""
        ways = (RECORDING, *self.ways)
        names = file_names([f"{song.id} {way}" for song in self.songs for way in ways])
        for song in self.songs:
            for way, wave in zip(ways, (song.voice, *(one.wave for one in song.made)), strict=True):
                if len(wave):
                    content = encode(np.clip(wave, -1, 1)[:, None], SPEC.sample_rate, "FLAC")
                    (out / f"{names[f'{song.id} {way}']}.flac").write_bytes(content)

    def _content(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "name": self.name,
            "told": self.told,
            "seconds": self.seconds,
            "measures": [(measure.title, measure.meaning) for measure in self.measures],
            "means": [(way, self._cells(self.means[way])) for way in self.ways],
            "tables": self.tables,
            "charts": self.charts,
            "songs": [(song.id, self._song(song)) for song in self.songs],
        }

    def _song(self, song: Heard) -> list[dict[str, Any]]:
        made = list(zip(self.ways, song.made, strict=True))
        shown = [(RECORDING, Made(song.voice, {})), *made] if len(song.voice) else made
        low, high = contrast(_mel(shown[0][1].wave, self.seconds))
        return [self._way(name, made, low, high) for name, made in shown]

    def _way(self, name: str, made: Made, low: float, high: float) -> dict[str, Any]:
        wave = made.wave[: round(self.seconds * SPEC.sample_rate)]
        if len(wave) < SPEC.hop:
            return {"name": name, "error": made.error or "silent", "cells": [], "sound": "", "picture": ""}
        wav = encode(np.clip(wave, -1, 1)[:, None], SPEC.sample_rate, "WAV")
        return {
            "name": name,
            "error": made.error,
            "cells": [(m.title, m.meaning, m.shown(made.figures)) for m in self.measures if m.key in made.figures],
            "sound": data_uri(wav, "audio/wav"),
            "picture": data_uri(mel_png(_mel(wave, self.seconds), low, high), "image/png"),
        }

    def _cells(self, figures: Figures) -> list[str]:
        return [measure.shown(figures) for measure in self.measures]


def means_of(ways: Sequence[str], measures: Sequence[Measure], songs: Sequence[Heard]) -> dict[str, dict[str, float]]:
    """Returns the mean of each figure of each way, over the songs that have it."""
    means: dict[str, dict[str, float]] = {}
    for n, way in enumerate(ways):
        rows = [song.made[n].figures for song in songs if song.made[n].figures]
        measured = {m.key: [row[m.key] for row in rows if m.key in row and row[m.key] == row[m.key]] for m in measures}
        means[way] = {key: float(np.mean(values)) for key, values in measured.items() if values}
    return means


def write_figures(out: Path, ways: Mapping[str, Any], means: Mapping[str, Figures], songs: Sequence[Heard]) -> None:
    """Writes `figures.json`: the ways under the name of what they are, their means, and the figures of each song."""
    told = {**ways, "means": means, "songs": {song.id: [made.figures for made in song.made] for song in songs}}
    (out / "figures.json").write_text(json.dumps(told, indent=1), "utf-8")


def _mel(wave: Wave, seconds: float) -> npt.NDArray[np.float32]:
    part = wave[: round(seconds * SPEC.sample_rate)]
    return log_mel(part, SPEC, max(len(part) // SPEC.hop, 1))
