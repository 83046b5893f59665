"""Stand-ins for stages that need a voice or an aligner: voice where it is loud, and an alignment told by the title."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pyarrow as pa

from autosing.pipeline.graph import Graph, Instance
from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row, Stage, per_song
from autosing.pipeline.stages.align import Align
from autosing.pipeline.stages.cuts import Cuts
from autosing.pipeline.stages.energy import Energy
from autosing.pipeline.stages.probe import Probe
from autosing.pipeline.stages.quality import Quality
from autosing.signal.errors import RowError

LINE = pa.struct(
    [
        pa.field("text", pa.large_string()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("confidence", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Loud(Stage):
    """Voice activity at 50 Hz: where the energy is above -40 dBFS."""

    def columns(self) -> tuple[Column, ...]:
        return (Column("voice_activity", pa.uint8(), Fraction(50), meaning="1 where somebody sings"),)

    def reads(self) -> tuple[str, ...]:
        return ("energy.energy",)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return [{"voice_activity": song["energy.energy"][::2] > 0.01} for song in songs]


RULE = Align(method="rate")


@dataclass(frozen=True)
class Judged(Stage):
    """The rate rule's alignment with a judgement: the title holds JSON of offset_s, inlier_ratio, derailed, doubt."""

    def columns(self) -> tuple[Column, ...]:
        return RULE.columns()

    def reads(self) -> tuple[str, ...]:
        return (*RULE.reads(), "index.title")

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, self._judged)

    def _judged(self, song: Song) -> Row:
        (row,) = RULE.process([song], None)
        if isinstance(row, RowError):
            raise row
        told = {"offset_s": 0.0, "inlier_ratio": 1.0, "derailed": False, "doubt": []} | json.loads(
            song["index.title"] or "{}"
        )
        sure = [
            {**line, "confidence": 0.1 if i in told["doubt"] else 0.9} for i, line in enumerate(row.get("lines") or ())
        ] or None
        return {**row, "lines": sure, **{n: told[n] for n in ("offset_s", "inlier_ratio", "derailed")}}


def judged_graph(**settings: Any) -> Graph:
    """Returns a graph in which `cuts` takes what is sung, with these settings."""
    stages: dict[str, Stage] = {
        "probe": Probe(),
        "quality": Quality(),
        "energy": Energy(),
        "voice_activity": Loud(),
        "align": Judged(),
        "cuts": Cuts(method="sung", **settings),
        "cuts.lines": Cuts(method="lines", **settings),
    }
    return Graph({name: Instance(name, name.partition(".")[0], stage) for name, stage in stages.items()})
