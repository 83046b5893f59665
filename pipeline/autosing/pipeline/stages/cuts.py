"""`cuts`: the intervals that samples are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from autosing.pipeline.schema import CUTS, Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row, Stage, per_song
from autosing.signal.cutting import fixed_cuts, quiet_cuts
from autosing.signal.energy import RATE
from autosing.signal.errors import RowError

DURATION = "probe.duration_s"


@dataclass(frozen=True)
class Cuts(Stage):
    """Cuts a song at fixed lengths of `max_s`, or at its quiet moments into pieces of `min_s` to `max_s`.

    Args:
        method: `quiet` or `fixed`.
        min_s: shortest piece in seconds.
        max_s: longest piece in seconds.
        energy: the instance whose energy is looked at.
        words: the instance whose words become the text of the cuts; "" for none.
    """

    method: Literal["quiet", "fixed"] = "quiet"
    min_s: float = 3.0
    max_s: float = 12.0
    energy: str = "energy"
    words: str = "align"

    def columns(self) -> tuple[Column, ...]:
        return (Column("cuts", CUTS, meaning="intervals with the words that lie wholly inside"),)

    def reads(self) -> tuple[str, ...]:
        energy = (f"{self.energy}.energy",) if self.method == "quiet" else ()
        words = (f"{self.words}.words",) if self.words else ()
        return (DURATION, *energy, *words)

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, self._cut)

    def _cut(self, song: Song) -> Row:
        duration_s = song[DURATION]
        if self.method == "fixed":
            intervals = fixed_cuts(duration_s, self.max_s, self.min_s)
        else:
            energy = song[f"{self.energy}.energy"]
            intervals = quiet_cuts(energy, float(RATE), duration_s, self.min_s, self.max_s)
        words = song[f"{self.words}.words"] if self.words else None
        return {"cuts": [{"text": _text(words, s, e), "start_s": s, "end_s": e} for s, e in intervals]}


def _text(words: Sequence[dict[str, Any]] | None, start_s: float, end_s: float) -> str | None:
    """Returns the words wholly inside an interval, a line of lyrics per line."""
    if words is None:
        return None
    lines: dict[int, list[str]] = {}
    for word in words:
        if word["start_s"] >= start_s and word["end_s"] <= end_s:
            lines.setdefault(word["line"], []).append(word["text"])
    return "\n".join(" ".join(line) for line in lines.values())
