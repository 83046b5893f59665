"""A toy graph for tests of plan and run: cheap stages whose results are easy to foresee."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from autosing.pipeline.graph import Graph, Instance
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.schema import Column
from autosing.pipeline.song import AudioName, Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, FitSource, FittedStage, Row, Stage, per_song
from autosing.pipeline.stages.probe import Probe
from autosing.signal.decode import encode
from autosing.signal.errors import RowError
from autosing.signal.framing import frames

RATE = Fraction(10)


@dataclass(frozen=True)
class Level(Stage):
    """Mean absolute level at 10 Hz, times a gain. A killer song takes its process down."""

    gain: float = 1.0
    audio: AudioName = "voice"
    pause_s: float = field(default=0.0, metadata=NOT_IN_DEFINITION)
    killer: str = field(default="", metadata=NOT_IN_DEFINITION)

    def columns(self) -> tuple[Column, ...]:
        return (Column("level", pa.float32(), RATE * 2, unit="linear"),)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, self._level)

    def _level(self, song: Song) -> Row:
        if self.killer and song.id == self.killer:
            os._exit(9)
        time.sleep(self.pause_s)
        n = frames(song.n_samples, song.sample_rate, RATE * 2)
        wave = np.abs(song.mono(self.audio))
        return {"level": np.array([part.mean() if len(part) else 0 for part in np.array_split(wave, n)]) * self.gain}


@dataclass(frozen=True)
class Letters(Stage):
    """Number of characters of the LRC lyrics; none by nature without lyrics."""

    def columns(self) -> tuple[Column, ...]:
        return (Column("letters", pa.int32(), nullable=True),)

    def reads(self) -> tuple[str, ...]:
        return ("index.lrc_lyrics",)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return [{"letters": len(t) if (t := s["index.lrc_lyrics"]) else None} for s in songs]


@dataclass(frozen=True)
class Doubled(Stage):
    """Twice the level of another instance."""

    source: str = "level"

    def columns(self) -> tuple[Column, ...]:
        return (Column("doubled", pa.float32(), RATE * 2),)

    def reads(self) -> tuple[str, ...]:
        return (f"{self.source}.level",)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return [{"doubled": s[f"{self.source}.level"] * 2} for s in songs]


@dataclass(frozen=True)
class AboveMean(FittedStage):
    """Which frames are above the mean level that was fitted on the data set."""

    source: str = "level"
    hours: float = 1.0
    seed: int = 0
    codebook: str = field(default="", metadata=NOT_IN_DEFINITION)

    @property
    def artefact(self) -> str:
        return self.codebook

    def fit_settings(self) -> dict[str, Any]:
        return {"hours": self.hours, "seed": self.seed}

    def fit(self, songs: FitSource, folder: Path) -> None:
        levels = np.concatenate(list(songs.series(f"{self.source}.level")))
        (folder / "mean.txt").write_text(repr(float(levels.mean())))

    def models(self) -> dict[str, str]:
        return {"codebook": self.codebook}

    def columns(self) -> tuple[Column, ...]:
        return (Column("above", pa.uint8(), RATE * 2),)

    def reads(self) -> tuple[str, ...]:
        return (f"{self.source}.level",)

    def setup(self) -> float:
        return float((Path(self.codebook) / "mean.txt").read_text())

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return [{"above": (s[f"{self.source}.level"] > model).astype(np.uint8)} for s in songs]


def toy_graph(url: str, keep_level: bool = True, **settings: Any) -> Graph:
    """Returns probe, letters, level -> doubled, level -> above (fitted in the data set's folder)."""
    stages = {
        "probe": Probe(),
        "letters": Letters(),
        "level": Level(**settings),
        "doubled": Doubled(),
        "above": AboveMean(codebook=f"{url}/models/above"),
    }
    return Graph({n: Instance(n, n, s, keep_level or n != "level") for n, s in stages.items()})


def tone(hz: float, seconds: float = 1.0, sample_rate: int = 8000) -> bytes:
    """Returns an encoded tone."""
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * sample_rate)) / sample_rate)
    return encode(wave.astype(np.float32)[:, None], sample_rate, "WAV")


def toy_songs(n: int, first: int = 0) -> list[NewSong]:
    """Returns `n` tones of growing length, the odd ones with lyrics."""
    return [
        NewSong(f"song {i}.wav", tone(100 + i, 0.5 + i / 10), {"lrc_lyrics": f"[00:01.00]line {i}" if i % 2 else None})
        for i in range(first, first + n)
    ]


def toy_dataset(url: str, partitions: int = 2, songs: int = 3) -> str:
    """Makes a data set of tones with `partitions` partitions."""
    for p in range(partitions):
        append_songs(url, toy_songs(songs, p * songs))
    return url


def column_values(url: str) -> dict[str, Any]:
    """Returns the digest of every column of every partition: what must be the same however it was computed."""
    from autosing.pipeline.dataset import Dataset

    return {
        f"{p.number}/{i}": (dict(record.digests), record.rows, record.errors)
        for p in Dataset(url).partitions
        for i in p.instances()
        if (record := p.record(i)) is not None
    }
