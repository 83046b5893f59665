"""`cuts`: the intervals that samples are made of, and why the rest of a song lies in none of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from autosing.pipeline.schema import CUTS, Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import Row, Stage, per_song
from autosing.signal.cutting import fixed_cuts, quiet_cuts, steps_between, trusted_cuts
from autosing.signal.dropped import NO_LYRICS, Dropped, tiled
from autosing.signal.energy import RATE
from autosing.signal.errors import RowError, UsageError
from autosing.signal.intervals import Floats, Interval, active, intervals_of
from autosing.signal.line_cuts import line_cuts
from autosing.signal.sung_cuts import VOICE_RATE_HZ, Borders, Rule, Sung, sung_cuts

DURATION = "probe.duration_s"
NOTHING = np.empty((0, 2))

Labelled = list[dict[str, Any]]
"""Words, or lines of lyrics: text, start_s, end_s."""


@dataclass(frozen=True)
class Cuts(Stage):
    """Cuts a song and says of every second that is in no cut why.

    `fixed` cuts it into pieces of `max_s`, `quiet` at its quiet moments into pieces of `min_s` to `max_s`. `sung` takes
    what holds most singing in pieces of that length, splitting no word. `lines` makes one cut of each line of lyrics.

    Args:
        method: `quiet`, `fixed`, `sung` or `lines`.
        min_s: shortest piece in seconds, of all methods but `lines`.
        max_s: longest piece in seconds, of all methods but `lines`.
        energy: the instance whose energy `quiet` looks at.
        words: the instance whose words become the text of the cuts, and whose lines are used; "" for none.
        activity: the instance that says to `sung` when somebody sings; "" where the words alone say so.
        least_sung: lowest share of a piece that is sung.
        borders: where `sung` cuts: `free`, between lines of lyrics (`line`), or in the pauses between phrases
            (`phrase`). A song without lyrics has no lines, and pauses of its voice only.
        pause_s: shortest pause between phrases.
        before_s: margin of `lines` before a line.
        after_s: margin of `lines` after a line.
        least_confidence: cuts touch no line whose alignment has a lower confidence; 0 asks for none.

    Raises:
        UsageError: a value is out of its range, or a method lacks what it looks at.
    """

    version: ClassVar[int] = 2

    method: Literal["quiet", "fixed", "sung", "lines"] = "quiet"
    min_s: float = 3.0
    max_s: float = 12.0
    energy: str = "energy"
    words: str = "align"
    activity: str = "voice_activity"
    least_sung: float = 0.8
    borders: Borders = "free"
    pause_s: float = 0.3
    before_s: float = 0.1
    after_s: float = 0.5
    least_confidence: float = 0.0

    def __post_init__(self) -> None:
        _ = self._rule
        if self.method == "quiet":
            steps_between(self.min_s, self.max_s)
        for wrong, what in (
            (self._reads_lines and not self.words, "lines of lyrics are asked for, and `words` names no instance"),
            (self.method == "sung" and not (self.activity or self.words), "sung: give `activity`, `words` or both"),
            (min(self.before_s, self.after_s) < 0, "before_s, after_s: a margin is at least 0"),
            (not 0 <= self.least_confidence <= 1, f"least_confidence is {self.least_confidence}; give 0 to 1"),
        ):
            if wrong:
                raise UsageError(f"cuts: {what}")

    @property
    def _rule(self) -> Rule:
        return Rule(self.min_s, self.max_s, self.least_sung, self.borders, self.pause_s)

    @property
    def _reads_lines(self) -> bool:
        by_line = self.method == "lines" or (self.method == "sung" and self.borders == "line")
        return by_line or self.least_confidence > 0

    @property
    def _voice(self) -> str:
        return f"{self.activity}.voice_activity" if self.method == "sung" and self.activity else ""

    def columns(self) -> tuple[Column, ...]:
        return (
            Column("cuts", CUTS, meaning="intervals with the words that lie wholly inside"),
            Column("dropped", CUTS, meaning="the rest of the song, each interval with its reason"),
        )

    def reads(self) -> tuple[str, ...]:
        energy = (f"{self.energy}.energy",) if self.method == "quiet" else ()
        words = (f"{self.words}.words",) if self.words else ()
        lines = (f"{self.words}.lines",) if self._reads_lines else ()
        return (DURATION, *energy, *words, *lines, *((self._voice,) if self._voice else ()))

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, self._lines if self.method == "lines" else self._pieces)

    def _pieces(self, song: Song) -> Row:
        duration_s = song[DURATION]
        words, lines = self._labelled(song, "words"), self._labelled(song, "lines")
        distrusted = intervals_of(_where(lines, ~self._are_trusted(lines)), duration_s) if lines else NOTHING
        if self.method == "sung":
            timed = [intervals_of(spans or (), duration_s) for spans in (words, lines)]
            sung = Sung(duration_s, self._sung(song, words), timed[0], timed[1], distrusted)
            cuts, dropped = sung_cuts(sung, self._rule)
        else:
            cuts, dropped = trusted_cuts(self._whole(song, duration_s), distrusted, duration_s)
        return _row([(text, *cut) for text, cut in zip(_texts(words, cuts), cuts, strict=True)], dropped)

    def _lines(self, song: Song) -> Row:
        duration_s, lines = song[DURATION], self._labelled(song, "lines")
        if lines is None:
            return _row([], tiled(duration_s, NOTHING, (), NO_LYRICS))
        trusted = self._are_trusted(lines)
        times = np.array([(line["start_s"], line["end_s"]) for line in lines]).reshape(-1, 2)
        cuts, dropped = line_cuts(times, trusted, duration_s, self.before_s, self.after_s)
        return _row([(lines[cut.line]["text"], cut.start_s, cut.end_s) for cut in cuts], dropped)

    def _labelled(self, song: Song, name: Literal["words", "lines"]) -> Labelled | None:
        """Returns words or lines as far as they are inside the song; None where there are none or they aren't read."""
        address = f"{self.words}.{name}"
        found = song[address] if address in self.reads() else None
        if found is None:
            return None
        return [s | {"end_s": min(s["end_s"], song[DURATION])} for s in found if s["start_s"] < song[DURATION]]

    def _are_trusted(self, lines: Labelled) -> npt.NDArray[np.bool_]:
        """Returns which lines last and have the confidence that is asked for, (L,).

        Raises:
            RowError: one is asked for, and no line has any.
        """
        if self.least_confidence and lines and all(line.get("confidence") is None for line in lines):
            raise RowError(f"{self.words}.lines has no confidence; align otherwise, or set least_confidence to 0")
        lasting = (line["end_s"] > line["start_s"] for line in lines)
        sure = ((line.get("confidence") or 0.0) >= self.least_confidence for line in lines)
        return np.array([a and b for a, b in zip(lasting, sure, strict=True)], np.bool_)

    def _sung(self, song: Song, words: Labelled | None) -> Floats:
        if not self._voice:
            return intervals_of(words or (), song[DURATION])
        return active(song[self._voice], VOICE_RATE_HZ, song[DURATION])

    def _whole(self, song: Song, duration_s: float) -> list[Interval]:
        if self.method == "fixed":
            return fixed_cuts(duration_s, self.max_s, self.min_s)
        energy = song[f"{self.energy}.energy"]
        return quiet_cuts(energy, float(RATE), duration_s, self.min_s, self.max_s)


