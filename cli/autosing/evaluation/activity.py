"""`autosing eval activity`: voice activity beside the times at which `ref_words` says that someone sings.

Words that follow each other within 0.3 s are one stretch: nobody stops singing to breathe between two syllables. Two
baselines show what a figure is worth: `energy`, where the level is less than 20 dB below the song's loud parts, and
`always`, which calls everything sung.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.evaluation.comparison import Absent, Comparison, Measure, Row
from autosing.evaluation.songs import Case, Source, compared, outcomes
from autosing.pipeline.dataset import Dataset
from autosing.signal.errors import RowError
from autosing.signal.framing import centres_s, nearest_frames
from autosing.signal.intervals import intervals_of, union
from autosing.training.metrics import detection_scores

STAGE, COLUMN = "voice_activity", "voice_activity"
TRUTHS = ("ref_words",)
LEVEL, ALWAYS = "energy", "always"
RATE = Fraction(50)
CLOSED_S = 0.3
LOUD_PERCENTILE = 95.0
BELOW_LOUD_DB = 20.0

Flags = npt.NDArray[np.bool_]

MEASURES = (
    Measure("sung_pct", "sung", "of the song, by the true words", "%", 1, better=""),
    Measure("called_pct", "called", "of the song, by the estimate", "%", 1, better=""),
    Measure("precision_pct", "precision", "of what is called sung, how much is", "%", 1, better="high"),
    Measure("recall_pct", "recall", "of what is sung, how much is called", "%", 1, better="high"),
    Measure("f1_pct", "F1", "harmonic mean of precision and recall", "%", 1, better="high"),
)


def source_of(instances: Sequence[str]) -> Source:
    """Returns what is read of each song."""
    return Source(instances, (COLUMN,), TRUTHS, beside=(f"{LEVEL}.{LEVEL}",))


def compare(dataset: Dataset, wanted: Sequence[str] = ()) -> Comparison:
    """Returns how well each instance of `voice_activity`, and the baselines, tell singing from the rest.

    Raises:
        UsageError: a wanted instance is of another stage.
        MissingColumn: there is no such instance, or no truth.
    """
    found = compared(dataset, STAGE, wanted, source_of, _outcomes)
    beside = [name for name in (LEVEL, ALWAYS) if any(row.instance == name for row in found.made)]
    notes = () if LEVEL in beside else ("The energy threshold is not compared: energy is not computed.",)
    return Comparison(
        "activity",
        dataset.url,
        [*found.instances, *beside],
        found.settings,
        MEASURES,
        "f1_pct",
        found.made,
        found.absent,
        notes=notes,
    )


def _outcomes(case: Case, source: Source) -> Iterator[Row | Absent]:
    found = outcomes(case, source, lambda song, name: _row(song, name, active(song, name)))
    yield from found
    computed = [o.instance for o in found if isinstance(o, Row)]
    if computed:
        n_frames = len(active(case, computed[0]))
        yield from (_row(case, name, called) for name, called in baselines(case, n_frames).items())


def active(case: Case, instance: str) -> Flags:
    """Returns where an instance says that someone sings, (F,) at 50 Hz."""
    flags, rate = case.value(instance, COLUMN), case.rate(instance, COLUMN)
    n_frames = round(len(flags) * RATE / rate)
    return np.asarray(flags[nearest_frames(n_frames, RATE, len(flags), rate)] > 0)


def baselines(case: Case, n_frames: int) -> dict[str, Flags]:
    """Returns what the baselines call sung, (F,) at 50 Hz; without `energy` only one of them."""
    found = {ALWAYS: np.ones(n_frames, np.bool_)}
    if (energy := case.value(LEVEL, LEVEL)) is not None and len(energy):
        at = nearest_frames(n_frames, RATE, len(energy), case.rate(LEVEL, LEVEL))
        found = {LEVEL: loud(energy)[at], **found}
    return found


def loud(energy: npt.NDArray[Any]) -> Flags:
    """Returns where the level (F,) is less than 20 dB below that of the song's loud parts (its 95th percentile)."""
    threshold = float(np.percentile(energy, LOUD_PERCENTILE)) * 10 ** (-BELOW_LOUD_DB / 20)
    return np.asarray((energy >= threshold) & (energy > 0))


def sung(words: Sequence[Mapping[str, Any]], n_frames: int, rate: Fraction = RATE) -> Flags:
    """Returns in which frames (F,) the centre is in a word, or between two words less than 0.3 s apart."""
    times_s = centres_s(n_frames, rate)
    flags = np.zeros(n_frames, np.bool_)
    for first, last in np.searchsorted(times_s, union(intervals_of(words, n_frames / float(rate)), CLOSED_S)):
        flags[first:last] = True
    return flags


def _row(case: Case, instance: str, called: Flags) -> Row:
    if not len(called):
        raise RowError("the song has no frame")
    truth = sung(case.truth("ref_words"), len(called))
    scores = detection_scores(called, truth)
    values = {
        "sung_pct": 100 * float(truth.mean()),
        "called_pct": 100 * float(called.mean()),
        **{f"{name}_pct": 100 * share for name, share in vars(scores).items()},
    }
    return Row(*case.song, instance, values)
