"""A stage that some songs make hang, eat memory or crash."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from toy_stages import Doubled, Letters, Level

from autosing.pipeline.graph import Graph, Instance
from autosing.pipeline.song import Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, Resources, Row, Stage
from autosing.pipeline.stages.probe import Probe
from autosing.signal.errors import RowError

ALL = ["probe", "letters", "level", "doubled"]


@dataclass(frozen=True)
class Dangerous(Level):
    """A level that notes the songs of each call; at one song it sleeps, at one it eats memory, by one it dies.

    Where `crashes` is "setup", it dies before any song. By the song `unlucky` it dies only as long as the file `luck`
    is not there, which it makes.
    """

    sleeps: str = field(default="", metadata=NOT_IN_DEFINITION)
    eats: str = field(default="", metadata=NOT_IN_DEFINITION)
    crashes: str = field(default="", metadata=NOT_IN_DEFINITION)
    unlucky: str = field(default="", metadata=NOT_IN_DEFINITION)
    luck: str = field(default="", metadata=NOT_IN_DEFINITION)
    log: str = field(default=os.devnull, metadata=NOT_IN_DEFINITION)
    batch_s: float = 0.0

    def resources(self) -> Resources:
        return Resources(batch_s=self.batch_s)

    def setup(self) -> None:
        if self.crashes == "setup":
            os._exit(9)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        with Path(self.log).open("a") as file:
            file.write(" ".join(song.id[5:-4] for song in songs) + "\n")
        for song in songs:
            self._meet(song)
        return super().process(songs, model)

    def _meet(self, song: Song) -> None:
        if song.id == self.sleeps:
            time.sleep(600)
        if song.id == self.eats:
            eaten = []
            for _ in range(80):
                eaten.append(np.ones(100 << 17))
                time.sleep(0.1)
        if song.id == self.crashes:
            os.kill(os.getpid(), signal.SIGSEGV)
        if song.id == self.unlucky and not Path(self.luck).exists():
            Path(self.luck).touch()
            os._exit(9)


def dangerous_graph(**settings: Any) -> Graph:
    stages: dict[str, Stage] = {
        "probe": Probe(),
        "letters": Letters(),
        "level": Dangerous(**settings),
        "doubled": Doubled(),
    }
    return Graph({n: Instance(n, n, s) for n, s in stages.items()})