def _row(cuts: Iterable[tuple[str | None, float, float]], dropped: Iterable[Dropped]) -> Row:
    return {name: [_struct(*span) for span in spans] for name, spans in (("cuts", cuts), ("dropped", dropped))}


def _struct(text: str | None, start_s: float, end_s: float) -> dict[str, Any]:
    return {"text": text, "start_s": start_s, "end_s": end_s}


def _where(spans: Labelled, wanted: npt.NDArray[np.bool_]) -> Labelled:
    return [span for span, is_wanted in zip(spans, wanted, strict=True) if is_wanted]


def _texts(words: Labelled | None, cuts: Sequence[Interval]) -> list[str | None]:
    """Returns for each cut the words wholly inside, a line of lyrics per line."""
    if words is None:
        return [None] * len(cuts)
    starts, ends = (np.array([word[side] for word in words]) for side in ("start_s", "end_s"))
    inside = (np.flatnonzero((starts >= start_s) & (starts < end_s) & (ends <= end_s)) for start_s, end_s in cuts)
    return [_text([words[i] for i in found]) for found in inside]


def _text(words: Labelled) -> str:
    lines: dict[int, list[str]] = {}
    for word in words:
        lines.setdefault(word["line"], []).append(word["text"])
    return "\n".join(" ".join(line) for line in lines.values())
